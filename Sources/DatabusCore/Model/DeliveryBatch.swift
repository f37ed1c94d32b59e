/// Where a delivery's bytes lie in its batch.
@frozen public struct RawDelivery: BitwiseCopyable {
  public var valueOffset: Int
  public var valueCount: Int
  /// -1: no key.
  public var keyOffset: Int
  public var keyCount: Int
  /// The place of the headers in the batch's list, or -1.
  public var headers: Int
  /// Milliseconds since 1970.
  public var timestamp: Int64
  /// What the sink names to its `CompletionPort` when the delivery has ended.
  public var token: UInt64
  /// A record without value.
  public var isTombstone: Bool
  /// Where the record stands in the batch's `origin`; 0 where it has none.
  public var position: UInt64 = 0
}

/// A view of one delivery of a batch. It cannot outlive the batch.
@frozen public struct Delivery: ~Escapable {
  public let raw: RawDelivery
  let base: UnsafeRawPointer

  @_lifetime(immortal)
  init(unchecked raw: RawDelivery, base: UnsafeRawPointer) {
    self.raw = raw
    self.base = base
  }

  public var token: UInt64 { raw.token }
  /// Milliseconds since 1970.
  public var timestamp: Int64 { raw.timestamp }
  /// Where the record stands in the batch's `origin`; 0 where it has none.
  public var position: UInt64 { raw.position }
  /// Key and value, in bytes.
  public var byteCount: Int { raw.keyCount + raw.valueCount }

  /// nil: a tombstone.
  public var value: RawSpan? {
    @_lifetime(copy self) get {
      if raw.isTombstone { return nil }
      let span = RawSpan(_unsafeStart: base + raw.valueOffset, byteCount: raw.valueCount)
      return _overrideLifetime(span, copying: self)
    }
  }

  /// nil where the record has none.
  public var key: RawSpan? {
    @_lifetime(copy self) get {
      if raw.keyOffset < 0 { return nil }
      let span = RawSpan(_unsafeStart: base + raw.keyOffset, byteCount: raw.keyCount)
      return _overrideLifetime(span, copying: self)
    }
  }
}

/// Records on their way to one sink, in order. The sink copies what it needs before `send` returns.
public struct DeliveryBatch: ~Copyable, @unchecked Sendable {
  // Sendable: it owns its memory and has one owner at a time.
  @usableFromInline var bytes: ByteBuffer
  private var entries: UnsafeMutablePointer<RawDelivery>
  private var capacity: Int
  private var headerLists: [[Header]] = []
  /// The partition that the deliveries were read from, as they are; nil for what was made of events.
  public internal(set) var origin: PartitionID?
  public private(set) var count = 0

  public init(capacity: Int = 64) {
    self.capacity = max(capacity, 8)
    entries = .allocate(capacity: self.capacity)
    bytes = ByteBuffer(capacity: 4096)
  }

  deinit { entries.deallocate() }

  public var isEmpty: Bool { count == 0 }
  /// The bytes of all keys and values.
  public var byteCount: Int { bytes.count }

  /// The bytes that the offsets of every `RawDelivery` count from, for a sink that copies a whole batch at once.
  /// Valid until the batch is changed.
  public var contents: UnsafeRawBufferPointer { bytes.bytes }

  public subscript(index: Int) -> Delivery {
    @_lifetime(borrow self) get {
      precondition(index >= 0 && index < count)
      let delivery = Delivery(unchecked: entries[index], base: bytes.base)
      return _overrideLifetime(delivery, borrowing: self)
    }
  }

  /// The headers of the delivery at `index`, in order.
  public func headers(at index: Int) -> [Header] {
    precondition(index >= 0 && index < count)
    let list = entries[index].headers
    return list < 0 ? [] : headerLists[list]
  }

  /// Where the bytes of the delivery at `index` lie.
  func raw(at index: Int) -> RawDelivery {
    precondition(index >= 0 && index < count)
    return entries[index]
  }

  /// The token of the delivery at `index`.
  @inline(__always)
  public func token(at index: Int) -> UInt64 {
    precondition(index >= 0 && index < count)
    return entries[index].token
  }

  /// Appends a copy of one record.
  public mutating func append(
    key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?, headers: [Header] = [],
    timestamp: Int64, token: UInt64, position: UInt64 = 0
  ) {
    var keyOffset = -1
    if let key {
      keyOffset = bytes.count
      bytes.append(key)
    }
    let valueOffset = bytes.count
    if let value { bytes.append(value) }
    append(
      valueOffset: valueOffset, valueCount: value?.count ?? 0, keyOffset: keyOffset, keyCount: key?.count ?? 0,
      headers: headers, timestamp: timestamp, token: token, isTombstone: value == nil, position: position)
  }

  /// Appends a copy of one record that is at hand as arrays.
  public mutating func append(
    key: [UInt8]?, value: [UInt8]?, headers: [Header] = [], timestamp: Int64, token: UInt64
  ) {
    key.withOptionalBytes { key in
      value.withOptionalBytes { value in
        append(key: key, value: value, headers: headers, timestamp: timestamp, token: token)
      }
    }
  }

  /// Appends a delivery whose value and key have been written to `bytes`.
  @inline(__always)
  mutating func append(
    valueOffset: Int, valueCount: Int, keyOffset: Int, keyCount: Int, headers: [Header] = [], timestamp: Int64,
    token: UInt64, isTombstone: Bool = false, position: UInt64 = 0
  ) {
    if count == capacity { grow() }
    var list = -1
    if !headers.isEmpty {
      list = headerLists.count
      headerLists.append(headers)
    }
    entries.advanced(by: count).initialize(
      to: RawDelivery(
        valueOffset: valueOffset, valueCount: valueCount, keyOffset: keyOffset,
        keyCount: keyCount, headers: list, timestamp: timestamp, token: token,
        isTombstone: isTombstone, position: position))
    count = count &+ 1
  }

  @inline(never)
  private mutating func grow() {
    let larger = UnsafeMutablePointer<RawDelivery>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: entries, count: count)
    entries.deallocate()
    entries = larger
    capacity *= 2
  }

  /// Calls `body` with the tokens of `range`, for a sink that ends them in bulk.
  public func withTokens<R>(_ range: Range<Int>, _ body: (Span<UInt64>) -> R) -> R {
    precondition(range.lowerBound >= 0 && range.upperBound <= count)
    return withUnsafeTemporaryAllocation(of: UInt64.self, capacity: range.count) { tokens in
      for (place, index) in range.enumerated() {
        tokens.initializeElement(at: place, to: entries[index].token)
      }
      return body(Span(_unsafeElements: UnsafeMutableBufferPointer(rebasing: tokens[...])))
    }
  }

  /// Forgets the deliveries and keeps the memory.
  public mutating func removeAll() {
    count = 0
    origin = nil
    bytes.removeAll()
    if !headerLists.isEmpty { headerLists.removeAll() }
  }

  /// Appends a copy of a delivery of another batch.
  mutating func append(copyOf index: Int, in other: borrowing DeliveryBatch) {
    precondition(index >= 0 && index < other.count)
    let raw = other.entries[index]
    append(
      key: raw.keyOffset < 0
        ? nil : UnsafeRawBufferPointer(start: other.bytes.base + raw.keyOffset, count: raw.keyCount),
      value: raw.isTombstone
        ? nil : UnsafeRawBufferPointer(start: other.bytes.base + raw.valueOffset, count: raw.valueCount),
      headers: other.headers(at: index), timestamp: raw.timestamp, token: raw.token, position: raw.position)
    origin = other.origin
  }

  /// The rule that a result names, for people; nil where the value is no result.
  func ruleID(at index: Int) -> String? {
    precondition(index >= 0 && index < count)
    let raw = entries[index]
    let value = UnsafeRawBufferPointer(start: bytes.base + raw.valueOffset, count: raw.valueCount)
    return (try? JSONDocument.value(of: Array(value), depth: 1024))?["rule"]?.string
  }

  /// Gives the last delivery these headers.
  mutating func setHeaders(_ headers: [Header]) {
    precondition(count > 0)
    entries[count - 1].headers = headerLists.count
    headerLists.append(headers)
  }
}
