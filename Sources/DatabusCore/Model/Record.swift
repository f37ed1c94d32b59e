/// A header of a record: a name and a value that may be absent.
public struct Header: Hashable, Sendable {
  public var name: String
  public var value: [UInt8]?

  public init(name: String, value: [UInt8]?) {
    self.name = name
    self.value = value
  }
}

/// A record as a transport describes it to a `RecordBatch`: pointers into the storage's memory.
@frozen public struct RawRecord: BitwiseCopyable {
  /// nil: the record has no key.
  public var key: UnsafeRawPointer?
  /// nil: a tombstone.
  public var value: UnsafeRawPointer?
  public var keyCount: Int32
  public var valueCount: Int32
  /// Milliseconds since 1970, or `RawRecord.noTimestamp`.
  public var timestamp: Int64
  /// Where the record stands.
  public var position: UInt64
  /// The position to read from once this record has ended.
  public var next: UInt64

  /// The transport has no timestamp of its own.
  public static var noTimestamp: Int64 { .min }

  public init(
    key: UnsafeRawPointer?, keyCount: Int, value: UnsafeRawPointer?, valueCount: Int,
    timestamp: Int64, position: UInt64, next: UInt64
  ) {
    self.key = key
    self.value = value
    self.keyCount = Int32(truncatingIfNeeded: keyCount)
    self.valueCount = Int32(truncatingIfNeeded: valueCount)
    self.timestamp = timestamp
    self.position = position
    self.next = next
  }
}

/// A view of one record of a batch. It cannot outlive the batch.
@frozen public struct Record: ~Escapable {
  public let raw: RawRecord

  @_lifetime(immortal)
  init(unchecked raw: RawRecord) { self.raw = raw }

  public var position: UInt64 { raw.position }
  /// Milliseconds since 1970; nil where the transport has none of its own.
  public var timestamp: Int64? { raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp }
  public var isTombstone: Bool { raw.value == nil }

  /// The value's bytes; nil for a tombstone.
  public var value: RawSpan? {
    @_lifetime(copy self) get { span(raw.value, raw.valueCount) }
  }

  /// The key's bytes; nil where the record has none.
  public var key: RawSpan? {
    @_lifetime(copy self) get { span(raw.key, raw.keyCount) }
  }

  @_lifetime(copy self)
  private func span(_ start: UnsafeRawPointer?, _ count: Int32) -> RawSpan? {
    guard let start else { return nil }
    let span = RawSpan(_unsafeStart: start, byteCount: Int(count))
    return _overrideLifetime(span, copying: self)
  }
}
