import DatabusCore
import Synchronization

/// One lock for everything that lives in a `MemoryLog`.
///
/// Batches hold it too: a record's headers lie in a dictionary that may be growing.
final class MemoryLock: Sendable {
  private let mutex = Mutex<Void>(())

  func locked<R: ~Copyable>(_ body: () throws -> R) rethrows -> R {
    try mutex.withLock { _ in try body() }
  }
}

/// A block of appended records that never moves, so that batches can lend its memory.
///
/// Positions within a chunk have no holes: the record at place `i` stands at `firstPosition + i`.
final class MemoryChunk: @unchecked Sendable {
  // Sendable: the counts and the headers are only touched under the log's lock, which also publishes the bytes: a record
  // below `count` is never written again, and bytes above `byteCount` mean nothing to a reader (a JSON parser may read
  // them as padding, and ignores what they are).
  let firstPosition: UInt64
  private let lock: MemoryLock
  private let memory: UnsafeMutableRawPointer
  private let byteCapacity: Int
  private let records: UnsafeMutablePointer<RawRecord>
  /// The payload's bytes of all records up to and including each: the size of a slice is one subtraction.
  private let payloadEnds: UnsafeMutablePointer<Int>
  private let recordCapacity: Int
  private var byteCount = 0
  private(set) var count = 0
  private var headers: [Int: [Header]] = [:]

  init(firstPosition: UInt64, byteCapacity: Int, recordCapacity: Int, lock: MemoryLock) {
    self.firstPosition = firstPosition
    self.lock = lock
    self.byteCapacity = byteCapacity
    self.recordCapacity = recordCapacity
    memory = .allocate(byteCount: byteCapacity + JSONDocument.padding, alignment: 64)
    records = .allocate(capacity: recordCapacity)
    payloadEnds = .allocate(capacity: recordCapacity)
  }

  deinit {
    memory.deallocate()
    records.deallocate()
    payloadEnds.deallocate()
  }

  var endPosition: UInt64 { firstPosition + UInt64(count) }

  func hasRoom(records: Int, bytes: Int) -> Bool {
    count + records <= recordCapacity && byteCount + bytes <= byteCapacity
  }

  /// Copies bytes to the chunk's end; records then point into them.
  func appendBytes(_ source: UnsafeRawBufferPointer) -> UnsafeMutableRawPointer {
    let place = memory + byteCount
    if let start = source.baseAddress { place.copyMemory(from: start, byteCount: source.count) }
    byteCount += source.count
    return place
  }

  @inline(__always)
  func appendRecord(
    key: UnsafeRawPointer?, keyCount: Int, value: UnsafeRawPointer?, valueCount: Int, timestamp: Int64
  ) {
    let position = firstPosition &+ UInt64(truncatingIfNeeded: count)
    records.advanced(by: count).initialize(
      to: RawRecord(
        key: key, keyCount: keyCount, value: value, valueCount: valueCount, timestamp: timestamp,
        position: position, next: position &+ 1))
    let before = count == 0 ? 0 : payloadEnds[count &- 1]
    payloadEnds.advanced(by: count).initialize(to: before &+ keyCount &+ valueCount)
    count = count &+ 1
  }

  /// The headers of the record that was appended last.
  func setHeaders(_ list: [Header]) { headers[count - 1] = list }

  func record(at place: Int) -> RawRecord { records[place] }
  func headers(at place: Int) -> [Header] { headers[place] ?? [] }

  /// The end of the longest slice from `start` within both limits, at least one record.
  func sliceEnd(from start: Int, records limit: Int, bytes: Int) -> Int {
    let most = min(count, start + max(limit, 1))
    let before = start == 0 ? 0 : payloadEnds[start - 1]
    let (bound, overflow) = before.addingReportingOverflow(max(bytes, 0))
    if overflow || payloadEnds[most - 1] <= bound { return most }
    var low = start + 1
    var high = most
    while low < high {
      let middle = (low + high + 1) / 2
      if payloadEnds[middle - 1] <= bound { low = middle } else { high = middle - 1 }
    }
    return low
  }

  /// A batch over `range`, without a copy. Not called under the lock.
  func batch(_ range: Range<Int>, byteCount: Int, assignment: Assignment) -> RecordBatch {
    RecordBatch(
      assignment: assignment, storage: Slice(chunk: self, start: range.lowerBound),
      records: UnsafeMutableBufferPointer(
        start: records + range.lowerBound, count: range.count),
      byteCount: byteCount, padding: JSONDocument.padding)
  }

  func byteCount(of range: Range<Int>) -> Int {
    if range.isEmpty { return 0 }
    let before = range.lowerBound == 0 ? 0 : payloadEnds[range.lowerBound - 1]
    return payloadEnds[range.upperBound - 1] - before
  }

  /// Keeps the chunk alive for as long as a batch looks at a part of it.
  private final class Slice: RecordStorage {
    private let chunk: MemoryChunk
    private let start: Int

    init(chunk: MemoryChunk, start: Int) {
      self.chunk = chunk
      self.start = start
    }

    func release(_ records: UnsafeMutableBufferPointer<RawRecord>) {}  // they belong to the chunk
    func headers(at index: Int) -> [Header] {
      chunk.lock.locked { chunk.headers(at: start + index) }
    }
  }
}
