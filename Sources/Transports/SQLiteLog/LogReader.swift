import DatabusCore
import SQLiteClient

/// Reads a topic for one source, on a connection and a thread of its own, where it may wait.
///
/// Appends of this process wake it; whether another process has written it sees every few milliseconds in SQLite's shared
/// memory, which costs next to nothing.
actor LogReader {
  private let file: LogFile
  private let subscription: Subscription
  /// Where to start in each partition, for a source without a group; nil: a group's.
  private let starts: [PartitionID: Position]?
  private let worker = WorkerThread(name: "sqlite-reader")
  private var connection: SQLiteConnection?
  private var dataVersion: SQLiteStatement?
  private var findTopic: SQLiteStatement?
  private var findPartition: SQLiteStatement?
  private var selects: [Int: SQLiteStatement] = [:]
  /// The topic whose tables `selects` read.
  private var selectsTopic: Int64 = 0
  private var seenVersion: Int64 = -1
  /// What `changeStamp` was before the last look.
  private var seenStamp: UInt64?
  /// When something was found last.
  private var lastFound: Instant?
  /// Bytes of the last batch: the next one's memory is taken at once.
  private var expectedBytes = 4096

  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  init(_ file: LogFile, _ subscription: Subscription, starts: [PartitionID: Position]?) {
    self.file = file
    self.subscription = subscription
    self.starts = starts
  }

  deinit { worker.stop() }

  func open() throws {
    try translated {
      let opened = try SQLiteConnection(path: file.path, access: .readWrite, busyTimeout: file.options.busyTimeout)
      dataVersion = try opened.prepare("PRAGMA data_version")
      findTopic = try opened.prepare(TopicRow.find)
      findPartition = try opened.prepare(PartitionRow.find)
      connection = opened
    }
  }

  func close() {
    selects = [:]
    dataVersion = nil
    findTopic = nil
    findPartition = nil
    connection = nil
    worker.stop()
  }

  /// Blocks until something is there or the time is over.
  func next(records: Int, bytes: Int, until deadline: Instant) throws -> SourceEvent {
    let clock = SystemClock()
    var hasWaited = false
    var isWatcher = false
    defer { if hasWaited { file.endWatching(subscription.signal, isWatcher) } }
    while true {
      if let notice = try subscription.takeNotice() { return SourceEvent(notice) }
      if Task.isCancelled { return .idle }
      do {
        let lastVersion = seenVersion
        let event = try look(max(records, 1), bytes)
        if isWatcher, seenVersion != lastVersion { file.wakeReaders() }
        if let event {
          lastFound = clock.now()
          return event
        }
      } catch let error as SQLiteError {
        throw TransportError(.transport, error.message)
      }
      let rest = (deadline - clock.now()).wholeNanoseconds
      if rest == 0 {
        // What the last look has found (partitions, a loss) need not wait for the next call.
        if let notice = try subscription.takeNotice() { return SourceEvent(notice) }
        return .idle
      }
      if subscription.state.withLock({ !$0.notices.isEmpty }) { continue }
      if !isWatcher { isWatcher = file.beginWatching(subscription.signal) }
      hasWaited = true
      subscription.signal.wait(isWatcher ? min(rest, pollInterval(clock.now())) : rest)
    }
  }

  /// Nanoseconds until another process's appends are looked for again: where nothing has come for a second, twice the interval,
  /// since a log at rest should cost next to nothing.
  private func pollInterval(_ now: Instant) -> UInt64 {
    let interval = file.options.pollInterval.wholeNanoseconds
    guard let lastFound, now < lastFound + .seconds(1) else { return interval * 2 }
    return interval
  }

  /// Blocks for the time, or until something changes.
  func wait(_ time: Duration) { subscription.signal.wait(time.wholeNanoseconds) }

  /// Looks once, over one state of the file.
  private func look(_ records: Int, _ bytes: Int) throws -> SourceEvent? {
    guard let connection, let dataVersion else { throw TransportError.closedSource(subscription.topic) }
    let hasReadable = subscription.state.withLock { $0.cursors.contains(where: \.isReadable) }
    // Asked before the transaction begins: what comes between the two is looked at once more.
    let stamp = connection.changeStamp()
    if let stamp, stamp == seenStamp, !hasReadable { return nil }
    let version = try dataVersion.first { $0.integer(0) } ?? 0
    let isChanged = version != seenVersion
    if !isChanged, !hasReadable {
      seenStamp = stamp
      return nil
    }
    try connection.beginReading()
    defer { connection.rollback() }
    let topic = try readTopic()
    let hasNotices = subscription.state.withLock { state in
      if isChanged {
        for index in state.cursors.indices { state.cursors[index].mayHaveMore = true }
      }
      follow(topic, &state)
      return !state.notices.isEmpty
    }
    // Only now: a look that failed is made again.
    seenVersion = version
    seenStamp = stamp
    // A partition is assigned before its records come.
    guard let topic, !hasNotices else { return nil }
    return try read(topic, records, bytes)
  }

  private func readTopic() throws -> TopicRow? {
    guard let findTopic else { return nil }
    try findTopic.bind(1, subscription.topic)
    return try findTopic.first { TopicRow($0) }
  }

  /// Takes note of partitions that are new, and of a topic that was deleted or made anew.
  private func follow(_ row: TopicRow?, _ state: inout Subscription.State) {
    if let present = state.topic, present.id != row?.id { state.lose() }
    guard let row else { return }
    if let starts {
      if state.topic == nil { state.generation += 1 }
      if (state.topic?.partitions ?? 0) < row.partitions {
        state.assign(row, (state.topic?.partitions ?? 0)..<row.partitions) { assignment in
          Subscription.Cursor(
            assignment: assignment, position: starts[assignment.partition].map { max($0.next, 1) } ?? 0, isStarted: true
          )
        }
      }
    } else if let present = state.topic, present.partitions < row.partitions {
      state.assign(row, present.partitions..<row.partitions) {
        Subscription.Cursor(assignment: $0, position: 0, isStarted: false)
      }
    }
  }

  /// Reads the first partition in turn that has something.
  private func read(_ topic: TopicRow, _ records: Int, _ bytes: Int) throws -> SourceEvent? {
    let cursors = subscription.state.withLock { state -> [Subscription.Cursor] in
      if state.topic?.id != topic.id || state.cursors.isEmpty { return [] }
      let turn = state.turn % state.cursors.count
      return (state.cursors[turn...] + state.cursors[..<turn]).filter(\.isReadable)
    }
    for cursor in cursors {
      if let event = try read(topic, cursor, records, bytes) { return event }
    }
    return nil
  }

  private func select(_ topic: TopicRow, _ index: Int) throws -> SQLiteStatement? {
    if selectsTopic != topic.id {
      selects = [:]
      selectsTopic = topic.id
    }
    if let select = selects[index] { return select }
    let select = try connection?.prepare(
      """
      SELECT id, key, value, headers, timestamp FROM \(SQLiteSchema.logTable(topic.id, index))
      WHERE id >= ? ORDER BY id LIMIT ?
      """)
    selects[index] = select
    return select
  }

  private func read(
    _ topic: TopicRow, _ cursor: Subscription.Cursor, _ records: Int, _ bytes: Int
  ) throws -> SourceEvent? {
    guard let select = try select(topic, cursor.index) else { return nil }
    try select.bind(1, Int64(clamping: cursor.position))
    try select.bind(2, records)
    defer { select.reset() }
    guard try select.step() else { return try readEmpty(topic, cursor) }

    let first = UInt64(bitPattern: select.integer(0))
    if cursor.position > 0, first > cursor.position { return tellGap(cursor, to: first) }
    var builder = RecordBatchBuilder(byteCapacity: min(max(expectedBytes, 4096), 16 << 20))
    var last = first
    var isFull = false
    repeat {
      let position = UInt64(bitPattern: select.integer(0))
      let key = select.blob(1)
      let value = select.blob(2)
      let size = (key?.count ?? 0) + (value?.count ?? 0)
      if !builder.isEmpty, builder.byteCount + size > bytes {
        isFull = true
        break
      }
      builder.append(
        key: key, value: value, headers: select.blob(3).map(HeaderCoding.decode) ?? [],
        timestamp: select.integer(4), position: position)
      last = position
    } while try select.step()

    isFull = isFull || builder.count >= records
    expectedBytes = builder.byteCount + 256
    let isWanted = move(cursor, to: last + 1) { cursor in cursor.mayHaveMore = isFull }
    return isWanted ? .batch(builder.finish(cursor.assignment)) : nil
  }

  /// Nothing at or behind the position: at the end, before the first record, or past the end.
  private func readEmpty(_ topic: TopicRow, _ cursor: Subscription.Cursor) throws -> SourceEvent? {
    guard let findPartition, let partition = try PartitionRow.read(findPartition, topic.id, cursor.index) else {
      return nil
    }
    let end = UInt64(bitPattern: partition.next)
    if cursor.position > 0, cursor.position != end { return tellGap(cursor, to: end) }
    _ = move(cursor, to: end) { $0.mayHaveMore = false }
    return nil
  }

  private func tellGap(_ cursor: Subscription.Cursor, to position: UInt64) -> SourceEvent? {
    move(cursor, to: position) { _ in } ? .gap(cursor.assignment, from: cursor.position, to: position) : nil
  }

  /// Goes on to `position`, unless the engine has meanwhile said otherwise.
  private func move(
    _ cursor: Subscription.Cursor, to position: UInt64, _ change: (inout Subscription.Cursor) -> Void
  ) -> Bool {
    subscription.state.withLock { state in
      guard let index = state.cursor(of: cursor.assignment), state.cursors[index].seeks == cursor.seeks,
        !state.cursors[index].isPaused, !state.isClosed
      else { return false }
      state.cursors[index].position = position
      change(&state.cursors[index])
      state.turn = index + 1
      return true
    }
  }
}
