#if canImport(Glibc)
  import Glibc
#endif

/// Writes results: the two members of the original form, then id, rule, event, timestamp and delivery.
struct ResultWriter: ~Copyable {
  /// `stream/partition/`, escaped, for the batch.
  private var locator: ByteBuffer
  /// The hash of what all ids of a batch begin with.
  private var positionPrefix = IdentityHasher()
  private var cloudEventsPrefix: IdentityHasher
  /// Room in which the parts of an id that differ between events and rules are put together.
  private var parts: ByteBuffer
  private var partition: PartitionID?
  /// The id of the result written last.
  private var lastID = DeliveryID(high: 0, low: 0)
  private var lastTimestamp: Int64 = .min
  private var timestampDigits: ByteBuffer

  init() {
    locator = ByteBuffer(capacity: 256)
    parts = ByteBuffer(capacity: 1024)
    timestampDigits = ByteBuffer(capacity: 64)
    cloudEventsPrefix = IdentityHasher()
    cloudEventsPrefix.startCloudEvents()
  }

  /// Prepares what a batch of this partition shares.
  mutating func begin(_ partition: PartitionID) {
    if self.partition == partition { return }
    self.partition = partition
    locator.removeAll()
    var stream = partition.stream
    stream.withUTF8 { JSONText.appendEscaped(UnsafeRawBufferPointer($0), to: &locator) }
    locator.append(UInt8(ascii: "/"))
    locator.appendDecimal(UInt64(partition.index))
    locator.append(UInt8(ascii: "/"))
    locator.reserve(ByteBuffer.shortSlack)
    positionPrefix = IdentityHasher()
    positionPrefix.startPositions(incarnation: partition.incarnation, partition: partition.index)
  }

  /// What an event is identified by.
  enum Identity {
    case position
    case cloudEvent(source: UnsafeRawBufferPointer, id: UnsafeRawBufferPointer)
  }

  @inline(__always)
  private mutating func deliveryID(_ identity: Identity, _ record: RawRecord, _ rule: RuleReference) -> DeliveryID {
    let rulePart = Int(rule.layout.pointee.identityCount)
    switch identity {
    case .position:
      // A length and the position, a length and the timestamp, the rule's parts.
      parts.reserve(IdentityHasher.blockBytes &* 4 &+ rulePart)
      let start = parts.room + IdentityHasher.blockBytes
      start.storeBytes(of: UInt32(8).bigEndian, as: UInt32.self)
      (start + 4).storeBytes(of: record.position.bigEndian, as: UInt64.self)
      var count = 12
      if record.timestamp != RawRecord.noTimestamp {
        (start + 12).storeBytes(of: UInt32(8).bigEndian, as: UInt32.self)
        (start + 16).storeBytes(of: UInt64(bitPattern: record.timestamp).bigEndian, as: UInt64.self)
        count = 24
      }
      ByteBuffer.copyShort(rule.identity, start + count, rulePart)
      let words = positionPrefix.digest(appending: parts.room, count &+ rulePart)
      lastID = DeliveryID(high: words.0, low: words.1)
    case .cloudEvent(let source, let id):
      var hasher = cloudEventsPrefix
      hasher.part(source)
      hasher.part(id)
      hasher.raw(rule.identity, rulePart)
      lastID = DeliveryID(hasher.finish())
    }
    return lastID
  }

  /// The metadata of the result written last, as headers.
  func headers(_ rule: RuleReference, _ record: RawRecord) -> [Header] {
    [
      Header(name: "databus-id", value: Array(lastID.description.utf8)),
      Header(name: "databus-rule", value: Array(rule.id)),
      Header(name: "databus-event", value: Array(locator.bytes) + Array(String(record.position).utf8)),
    ]
  }

  /// Appends one result to `bytes`.
  @inline(__always)
  mutating func append(
    _ rule: RuleReference, payload: UnsafeRawBufferPointer, identity: Identity, record: RawRecord,
    to bytes: inout ByteBuffer
  ) {
    let layout = rule.layout.pointee
    let id = deliveryID(identity, record, rule)
    bytes.reserve(
      Int(layout.headCount) &+ payload.count &+ Int(layout.middleCount) &+ Int(layout.deliveryCount) &+ locator.count
        &+ 128)
    bytes.appendShort(rule.head, Int(layout.headCount))
    if let base = payload.baseAddress { bytes.appendUnchecked(base, payload.count) }
    finish(rule, layout, id, record, &bytes)
  }

  /// Appends what stands behind a payload that is in `bytes` already.
  mutating func appendTail(
    _ rule: RuleReference, identity: Identity, record: RawRecord, to bytes: inout ByteBuffer
  ) {
    let layout = rule.layout.pointee
    let id = deliveryID(identity, record, rule)
    bytes.reserve(Int(layout.middleCount) &+ Int(layout.deliveryCount) &+ locator.count &+ 128)
    finish(rule, layout, id, record, &bytes)
  }

  @inline(__always)
  private mutating func finish(
    _ rule: RuleReference, _ layout: CompiledRule.Layout, _ id: DeliveryID, _ record: RawRecord,
    _ bytes: inout ByteBuffer
  ) {
    bytes.appendWord(ResultWriter.idMember, 7)
    bytes.appendHexadecimalWord(id.high)
    bytes.appendHexadecimalWord(id.low)
    bytes.appendShort(rule.middle, Int(layout.middleCount))
    bytes.appendShort(locator.base, locator.count)
    bytes.appendDecimalUnchecked(record.position)
    bytes.appendWord(UInt64(UInt8(ascii: "\"")), 1)
    if record.timestamp != RawRecord.noTimestamp {
      bytes.appendWord(ResultWriter.timestampMember.0, 8)
      bytes.appendWord(ResultWriter.timestampMember.1, 5)
      if record.timestamp != lastTimestamp {
        lastTimestamp = record.timestamp
        timestampDigits.removeAll()
        timestampDigits.appendDecimal(record.timestamp)
      }
      bytes.appendShort(timestampDigits.base, timestampDigits.count)
    }
    if layout.deliveryCount > 0 { bytes.appendUnchecked(rule.delivery, Int(layout.deliveryCount)) }
    bytes.appendWord(UInt64(UInt8(ascii: "}")), 1)
  }

  private static let idMember = word(",\"id\":\"")
  private static let timestampMember = (word(",\"timest"), word("amp\":"))

  /// Up to eight bytes of text as they lie in memory.
  private static func word(_ text: StaticString) -> UInt64 {
    var word: UInt64 = 0
    withUnsafeMutableBytes(of: &word) {
      $0.copyMemory(from: UnsafeRawBufferPointer(start: text.utf8Start, count: min(8, text.utf8CodeUnitCount)))
    }
    return word
  }
}
