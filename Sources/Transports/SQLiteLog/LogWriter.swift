import DatabusCore
import SQLiteClient

#if canImport(Glibc)
  import Glibc
#endif

/// The one that writes to a log file in this process, on a thread of its own: records in groups, leases, commits, topics.
///
/// ```
/// sinks ──> AppendQueue ──> drain: BEGIN, one row a record, COMMIT (one wait for the disk) ──> ends told ──> readers woken
/// ```
/// Between two transactions it does what sources and operators ask for.
actor LogWriter {
  let path: String
  let options: SQLiteLogOptions
  let clock: any EngineClock
  let queue: AppendQueue
  let worker = WorkerThread(name: "sqlite-log")
  private var openConnection: SQLiteConnection?
  private var statements: [String: SQLiteStatement] = [:]
  private var topics: [String: OpenTopic] = [:]
  /// Counts the transactions of records.
  private(set) var transaction: UInt64 = 0
  /// Sends in the last transaction, and how long it took: how many more are worth waiting for, and how long.
  private var lastSends = 1
  private var lastNanoseconds: UInt64 = 0
  var lastSweep: [String: Instant] = [:]

  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  init(path: String, options: SQLiteLogOptions, clock: any EngineClock, queue: AppendQueue) {
    self.path = path
    self.options = options
    self.clock = clock
    self.queue = queue
  }

  deinit { worker.stop() }

  func open() throws {
    if openConnection != nil { return }
    try translated {
      let connection = try SQLiteConnection(path: path, access: .readWrite, busyTimeout: options.busyTimeout)
      try SQLiteSchema.log.check(connection)
      try connection.useWriteAheadLog(.full)
      try SQLiteSchema.log.migrate(connection)
      // 16 MiB between two moves of the log's pages into the file: each waits for the disk twice.
      try connection.execute("PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 67108864")
      openConnection = connection
    }
  }

  /// Writes what was accepted, and closes.
  func close() {
    queue.close()
    while let buffer = queue.take() { append(buffer) }
    topics = [:]
    statements = [:]
    openConnection = nil
    worker.stop()
  }

  func connection() throws -> SQLiteConnection {
    guard let openConnection else { throw TransportError(.closed, "The log \(path) was closed.") }
    return openConnection
  }

  /// A statement that is compiled at its first use.
  func statement(_ sql: String) throws -> SQLiteStatement {
    if let statement = statements[sql] { return statement }
    let statement = try connection().prepare(sql)
    statements[sql] = statement
    return statement
  }

  // MARK: Appending

  /// Writes what waits, in one transaction, and comes again while there is more: between two of them others have their turn.
  func drain(_ file: LogFile) {
    gather()
    guard let buffer = queue.take() else { return }
    let names = append(buffer)
    file.wakeReaders()
    for name in names { sweepIfDue(name) }
    file.callWriter()
  }

  /// Where several threads append one record each and wait for it, those just told come back in a moment: a short wait for
  /// them makes one transaction of all, instead of halves.
  private func gather() {
    if lastSends < 2 { return }
    let patience = min(lastNanoseconds / 4, 400_000)
    let start = SystemClock().now().nanoseconds
    while true {
      let waiting = queue.waiting
      if waiting.sends >= lastSends || waiting.bytes > 1 << 16 { return }
      if SystemClock().now().nanoseconds &- start >= patience { return }
      usleep(20)
    }
  }

  /// - Returns: the topics written to.
  @discardableResult
  private func append(_ buffer: AppendBuffer) -> [String] {
    let start = SystemClock().now().nanoseconds
    do {
      let names = try translated { try connection().write { try insert(buffer) } }
      lastNanoseconds = SystemClock().now().nanoseconds &- start
      // Threads that were late for this one are waiting already.
      lastSends = max(buffer.runs.count, queue.waiting.sends)
      end(buffer, nil)
      return names
    } catch {
      let error = error as? TransportError ?? TransportError(.transport, "\(path): \(error)")
      // What was made in the transaction has gone with it.
      topics = [:]
      end(buffer, error)
      // What waits behind it would overtake it, once it is sent again.
      if let next = queue.take() { end(next, error) }
      return []
    }
  }

  private func end(_ buffer: AppendBuffer, _ error: TransportError?) {
    let tokens = buffer.tokens
    for run in buffer.runs {
      switch run.origin {
      case .sink(let sink): sink.ended(tokens.span.extracting(run.range), error)
      case .call(let call):
        if let problem = error ?? call.problem {
          call.continuation.resume(throwing: problem)
        } else {
          call.continuation.resume(returning: call.places)
        }
      }
    }
    queue.finished(buffer)
  }

  private func insert(_ buffer: AppendBuffer) throws -> [String] {
    transaction += 1
    let now = clock.wallMilliseconds()
    var used: [OpenTopic] = []
    for run in buffer.runs {
      let topic = try openTopic(run.topic)
      if !used.contains(where: { $0 === topic }) { used.append(topic) }
      switch run.origin {
      case .sink: for index in run.range { _ = try insert(buffer, index, topic, nil, now) }
      case .call(let call): try insert(buffer, run.range, of: call, topic, now)
      }
      // Records without key: one partition a send, and the next one for the next.
      topic.sticky = (topic.sticky + 1) % topic.partitions.count
    }
    for topic in used { try store(topic) }
    return used.map(\.name)
  }

  /// The records of a call, with the places that they get.
  private func insert(
    _ buffer: AppendBuffer, _ range: Range<Int>, of call: AppendCall, _ topic: OpenTopic, _ now: Int64
  ) throws {
    if let chosen = call.partition, !topic.partitions.indices.contains(chosen) {
      call.problem = TransportError(
        .transport,
        "The topic \(topic.name) has the partitions 0 to \(topic.partitions.count - 1); there is no \(chosen).")
      return
    }
    call.places.reserveCapacity(range.count)
    for index in range {
      let (partition, position) = try insert(buffer, index, topic, call.partition, now)
      call.places.append((topic.row.partition(partition), position))
    }
  }

  /// One record, in the partition that was chosen for it, else in its key's.
  @inline(__always)
  private func insert(
    _ buffer: AppendBuffer, _ index: Int, _ topic: OpenTopic, _ chosen: Int?, _ now: Int64
  ) throws -> (partition: Int, position: UInt64) {
    let entry = buffer.entries[index]
    let base = buffer.bytes.base
    let number: Int
    if topic.partitions.count == 1 {
      number = 0
    } else if let chosen {
      number = chosen
    } else if entry.keyOffset >= 0 {
      let key = UnsafeRawBufferPointer(start: base + entry.keyOffset, count: entry.keyCount)
      number = Partitioner.partition(of: key, among: topic.partitions.count)
    } else {
      number = topic.sticky % topic.partitions.count
    }
    let partition = topic.partitions[number]
    if partition.transaction != transaction { try load(partition, of: topic, now) }
    let position = UInt64(partition.next)
    try partition.append(entry, base)
    return (number, position)
  }

  // MARK: Topics and partitions that are written to

  /// The topic as it is in this transaction; made where it does not exist.
  func openTopic(_ name: String) throws -> OpenTopic {
    if let topic = topics[name], topic.transaction == transaction { return topic }
    var row = try topicRow(name)
    if row == nil {
      _ = try makeTopic(name, partitions: 1)
      row = try topicRow(name)
    }
    guard let row else { throw TransportError(.transport, "The topic \(name) of \(path) cannot be made.") }
    let topic: OpenTopic
    if let present = topics[name], present.row.id == row.id {
      topic = present
      topic.row = row
    } else {
      topic = OpenTopic(row)
      topics[name] = topic
    }
    while topic.partitions.count < row.partitions {
      let number = topic.partitions.count
      let insert = try connection().prepare(
        "INSERT INTO \(SQLiteSchema.logTable(row.id, number)) (id, key, value, headers, timestamp) VALUES (?, ?, ?, ?, ?)"
      )
      topic.partitions.append(OpenPartition(number, insert))
    }
    topic.transaction = transaction
    return topic
  }

  func load(_ partition: OpenPartition, of topic: OpenTopic, _ now: Int64) throws {
    let select = try statement("SELECT next, bytes, last_timestamp FROM partitions WHERE topic = ? AND number = ?")
    try select.bind(1, topic.id)
    try select.bind(2, partition.number)
    let found: Void? = try select.first {
      partition.next = $0.integer(0)
      partition.bytes = $0.integer(1)
      // Timestamps never go back within a partition: a position is found by time with a binary search.
      partition.timestamp = max($0.integer(2), now)
    }
    if found == nil { throw SQLiteError.damaged(path, "partition \(topic.name)/\(partition.number) has no row") }
    partition.transaction = transaction
    try partition.insert.bind(5, partition.timestamp)
  }

  func store(_ topic: OpenTopic) throws {
    let update = try statement(
      "UPDATE partitions SET next = ?, bytes = ?, last_timestamp = ? WHERE topic = ? AND number = ?")
    for partition in topic.partitions where partition.transaction == transaction {
      try update.bind(1, partition.next)
      try update.bind(2, partition.bytes)
      try update.bind(3, partition.timestamp)
      try update.bind(4, topic.id)
      try update.bind(5, partition.number)
      try update.run()
    }
  }

  func forget(_ topic: String) { topics.removeValue(forKey: topic) }
}

/// A topic as the writer last saw it.
final class OpenTopic {
  var row: TopicRow
  var partitions: [OpenPartition] = []
  /// The transaction in which this was true.
  var transaction: UInt64 = 0
  /// Where the next records without key go.
  var sticky = 0

  init(_ row: TopicRow) { self.row = row }

  var name: String { row.name }
  var id: Int64 { row.id }
}

/// A partition within one transaction of the writer.
final class OpenPartition {
  let number: Int
  let insert: SQLiteStatement
  var next: Int64 = 1
  var bytes: Int64 = 0
  var timestamp: Int64 = 0
  var transaction: UInt64 = 0

  init(_ number: Int, _ insert: SQLiteStatement) {
    self.number = number
    self.insert = insert
  }

  /// One row; the bytes stay where they are until the statement has run.
  @inline(__always)
  func append(_ entry: AppendBuffer.Entry, _ base: UnsafeRawPointer) throws(SQLiteError) {
    try insert.bind(1, next)
    if entry.keyOffset < 0 {
      try insert.bindNull(2)
    } else {
      try insert.bindBorrowed(2, base + entry.keyOffset, entry.keyCount)
    }
    if entry.valueOffset < 0 {
      try insert.bindNull(3)
    } else {
      try insert.bindBorrowed(3, base + entry.valueOffset, entry.valueCount)
    }
    if entry.headersCount == 0 {
      try insert.bindNull(4)
    } else {
      try insert.bindBorrowed(4, base + entry.headersOffset, entry.headersCount)
    }
    try insert.run()
    next += 1
    bytes += Int64(entry.keyCount + entry.valueCount + entry.headersCount)
  }
}
