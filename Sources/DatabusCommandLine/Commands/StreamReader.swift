import DatabusCore

/// A record that was copied out of its batch, for people and scripts.
struct ReadRecord: Sendable {
  var partition: PartitionID
  var position: UInt64
  var timestamp: Int64?
  var key: [UInt8]?
  var value: [UInt8]?
  var headers: [Header]

  /// `stream/partition/position`.
  var locator: String { "\(partition)/\(position)" }
}

/// Reads a stream without a group: what it reads is taken from nobody, and nothing is committed.
final class StreamReader {
  enum Start: Sendable {
    case start
    /// What comes from now on.
    case end
    /// What is not older than so many milliseconds since 1970, where the transport finds that; else everything.
    case time(Int64)
  }

  struct Batch: Sendable {
    var records: [ReadRecord] = []
    /// Records that the transport no longer has.
    var gap: (partition: PartitionID, from: UInt64, to: UInt64)?
  }

  private let source: any EventSource
  /// Where each partition is read from.
  private let starts: [PartitionID: Position]
  private let isBounded: Bool
  /// Where the stream stood at the call.
  private let bounds: [PartitionID: PartitionBounds]
  private var positions: [PartitionID: UInt64] = [:]
  private var isOver = false

  /// - Parameter isBounded: ends where the stream stood at the call.
  init(_ transport: any Transport, _ stream: String, from start: Start, isBounded: Bool) async throws {
    self.isBounded = isBounded
    source = try await transport.makeSource(stream, .everything(from: [:]))
    do {
      let partitions = try await source.partitions()
      let all = try await source.bounds(of: partitions)
      let bounds = Dictionary(zip(partitions, all).map { ($0, $1) }, uniquingKeysWith: { a, _ in a })
      self.bounds = bounds
      switch start {
      case .start: starts = bounds.mapValues(\.first)
      case .end: starts = bounds.mapValues(\.end)
      case .time(let time):
        guard source.capabilities.seeksByTime else {
          starts = bounds.mapValues(\.first)
          break
        }
        let found = try await source.positions(of: partitions, at: time)
        starts = Dictionary(zip(partitions, found).map { ($0, $1) }, uniquingKeysWith: { a, _ in a })
      }
    } catch {
      await source.close()
      throw error
    }
    positions = starts.mapValues(\.next)
  }

  /// Records between where it stands and where the stream stood at the call.
  private var isAtEnd: Bool {
    bounds.allSatisfy { partition, bounds in (positions[partition] ?? 0) >= bounds.end.next }
  }

  /// What comes next: nil at the end of a bounded reading or a finite stream, an empty batch where nothing came for a while.
  func next() async throws -> Batch? {
    if isOver || isBounded && isAtEnd { return nil }
    let event = try await source.next(records: 1000, bytes: 4 << 20, wait: .milliseconds(100))
    switch consume event {
    case .batch(let batch): return Batch(records: copy(batch))
    case .assigned(let assignments):
      for assignment in assignments {
        let partition = assignment.partition
        let first = try await source.bounds(of: [partition])[0].first
        let position = starts[partition] ?? first
        try await source.seek(assignment, to: position)
        positions[partition] = position.next
      }
    case .revoking(let assignments, _): try await source.release(assignments)
    case .lost: break
    case .passed(let assignment, let position): positions[assignment.partition] = position
    case .idle: break
    case .gap(let assignment, let from, let to):
      positions[assignment.partition] = to
      return Batch(gap: (assignment.partition, from, to))
    case .end:
      isOver = true
      return nil
    }
    return Batch()
  }

  private func copy(_ batch: borrowing RecordBatch) -> [ReadRecord] {
    let partition = batch.assignment.partition
    let end = isBounded ? bounds[partition]?.end.next ?? 0 : .max
    var records: [ReadRecord] = []
    records.reserveCapacity(batch.count)
    for index in 0..<batch.count {
      let raw = batch[index].raw
      positions[partition] = raw.next
      if raw.position >= end { continue }
      records.append(
        ReadRecord(
          partition: partition, position: raw.position,
          timestamp: raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp,
          key: raw.key.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.keyCount))) },
          value: raw.value.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.valueCount))) },
          headers: batch.headers(at: index)))
    }
    return records
  }

  func close() async { await source.close() }
}
