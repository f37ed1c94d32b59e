import DatabusCore

/// The reading end of a spool. Files are read on a thread of its own: Swift's pool must not block.
actor SpoolSource: EventSource {
  nonisolated let capabilities = SpoolTransport.sourceCapabilities
  private let worker = WorkerThread(name: "spool-source")
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  private let directory: SpoolDirectory
  private let mode: SourceMode
  private var held: Assignment?
  private var generation: UInt64 = 0
  /// The life that the engine gave back: it is not assigned again.
  private var released: PartitionID?
  /// The record to read next; nil until `seek` has said so.
  private var position: UInt64?
  private var isPaused = false
  private var isClosed = false

  init(_ directory: SpoolDirectory, _ mode: SourceMode) {
    self.directory = directory
    self.mode = mode
  }

  deinit { worker.stop() }

  // MARK: Reading

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let clock = SystemClock()
    let deadline = clock.now() + wait
    while true {
      if isClosed { throw TransportError(.closed, "The spool \(directory.path) was closed.") }
      if let event = try look(records, bytes) { return event }
      let now = clock.now()
      if now >= deadline || Task.isCancelled { return .idle }
      // Other calls come in meanwhile, `close` among them.
      try? await clock.sleep(for: min(.milliseconds(5), deadline - now))
    }
  }

  private func look(_ records: Int, _ bytes: Int) throws -> SourceEvent? {
    let partition = try directory.partition()
    if let old = held, old.partition != partition {
      // Somebody has made the stream anew: what we had is over.
      held = nil
      return .lost([old])
    }
    guard let held else { return try assign(partition) }
    guard let start = position, !isPaused else { return nil }

    let numbers = try directory.numbers()
    let end = (numbers.last ?? 0) + 1
    guard let first = numbers.first(where: { $0 >= start }) else {
      if start == end { return nil }
      position = end
      return .gap(held, from: start, to: end)
    }
    if first > start {
      position = first
      return .gap(held, from: start, to: first)
    }
    var batch = RecordBatchBuilder()
    var next = first
    for number in numbers.drop(while: { $0 < first }) {
      // A hole is told by the next call.
      if number != next || batch.count == records { break }
      let value = try directory.read(number)
      if !batch.isEmpty, batch.byteCount + value.count > bytes { break }
      batch.append(key: nil, value: value, position: number)
      next = number + 1
    }
    position = next
    return .batch(batch.finish(held))
  }

  private func assign(_ partition: PartitionID) throws -> SourceEvent? {
    if partition == released { return nil }
    generation += 1
    let assignment = Assignment(partition: partition, generation: generation)
    held = assignment
    isPaused = false
    position = nil
    if case .everything(let from) = mode {
      position = try from[partition]?.next ?? directory.bounds().first.next
    }
    return .assigned([assignment])
  }

  // MARK: What the engine asks. Of an assignment that is over, nothing.

  func seek(_ assignment: Assignment, to position: Position) {
    if assignment == held { self.position = max(position.next, 1) }
  }

  func pause(_ assignments: [Assignment], _ paused: Bool) {
    if let held, assignments.contains(held) { isPaused = paused }
  }

  func release(_ assignments: [Assignment]) {
    guard let held, assignments.contains(held) else { return }
    released = held.partition
    self.held = nil
  }

  /// Positions live in the state: nothing is kept here.
  func commit(_ marks: [CommitMark]) -> [Assignment] { marks.map(\.assignment).filter { $0 != held } }
  func committed(_ assignments: [Assignment]) -> [CommittedPosition?] { assignments.map { _ in nil } }

  func bounds(of partitions: [PartitionID]) throws -> [PartitionBounds] {
    let present = try directory.partition()
    return try partitions.map { partition in
      guard partition == present else {
        throw TransportError(.transport, "\(partition) is of an earlier life of \(directory.path): it is gone.")
      }
      return try directory.bounds()
    }
  }

  func partitions() throws -> [PartitionID] { [try directory.partition()] }

  func close() { isClosed = true }
}
