import CRdkafka
import DatabusCore
import Synchronization

/// The reading end of one topic: as a member of a group, or of all partitions.
final class KafkaSource: EventSource {
  let capabilities: SourceCapabilities
  let client: KafkaClient
  let poller: KafkaPoller
  private let subscription: KafkaSubscription
  private let incarnation: String
  private let group: String?
  private let administration: KafkaAdministration
  /// A connection to a partition's leader is busy with a request that waits for records: a question on it would wait behind that for up
  /// to half a second. So questions go to another client.
  private var questions: KafkaClient { administration.client }
  private let fetchWaker: FetchWaker
  private let watcher = Mutex<Task<Void, Never>?>(nil)
  /// Where a source without a group starts in partitions that it finds.
  private let starts: [PartitionID: Position]

  private var topic: String { subscription.topic }
  private var what: String { "The topic \"\(topic)\" cannot be read" }

  /// - Parameter administration: for questions that need a client without a group.
  init(
    _ topic: String, _ mode: SourceMode, _ options: KafkaOptions, _ log: Logger, incarnation: String,
    administration: KafkaAdministration
  ) throws {
    let name: String
    switch mode {
    case .group(let group):
      self.group = group
      name = group
      starts = [:]
    case .everything(let from):
      group = nil
      // librdkafka's consumers have a group's name even where they join none.
      name = administration.readerName
      starts = from
    }
    let client = try KafkaClient(
      .consumer(group: name), options, log, events: RD_KAFKA_EVENT_REBALANCE | RD_KAFKA_EVENT_STATS)
    let subscription = KafkaSubscription(topic)
    let capacity = KafkaProperties.number("queued.min.messages", .consumer(group: name), options) ?? 20_000
    guard
      let poller = KafkaPoller(client, subscription, incarnation: incarnation, capacity: capacity)
    else { throw TransportError(.fatal, "librdkafka gives no queue for \(topic).") }
    self.client = client
    self.subscription = subscription
    self.poller = poller
    self.incarnation = incarnation
    self.administration = administration
    fetchWaker = FetchWaker(client, topic)
    capabilities = SourceCapabilities(commits: group != nil, groups: group != nil, seeksByTime: true)
  }

  /// Joins the group, or takes all partitions that there are.
  func open(_ topology: KafkaTopology) async throws {
    poller.start()
    fetchWaker.setLeaders(topology)
    if group != nil {
      let list = PartitionList(topic, [-1])
      let code = list.withPointer { rd_kafka_subscribe(client.handle, $0) }
      if code != RD_KAFKA_RESP_ERR_NO_ERROR { throw client.explain(KafkaError(code), what) }
    } else {
      take(topology.indices)
    }
    watch()
  }

  /// Takes partitions of a source without a group in.
  private func take(_ indices: [Int]) {
    subscription.tell { state in
      let known = Set(state.cursors.map(\.index))
      let new = indices.filter { !known.contains($0) }
      if new.isEmpty { return }
      state.generation += 1
      let generation = state.generation
      state.assign(
        new.compactMap { index in
          let start = starts[partition(index)]?.next
          return poller.makeCursor(index, generation, start: start ?? 0)
        })
    }
  }

  private func partition(_ index: Int) -> PartitionID {
    PartitionID(stream: topic, incarnation: incarnation, index: index)
  }

  /// Looks for new partitions and leaders from time to time.
  private func watch() {
    let interval = client.options.partitionInterval
    let task = Task { [weak self] in
      while true {
        do { try await SystemClock().sleep(for: interval) } catch { return }
        guard let self else { return }
        // Where the cluster is away, the next turn finds it.
        guard let topology = try? await questions.topology(topic) else { continue }
        fetchWaker.setLeaders(topology)
        if group == nil { take(topology.indices) }
      }
    }
    watcher.withLock { $0 = task }
  }

  // MARK: Reading

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let clock = SystemClock()
    let deadline = wait > .zero ? clock.now() + wait : Instant(nanoseconds: 0)
    while true {
      if let notice = try subscription.takeNotice() { return SourceEvent(notice) }
      try await startByItself()
      if let event = read(max(1, records), max(1, bytes)) { return event }
      if subscription.state.withLock({ !$0.notices.isEmpty }) { continue }
      try throwTrouble()
      if wait <= .zero || Task.isCancelled { return .idle }
      let rest = deadline - clock.now()
      if rest == .zero { return .idle }
      await subscription.signal.wait(for: rest, clock)
    }
  }

  /// A source without a group starts where it was told, unless the engine has said otherwise since.
  private func startByItself() async throws {
    if group != nil { return }
    let waiting = subscription.state.withLock { state in state.cursors.filter { $0.start != nil } }
    for cursor in waiting { try await move(cursor.assignment, to: cursor.start ?? 0) }
  }

  /// Takes what the first partition in turn has.
  private func read(_ records: Int, _ bytes: Int) -> SourceEvent? {
    let cursors = subscription.state.withLock { state -> [KafkaSubscription.Cursor] in
      if state.cursors.count == 1 {
        return state.cursors[0].isReadable && state.cursors[0].queue.hasMore ? state.cursors : []
      }
      if state.cursors.isEmpty { return [] }
      let turn = state.turn % state.cursors.count
      return (state.cursors[turn...] + state.cursors[..<turn]).filter { $0.isReadable && $0.queue.hasMore }
    }
    for cursor in cursors {
      if let event = read(cursor, records, bytes) { return event }
    }
    return nil
  }

  private func read(_ cursor: KafkaSubscription.Cursor, _ records: Int, _ bytes: Int) -> SourceEvent? {
    guard var next = cursor.position else { return nil }
    if cursor.queue.isFull { fetchWaker.wake(cursor.index) }
    let messages = cursor.queue.take(records, after: cursor.seeks)
    if messages.isEmpty { return nil }
    var taken: [KafkaMessage] = []
    taken.reserveCapacity(messages.count)
    var size = 0
    var end: UInt64?
    var isOutOfRange = false
    var isRefused = false
    var rest = messages[...]
    while let message = rest.first {
      if message.pointee.err != RD_KAFKA_RESP_ERR_NO_ERROR {
        switch message.pointee.err {
        case RD_KAFKA_RESP_ERR__PARTITION_EOF: end = UInt64(max(0, message.pointee.offset))
        case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET: isOutOfRange = true
        default:
          let error = KafkaError(message)
          client.condition.note(error)
          if error.isResource { isRefused = true }
        }
        rd_kafka_message_destroy(message)
      } else if UInt64(bitPattern: message.pointee.offset) < next {
        // Fetched for an earlier position.
        rd_kafka_message_destroy(message)
      } else {
        let count = message.pointee.len + message.pointee.key_len
        if !taken.isEmpty, size + count > bytes { break }
        size += count
        taken.append(message)
        next = UInt64(bitPattern: message.pointee.offset) + 1
      }
      rest = rest.dropFirst()
    }
    if isRefused { fetchAgain(cursor) }
    return deliver(taken, rest, cursor, next, end: end, isOutOfRange: isOutOfRange)
  }

  /// Delivers what was taken, if the partition still is where it was.
  private func deliver(
    _ taken: [KafkaMessage], _ rest: ArraySlice<KafkaMessage>, _ cursor: KafkaSubscription.Cursor, _ next: UInt64,
    end: UInt64?, isOutOfRange: Bool
  ) -> SourceEvent? {
    enum Fate { case deliver, keep, drop }
    var next = next
    let fate = subscription.state.withLock { state -> Fate in
      guard let place = state.place(of: cursor.assignment), state.cursors[place].seeks == cursor.seeks,
        !state.cursors[place].isRevoking, !state.isClosed
      else { return .drop }
      if state.cursors[place].isPaused { return .keep }
      state.turn = place + 1
      if let end, end > next, rest.isEmpty {
        next = end
        state.notices.append(.passed(cursor.assignment, to: end))
      }
      state.cursors[place].position = next
      return .deliver
    }
    switch fate {
    case .drop:
      for message in taken { rd_kafka_message_destroy(message) }
      for message in rest { rd_kafka_message_destroy(message) }
      return nil
    case .keep:
      cursor.queue.putBack(taken + rest, after: cursor.seeks)
      return nil
    case .deliver:
      if !rest.isEmpty { cursor.queue.putBack(rest, after: cursor.seeks) }
      if isOutOfRange { lookForGap(cursor, next) }
      if !taken.isEmpty || end != nil, client.condition.isTroubled {
        client.condition.noteRecords()
        if client.condition.isTroubled { probe() }
      }
      if taken.isEmpty { return nil }
      return .batch(KafkaBatch.make(taken, cursor.assignment, client))
    }
  }

  /// What is wrong is told twice a second, and what there is comes all the same.
  private func throwTrouble() throws {
    if client.condition.isDoubtful { probe() }
    let now = SystemClock().now()
    let fatal = subscription.state.withLock { state -> String?? in
      if let fatal = state.fatal { return .some(fatal) }
      guard client.condition.isTroubled, now >= state.toldTrouble + .milliseconds(500) else { return nil }
      state.toldTrouble = now
      return .some(nil)
    }
    guard let fatal else { return }
    if let fatal { throw TransportError(.fatal, fatal) }
    if let trouble = client.condition.trouble(what) {
      probe()
      throw TransportError(.transport, trouble)
    }
  }

  /// Finds out whether the cluster answers: on a quiet stream nothing else would. One at a time: while the cluster is away, each
  /// question takes its whole time, and others wait behind it.
  private func probe() {
    let isFirst = subscription.state.withLock { state in
      defer { state.isProbing = true }
      return !state.isProbing
    }
    guard isFirst else { return }
    Task { [client, topic, subscription] in
      do { _ = try await client.topology(topic) } catch is UnknownTopic { client.condition.noteAnswer() } catch {
        // The client has taken note of it.
      }
      subscription.state.withLock { $0.isProbing = false }
    }
  }

  // MARK: Gaps

  /// The broker has nothing at the position: what it has instead is told as a gap, and reading goes on there.
  private func lookForGap(_ cursor: KafkaSubscription.Cursor, _ position: UInt64) {
    Task { [self] in
      var pause = Duration.milliseconds(100)
      while isCurrent(cursor) {
        if let bounds = try? await questions.bounds(topic, [cursor.index]).first {
          let (first, end) = (UInt64(max(0, bounds.first)), UInt64(max(0, bounds.end)))
          let target = position < first ? first : position > end ? end : position
          if (try? await move(cursor.assignment, to: target, after: cursor.seeks, gapFrom: position)) != nil { return }
        }
        try? await SystemClock().sleep(for: pause)
        pause = min(pause * 2, .seconds(5))
      }
    }
  }

  /// librdkafka tells only once that it may not fetch a partition, and says nothing when it may again: fetching is begun anew from time to
  /// time, which ends with a record, with the partition's end or with the same error.
  private func fetchAgain(_ cursor: KafkaSubscription.Cursor) {
    Task { [self] in
      while isCurrent(cursor) {
        try? await SystemClock().sleep(for: .seconds(1))
        let position = subscription.state.withLock { state in
          state.place(of: cursor.assignment).flatMap { state.cursors[$0].position }
        }
        guard let position else { continue }
        if (try? await move(cursor.assignment, to: position, after: cursor.seeks)) != nil { return }
      }
    }
  }

  private func isCurrent(_ cursor: KafkaSubscription.Cursor) -> Bool {
    subscription.state.withLock { state in
      guard !state.isClosed, let place = state.place(of: cursor.assignment) else { return false }
      return state.cursors[place].seeks == cursor.seeks
    }
  }

  // MARK: Moving

  func seek(_ assignment: Assignment, to position: Position) async throws {
    try refuseClosed()
    try await move(assignment, to: position.next)
  }

  /// - Parameters:
  ///   - seeks: only where nothing has moved the partition since.
  ///   - from: a gap is told from here to the target, before anything that comes from there.
  private func move(
    _ assignment: Assignment, to target: UInt64, after seeks: Int? = nil, gapFrom from: UInt64? = nil
  ) async throws {
    let number = subscription.state.withLock { state -> Int? in
      guard let place = state.place(of: assignment), !state.cursors[place].isRevoking,
        seeks == nil || state.cursors[place].seeks == seeks
      else { return nil }
      state.cursors[place].seeks += 1
      state.cursors[place].position = nil
      state.cursors[place].start = nil
      return state.cursors[place].seeks
    }
    guard let number else { return }
    do {
      try await client.ask(what) { [poller, subscription] _, _ in
        _ = try poller.fetch(assignment.partition.index, from: Int64(clamping: target)) {
          subscription.state.withLock { state in
            state.place(of: assignment).map {
              state.cursors[$0].seeks == number && !state.cursors[$0].isRevoking
            } ?? false
          }
        }
      }
    } catch {
      // It is asked for again, and must not count as moved.
      subscription.state.withLock { state in
        guard let place = state.place(of: assignment), state.cursors[place].seeks == number else { return }
        state.cursors[place].start = group == nil ? target : nil
        if seeks != nil { state.cursors[place].seeks -= 1 }
      }
      throw error
    }
    subscription.tell { state in
      guard let place = state.place(of: assignment), state.cursors[place].seeks == number else { return }
      state.cursors[place].position = target
      state.cursors[place].queue.lookAgain()
      if let from, from != target { state.notices.append(.gap(assignment, from: from, to: target)) }
    }
  }

  func pause(_ assignments: [Assignment], _ paused: Bool) async throws {
    try refuseClosed()
    subscription.tell { state in
      for assignment in assignments {
        guard let place = state.place(of: assignment) else { continue }
        state.cursors[place].isPaused = paused
        if !paused { state.cursors[place].queue.lookAgain() }
      }
    }
  }

  func release(_ assignments: [Assignment]) async throws {
    let now = SystemClock().now()
    let stopped = subscription.state.withLock { state -> Set<Int> in
      var stopped: Set<Int> = []
      for assignment in assignments {
        guard let place = state.place(of: assignment) else { continue }
        let cursor = state.cursors.remove(at: place)
        if !cursor.isRevoking {
          stopped.insert(cursor.index)
          state.returned[cursor.index] = now
        }
      }
      return stopped
    }
    if !stopped.isEmpty {
      try await client.ask(what) { [poller] _, _ in poller.stopFetching(stopped) }
    }
    poller.wake()
  }

  // MARK: Commits

  func commit(_ marks: [CommitMark]) async throws -> [Assignment] {
    guard group != nil else {
      throw TransportError(
        .transport, "The source of \(topic) reads without a group and cannot commit: its positions belong in the state."
      )
    }
    try refuseClosed()
    let stale = staleMarks(marks)
    let current = marks.filter { !stale.contains($0.assignment) }
    if current.isEmpty { return stale }
    let isOurs = try await client.commit(topic, current)
    // What was taken away meanwhile may have been committed or not: its next owner has started from one or the other.
    return isOurs ? stale : stale + current.map(\.assignment)
  }

  private func staleMarks(_ marks: [CommitMark]) -> [Assignment] {
    subscription.state.withLock { state in
      marks.map(\.assignment).filter { state.place(of: $0) == nil }
    }
  }

  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try refuseClosed()
    if group == nil { return assignments.map { _ in nil } }
    return try await client.committed(topic, assignments.map(\.partition.index))
  }

  // MARK: The stream

  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try refuseClosed()
    try check(partitions)
    return try await questions.bounds(topic, partitions.map(\.index)).map { PartitionBounds(first: $0, end: $1) }
  }

  func partitions() async throws -> [PartitionID] {
    try refuseClosed()
    do {
      return try await questions.topology(topic).indices.map { partition($0) }
    } catch let unknown as UnknownTopic {
      throw administration.missing(unknown)
    }
  }

  func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position] {
    try refuseClosed()
    try check(partitions)
    return try await questions.offsets(topic, partitions.map(\.index), at: timestamp).map {
      Position(next: UInt64(max(0, $0)))
    }
  }

  func compaction() async throws -> StreamCompaction? {
    try refuseClosed()
    guard let settings = try await administration.configuration(of: topic) else {
      client.log.warning(
        "whether the topic is compacted cannot be seen: it is taken for one that is not", at: topic,
        remedy: "grant DESCRIBE_CONFIGS on the topic (kafka-acls.sh), or keep it uncompacted")
      return nil
    }
    let policies = (settings["cleanup.policy"] ?? "").split(separator: ",").map { $0.filter { $0 != " " } }
    guard policies.contains("compact") else { return nil }
    let milliseconds = settings["delete.retention.ms"].flatMap { Int64($0) } ?? 86_400_000
    return StreamCompaction(tombstoneRetention: .milliseconds(milliseconds))
  }

  private func check(_ partitions: [PartitionID]) throws {
    for partition in partitions where partition.incarnation != incarnation || partition.stream != topic {
      throw TransportError(
        .transport, "There is no partition \(partition) in this life of the stream; ask for its partitions again.")
    }
  }

  private func refuseClosed() throws {
    if subscription.state.withLock({ $0.isClosed }) { throw TransportError.closedSource(topic) }
  }

  func close() async {
    let isFirst = subscription.state.withLock { state in
      defer { state.isClosed = true }
      return !state.isClosed
    }
    guard isFirst else { return }
    subscription.signal.notify()
    watcher.withLock { $0?.cancel() }
    fetchWaker.stop()
    await poller.stop(leavesGroup: group != nil)
    let cursors = subscription.state.withLock { state in
      defer { state.cursors = [] }
      return state.cursors
    }
    _ = cursors
    await client.close()
  }
}

extension PartitionBounds {
  /// Offsets begin at 0 where nothing was ever removed.
  init(first: Int64, end: Int64) {
    self.init(
      first: Position(next: UInt64(max(0, first))), end: Position(next: UInt64(max(0, end))), isTruncated: first > 0)
  }
}

extension KafkaError {
  /// The error that a message stands for.
  init(_ message: KafkaMessage) {
    self.init(message.pointee.err, rd_kafka_message_errstr(message).map { String(cString: $0) })
  }
}
