import DatabusCore

/// A retry stream: its records come out once they have been in it for its whole delay.
///
/// Of each partition at most one batch is held, with its partition paused behind it; a batch is given out when its first record
/// is due. Batches are small, so that what is not due yet does not wait in memory by the thousand.
actor DelayedSource: EventSource {
  nonisolated let capabilities: SourceCapabilities
  private let base: any EventSource
  private let delay: Duration
  private let clock: any EngineClock
  /// Batches that are not due yet, by their partitions.
  private var held: [PartitionID: Held] = [:]
  /// Partitions that the engine has paused.
  private var paused: Set<PartitionID> = []

  private static let batchRecords = 64

  private final class Held {
    var batch: RecordBatch?
    let assignment: Assignment
    let dueAt: Instant

    init(_ batch: consuming RecordBatch, dueAt: Instant) {
      assignment = batch.assignment
      self.dueAt = dueAt
      self.batch = consume batch
    }

    func take() -> RecordBatch? { batch.take() }
  }

  init(_ base: any EventSource, delay: Duration, clock: any EngineClock) {
    self.base = base
    self.delay = delay
    self.clock = clock
    capabilities = base.capabilities
  }

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let now = clock.now()
    for (partition, entry) in held where entry.dueAt <= now && !paused.contains(partition) {
      held[partition] = nil
      // Where this fails, the source tells so at its next call.
      try? await base.pause([entry.assignment], false)
      if let batch = entry.take() { return .batch(batch) }
    }
    let event = try await base.next(records: min(records, DelayedSource.batchRecords), bytes: bytes, wait: wait)
    switch consume event {
    case .batch(let batch):
      let rest = restOf(batch)
      if rest <= .zero { return .batch(batch) }
      let entry = Held(batch, dueAt: clock.now() + rest)
      held[entry.assignment.partition] = entry
      try? await base.pause([entry.assignment], true)
      return .idle
    case .assigned(let assignments):
      forget(assignments)
      return .assigned(assignments)
    case .revoking(let assignments, let deadline):
      forget(assignments)
      return .revoking(assignments, deadline: deadline)
    case .lost(let assignments):
      forget(assignments)
      return .lost(assignments)
    case .gap(let assignment, let from, let to): return .gap(assignment, from: from, to: to)
    case .passed(let assignment, let to): return .passed(assignment, to: to)
    case .idle: return .idle
    case .end: return .end
    }
  }

  /// How long until the batch's first record has been here for the whole delay.
  private func restOf(_ batch: borrowing RecordBatch) -> Duration {
    guard batch.count > 0, let timestamp = batch[0].timestamp else { return .zero }
    let due = timestamp + Int64(clamping: delay.wholeNanoseconds / 1_000_000)
    // A clock that was set back must not hold a record for longer than its delay.
    return min(.milliseconds(max(0, due - clock.wallMilliseconds())), delay)
  }

  private func forget(_ assignments: [Assignment]) {
    for assignment in assignments {
      held[assignment.partition] = nil
      paused.remove(assignment.partition)
    }
  }

  func seek(_ assignment: Assignment, to position: Position) async throws {
    if let entry = held.removeValue(forKey: assignment.partition), !paused.contains(assignment.partition) {
      try await base.pause([entry.assignment], false)
    }
    try await base.seek(assignment, to: position)
  }

  func pause(_ assignments: [Assignment], _ isPaused: Bool) async throws {
    for assignment in assignments {
      if isPaused { paused.insert(assignment.partition) } else { paused.remove(assignment.partition) }
    }
    // What is held keeps its partition paused.
    let free = assignments.filter { held[$0.partition] == nil }
    if !free.isEmpty { try await base.pause(free, isPaused) }
  }

  func release(_ assignments: [Assignment]) async throws {
    forget(assignments)
    try await base.release(assignments)
  }

  nonisolated func commit(_ marks: [CommitMark]) async throws -> [Assignment] { try await base.commit(marks) }
  nonisolated func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try await base.committed(assignments)
  }
  nonisolated func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try await base.bounds(of: partitions)
  }
  nonisolated func partitions() async throws -> [PartitionID] { try await base.partitions() }
  nonisolated func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position] {
    try await base.positions(of: partitions, at: timestamp)
  }
  nonisolated func compaction() async throws -> StreamCompaction? { try await base.compaction() }
  nonisolated func token(for next: UInt64, in assignment: Assignment) -> [UInt8]? {
    base.token(for: next, in: assignment)
  }
  nonisolated func close() async { await base.close() }
}
