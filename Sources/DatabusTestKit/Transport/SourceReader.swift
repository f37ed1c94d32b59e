import DatabusCore

/// A copy of a record that a source delivered.
struct SeenRecord: Sendable, Hashable {
  var assignment: Assignment
  var position: UInt64
  var next: UInt64
  var key: [UInt8]?
  var value: [UInt8]?
  var headers: [Header]
  var timestamp: Int64?

  var place: String { "\(assignment.partition)/\(position)" }
  /// What a delivery id is made of, where the record has no id of its own.
  var identity: Identity {
    Identity(partition: assignment.partition, position: position, timestamp: timestamp)
  }

  struct Identity: Hashable, Sendable {
    var partition: PartitionID
    var position: UInt64
    var timestamp: Int64?
  }
}

/// Everything that a source has told so far.
struct Observations: Sendable {
  struct Gap: Sendable, Hashable {
    var assignment: Assignment
    var from: UInt64
    var to: UInt64
  }

  var records: [SeenRecord] = []
  /// Assigned and neither revoked nor lost.
  var held: [Assignment] = []
  /// Assignments that were told while their partition was held.
  var repeated: [Assignment] = []
  var revoking: [Assignment] = []
  var deadlines: [Instant] = []
  var lost: [Assignment] = []
  var gaps: [Gap] = []
  /// Up to where it was told last that no record stands.
  var passed: [Assignment: UInt64] = [:]
  /// Records of assignments that had been revoked or lost, or never told.
  var strays: [SeenRecord] = []
  /// More records in a batch than had been asked for.
  var excess = 0
  var hasEnded = false

  func records(in partition: Int) -> [SeenRecord] {
    records.filter { $0.assignment.partition.index == partition }
  }

  /// The distinct values that were read.
  var values: Set<[UInt8]?> { Set(records.map(\.value)) }
}

/// Reads a source as the engine does: seeks what is assigned, and remembers what it is told.
actor SourceReader {
  /// Where a partition starts that is assigned.
  enum Start: Sendable {
    case first
    case committed
    /// By the partition's index; others at their first position.
    case at([Int: UInt64])
    case nowhere
  }

  nonisolated let source: any EventSource
  private let start: Start
  private let batchRecords: Int
  private(set) var seen = Observations()

  init(_ source: any EventSource, start: Start, batchRecords: Int = 16) {
    self.source = source
    self.start = start
    self.batchRecords = batchRecords
  }

  /// Polls until the condition holds. Bounded by the caller, who cancels.
  func pump(until condition: @Sendable (Observations) -> Bool) async throws -> Observations {
    while !condition(seen) {
      try Task.checkCancellation()
      if seen.hasEnded { throw TransportError(.closed, "the stream ended before everything was read") }
      try await poll()
    }
    return seen
  }

  /// Polls for so long, or until the condition holds.
  func pump(
    for duration: Duration, until condition: @Sendable (Observations) -> Bool = { _ in false }
  ) async throws -> Observations {
    let clock = SystemClock()
    let end = clock.now() + duration
    repeat { try await poll() } while clock.now() < end && !seen.hasEnded && !condition(seen)
    return seen
  }

  private func poll() async throws {
    let event = try await source.next(records: batchRecords, bytes: 1 << 20, wait: .milliseconds(20))
    switch consume event {
    case .batch(let batch): note(batch)
    case .assigned(let assignments): try await begin(assignments)
    case .revoking(let assignments, let deadline):
      seen.revoking += assignments
      seen.deadlines.append(deadline)
      seen.held.removeAll { assignments.contains($0) }
    case .lost(let assignments):
      seen.lost += assignments
      seen.held.removeAll { assignments.contains($0) }
    case .gap(let assignment, let from, let to):
      seen.gaps.append(Observations.Gap(assignment: assignment, from: from, to: to))
    case .passed(let assignment, let position): seen.passed[assignment] = position
    case .idle: break
    case .end: seen.hasEnded = true
    }
  }

  private func begin(_ assignments: [Assignment]) async throws {
    for assignment in assignments {
      if seen.held.contains(where: { $0.partition == assignment.partition }) {
        seen.repeated.append(assignment)
        if seen.held.contains(assignment) { continue }
        seen.held.removeAll { $0.partition == assignment.partition }
      }
      seen.held.append(assignment)
      if let position = try await position(of: assignment) {
        try await source.seek(assignment, to: position)
      }
    }
  }

  private func position(of assignment: Assignment) async throws -> Position? {
    switch start {
    case .nowhere: return nil
    case .at(let positions):
      if let position = positions[assignment.partition.index] { return Position(next: position) }
    case .committed:
      if let committed = try await source.committed([assignment]).first, let committed {
        return committed.position
      }
    case .first: break
    }
    return try await firstPosition(of: assignment.partition)
  }

  /// Where a partition begins. One that was just added may not be known everywhere yet: errors of the class `transport` ask for another call.
  private func firstPosition(of partition: PartitionID) async throws -> Position? {
    for _ in 0..<100 {
      do {
        return try await source.bounds(of: [partition]).first?.first
      } catch let error as TransportError where error.class == .transport {
        try await Task.sleep(for: .milliseconds(20))
      }
    }
    return try await source.bounds(of: [partition]).first?.first
  }

  private func note(_ batch: borrowing RecordBatch) {
    seen.excess += max(batch.count - batchRecords, 0)
    for index in 0..<batch.count {
      let record = SeenRecord(batch, index)
      seen.records.append(record)
      if !seen.held.contains(batch.assignment) { seen.strays.append(record) }
    }
  }
}

extension SeenRecord {
  init(_ batch: borrowing RecordBatch, _ index: Int) {
    func copy(_ start: UnsafeRawPointer?, _ count: Int32) -> [UInt8]? {
      start.map { Array(UnsafeRawBufferPointer(start: $0, count: Int(count))) }
    }
    let raw = batch[index].raw
    assignment = batch.assignment
    position = raw.position
    next = raw.next
    key = copy(raw.key, raw.keyCount)
    value = copy(raw.value, raw.valueCount)
    headers = batch.headers(at: index)
    timestamp = raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp
  }
}
