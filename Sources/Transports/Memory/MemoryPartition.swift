import DatabusCore

/// The records of one partition. Touched only under the log's lock.
final class MemoryPartition {
  let id: PartitionID
  private let lock: MemoryLock
  private let retention: MemoryTransport.Retention
  private var chunks: [MemoryChunk] = []
  /// Positions that are told as gaps when a reader comes to them.
  private var gaps: [Range<UInt64>] = []
  private(set) var first: UInt64 = 0
  private(set) var end: UInt64 = 0
  private(set) var isTruncated = false

  init(id: PartitionID, retention: MemoryTransport.Retention, lock: MemoryLock) {
    self.id = id
    self.retention = retention
    self.lock = lock
  }

  var bounds: PartitionBounds {
    PartitionBounds(first: Position(next: first), end: Position(next: end), isTruncated: isTruncated)
  }

  // MARK: Appending

  func append(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: [Header], timestamp: Int64
  ) {
    if retention == .nothing { return count(1) }
    let chunk = chunk(records: 1, bytes: (key?.count ?? 0) + (value?.count ?? 0))
    let keyPlace = key.map { chunk.appendBytes($0) }
    let valuePlace = value.map { chunk.appendBytes($0) }
    chunk.appendRecord(
      key: keyPlace, keyCount: key?.count ?? 0, value: valuePlace, valueCount: value?.count ?? 0,
      timestamp: timestamp)
    if !headers.isEmpty { chunk.setHeaders(headers) }
    end += 1
  }

  /// Appends the deliveries of `range` with one copy of all their bytes.
  func append(_ batch: borrowing DeliveryBatch, _ range: Range<Int>, timestamps: Bool) {
    if retention == .nothing { return count(range.count) }
    var low = Int.max
    var high = 0
    for index in range {
      let raw = batch[index].raw
      low = min(low, raw.valueOffset)
      high = max(high, raw.valueOffset &+ raw.valueCount)
      if raw.keyOffset >= 0 {
        low = min(low, raw.keyOffset)
        high = max(high, raw.keyOffset &+ raw.keyCount)
      }
    }
    let chunk = chunk(records: range.count, bytes: high - low)
    let start = UnsafeRawPointer(
      chunk.appendBytes(UnsafeRawBufferPointer(rebasing: batch.contents[low..<high])))
    for index in range {
      let raw = batch[index].raw
      chunk.appendRecord(
        key: raw.keyOffset < 0 ? nil : start + (raw.keyOffset &- low), keyCount: raw.keyCount,
        value: raw.isTombstone ? nil : start + (raw.valueOffset &- low), valueCount: raw.valueCount,
        timestamp: timestamps ? raw.timestamp : RawRecord.noTimestamp)
      if raw.headers >= 0 { chunk.setHeaders(batch.headers(at: index)) }
    }
    end += UInt64(range.count)
  }

  /// The records end and are not kept.
  private func count(_ records: Int) {
    end += UInt64(records)
    first = end
  }

  /// The chunk to append to. Chunks grow with the partition: a small topic costs little.
  private func chunk(records: Int, bytes: Int) -> MemoryChunk {
    if let last = chunks.last, last.endPosition == end, last.hasRoom(records: records, bytes: bytes) {
      return last
    }
    let scale = min(chunks.count, 6)
    let chunk = MemoryChunk(
      firstPosition: end, byteCapacity: max(bytes, 16_384 << scale),
      recordCapacity: max(records, 256 << scale), lock: lock)
    chunks.append(chunk)
    return chunk
  }

  // MARK: Reading

  enum Read {
    case records(MemoryChunk, Range<Int>)
    /// Nothing is there from `from` to `to`; a reader goes on at `to`.
    case gap(from: UInt64, to: UInt64)
    /// No record is at this position, and none ever was.
    case hole(to: UInt64)
    case nothing
  }

  func read(from position: UInt64, records: Int, bytes: Int) -> Read {
    if position == end { return .nothing }
    if position > end { return .gap(from: position, to: end) }
    if position < first { return .gap(from: position, to: first) }
    let next = chunkIndex(behind: position)
    if next > 0 {
      let chunk = chunks[next - 1]
      if position < chunk.endPosition {
        let start = Int(position - chunk.firstPosition)
        return .records(chunk, start..<chunk.sliceEnd(from: start, records: records, bytes: bytes))
      }
    }
    let behind = next < chunks.count ? chunks[next].firstPosition : end
    if let gap = gaps.first(where: { $0.contains(position) }) {
      return .gap(from: position, to: min(gap.upperBound, behind))
    }
    let nextGap = gaps.first { $0.lowerBound > position }?.lowerBound ?? behind
    return .hole(to: min(nextGap, behind))
  }

  /// The index of the first chunk that starts behind `position`.
  private func chunkIndex(behind position: UInt64) -> Int {
    var low = 0
    var high = chunks.count
    while low < high {
      let middle = (low + high) / 2
      if chunks[middle].firstPosition <= position { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// The first position whose record is not older than `timestamp`; the end where all are.
  func position(at timestamp: Int64) -> UInt64 {
    for chunk in chunks where chunk.endPosition > first {
      for place in 0..<chunk.count {
        let raw = chunk.record(at: place)
        if raw.position >= first, raw.timestamp >= timestamp { return raw.position }
      }
    }
    return end
  }

  /// Copies of all records that are there.
  var records: [MemoryRecord] {
    chunks.flatMap { chunk in
      (0..<chunk.count).compactMap { place in
        let raw = chunk.record(at: place)
        if raw.position < first { return nil }
        return MemoryRecord(raw, headers: chunk.headers(at: place), partition: id.index)
      }
    }
  }

  // MARK: What happens to logs

  /// Moves the end without a record. With `told`, readers hear of a gap.
  func skip(_ positions: UInt64, told: Bool) {
    if told { gaps.append(end..<end + positions) }
    end += positions
  }

  /// Removes what stands before `position`, as retention does.
  func truncate(before position: UInt64) {
    let position = min(position, end)
    if position <= first { return }
    first = position
    isTruncated = true
    chunks.removeAll { $0.endPosition <= position && $0.count > 0 }
    gaps.removeAll { $0.upperBound <= position }
  }

  /// Gives memory back whose records every group has committed.
  func trim(committed position: UInt64) {
    if retention == .untilCommitted, let chunk = chunks.first, chunk.endPosition <= position {
      truncate(before: chunk.endPosition)
    }
  }
}

/// A copy of one record of a `MemoryTransport`, for those who look at a stream from outside.
public struct MemoryRecord: Hashable, Sendable {
  public var partition: Int
  public var position: UInt64
  /// nil where the record has none.
  public var key: [UInt8]?
  /// nil for a tombstone.
  public var value: [UInt8]?
  public var headers: [Header]
  /// Milliseconds since 1970; nil where the transport has been told to have none.
  public var timestamp: Int64?

  init(_ raw: RawRecord, headers: [Header], partition: Int) {
    func copy(_ start: UnsafeRawPointer?, _ count: Int32) -> [UInt8]? {
      start.map { Array(UnsafeRawBufferPointer(start: $0, count: Int(count))) }
    }
    self.partition = partition
    position = raw.position
    key = copy(raw.key, raw.keyCount)
    value = copy(raw.value, raw.valueCount)
    self.headers = headers
    timestamp = raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp
  }

  /// The value as text; broken UTF-8 is repaired, a tombstone is empty.
  public var text: String { String(decoding: value ?? [], as: UTF8.self) }
}
