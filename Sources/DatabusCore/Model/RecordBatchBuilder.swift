/// Builds a batch from records whose memory the transport cannot lend: their bytes are copied once, into one
/// block with room for the JSON parser behind it.
public struct RecordBatchBuilder: ~Copyable {
  private var bytes: ByteBuffer
  private var entries: [Entry] = []
  private var headers: [Int: [Header]] = [:]
  private var places: [Int: String] = [:]
  private var payload = 0

  private struct Entry {
    var keyOffset: Int
    var keyCount: Int
    var valueOffset: Int
    var valueCount: Int
    var timestamp: Int64
    var position: UInt64
    var next: UInt64
  }

  /// - Parameter byteCapacity: bytes that are expected; the block grows where that is too few.
  public init(byteCapacity: Int = 4096) { bytes = ByteBuffer(capacity: byteCapacity) }

  public var count: Int { entries.count }
  /// The sum of the keys' and values' bytes so far.
  public var byteCount: Int { payload }
  public var isEmpty: Bool { entries.isEmpty }

  /// Appends a copy of one record.
  ///
  /// - Parameters:
  ///   - key: nil where the record has none.
  ///   - value: nil for a tombstone.
  ///   - next: the position to read from once this record has ended; `position + 1` where nil.
  ///   - place: `file:line:column` or the like, for people, where the locator does not say it.
  public mutating func append(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: [Header] = [],
    timestamp: Int64 = RawRecord.noTimestamp, position: UInt64, next: UInt64? = nil,
    place: String? = nil
  ) {
    var entry = Entry(
      keyOffset: -1, keyCount: 0, valueOffset: -1, valueCount: 0, timestamp: timestamp,
      position: position, next: next ?? position + 1)
    if let key {
      entry.keyOffset = bytes.count
      entry.keyCount = key.count
      bytes.append(key)
    }
    if let value {
      entry.valueOffset = bytes.count
      entry.valueCount = value.count
      bytes.append(value)
    }
    if !headers.isEmpty { self.headers[entries.count] = headers }
    if let place { places[entries.count] = place }
    payload += entry.keyCount + entry.valueCount
    entries.append(entry)
  }

  /// Appends a copy of one record that is at hand as arrays.
  public mutating func append(
    key: [UInt8]?, value: [UInt8]?, headers: [Header] = [],
    timestamp: Int64 = RawRecord.noTimestamp, position: UInt64, next: UInt64? = nil
  ) {
    key.withOptionalBytes { key in
      value.withOptionalBytes { value in
        append(key: key, value: value, headers: headers, timestamp: timestamp, position: position, next: next)
      }
    }
  }

  /// The batch of all records appended.
  public consuming func finish(_ assignment: Assignment) -> RecordBatch {
    bytes.reserve(JSONDocument.padding)
    let count = entries.count
    let records = UnsafeMutableBufferPointer<RawRecord>.allocate(capacity: count)
    let owned = OwnedRecords(bytes: bytes, headers: headers, places: places)
    let base = owned.base
    for (index, entry) in entries.enumerated() {
      records.initializeElement(
        at: index,
        to: RawRecord(
          key: entry.keyOffset < 0 ? nil : base + entry.keyOffset, keyCount: entry.keyCount,
          value: entry.valueOffset < 0 ? nil : base + entry.valueOffset,
          valueCount: entry.valueCount, timestamp: entry.timestamp, position: entry.position,
          next: entry.next))
    }
    return RecordBatch(
      assignment: assignment, storage: owned, records: records, byteCount: payload,
      padding: JSONDocument.padding)
  }
}

/// The memory of a batch that a `RecordBatchBuilder` copied.
private final class OwnedRecords: RecordStorage, @unchecked Sendable {
  // Sendable: written only in init.
  private let bytes: ByteBuffer
  private let headers: [Int: [Header]]
  private let places: [Int: String]

  init(bytes: consuming ByteBuffer, headers: [Int: [Header]], places: [Int: String]) {
    self.bytes = bytes
    self.headers = headers
    self.places = places
  }

  var base: UnsafeRawPointer { bytes.base }

  func release(_ records: UnsafeMutableBufferPointer<RawRecord>) { records.deallocate() }
  func headers(at index: Int) -> [Header] { headers[index] ?? [] }
  func place(of index: Int) -> String? { places[index] }
}
