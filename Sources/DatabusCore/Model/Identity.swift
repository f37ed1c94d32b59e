import CCrypto

#if canImport(Glibc)
  import Glibc
#endif

/// The id of a delivery: 16 bytes that are the same whenever the same record meets the same rule, and that no two
/// different deliveries share.
///
/// The first 16 bytes of SHA-256 over parts, each a 4-byte big-endian length and its bytes (integers as 8 bytes big-endian):
/// `databus/1`, the kind of identity, the parts of that kind, the rule's id, the action index. Test vectors: docs/delivery-ids.md.
public struct DeliveryID: Hashable, Sendable {
  public var high: UInt64
  public var low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// Reads what `description` says; nil for anything else.
  public init?(_ text: String) {
    var text = text
    guard let id = text.withUTF8(DeliveryID.read) else { return nil }
    self = id
  }

  private static func read(_ text: UnsafeBufferPointer<UInt8>) -> DeliveryID? {
    guard text.count == 32 else { return nil }
    var words: (UInt64, UInt64) = (0, 0)
    for index in 0..<32 {
      let digit: UInt64
      let byte = text[index]
      switch byte {
      case 0x30...0x39: digit = UInt64(byte - 0x30)
      case 0x61...0x66: digit = UInt64(byte - 0x61 + 10)
      default: return nil
      }
      words = (words.0 << 4 | words.1 >> 60, words.1 << 4 | digit)
    }
    return DeliveryID(high: words.0, low: words.1)
  }

  /// What stands for an id that another producer has chosen: itself where it has our form, else a digest of it.
  public init(named text: String) {
    if let id = DeliveryID(text) {
      self = id
      return
    }
    var hasher = IdentityHasher()
    hasher.part(IdentityHasher.version)
    hasher.part("named")
    hasher.part(text)
    self.init(hasher.finish())
  }

  init(_ digest: borrowing SHA256Digest) {
    high = digest.word(0)
    low = digest.word(1)
  }

  /// 32 lower-case hexadecimal digits.
  public var description: String {
    var buffer = ByteBuffer(capacity: 64)
    append(to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
  }

  func append(to buffer: inout ByteBuffer) {
    let words = (high.bigEndian, low.bigEndian)
    withUnsafeBytes(of: words) { bytes in
      guard let base = bytes.baseAddress else { return }
      buffer.appendHexadecimal(base, 16)
    }
  }
}

extension DeliveryID: CustomStringConvertible {}

/// What makes an event that event, for ever.
public enum EventIdentity: Hashable, Sendable {
  /// CloudEvents 1.x: `source` and `id` together (CloudEvents 1.0.2, section 3.1).
  case cloudEvent(source: [UInt8], id: [UInt8])
  /// Where the record stands in one life of its stream. The timestamp is there where the transport has one of its own.
  case position(incarnation: String, partition: Int, position: UInt64, timestamp: Int64?)

  /// The id of this event's delivery for a rule.
  ///
  /// - Parameter action: 0 until a rule can make several deliveries.
  public func deliveryID(ruleID: String, action: UInt64 = 0) -> DeliveryID {
    var hasher = IdentityHasher()
    switch self {
    case .cloudEvent(let source, let id):
      hasher.startCloudEvents()
      source.withUnsafeBytes { hasher.part($0) }
      id.withUnsafeBytes { hasher.part($0) }
    case .position(let incarnation, let partition, let position, let timestamp):
      hasher.startPositions(incarnation: incarnation, partition: partition)
      hasher.part(position)
      if let timestamp { hasher.part(UInt64(bitPattern: timestamp)) }
    }
    hasher.part(ruleID)
    hasher.part(action)
    return DeliveryID(hasher.finish())
  }
}

/// 32 bytes of SHA-256.
struct SHA256Digest {
  private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

  fileprivate mutating func withBytes(_ body: (UnsafeMutableRawPointer) -> Void) {
    withUnsafeMutableBytes(of: &words) { if let base = $0.baseAddress { body(base) } }
  }

  func word(_ index: Int) -> UInt64 {
    switch index {
    case 0: UInt64(bigEndian: words.0)
    case 1: UInt64(bigEndian: words.1)
    case 2: UInt64(bigEndian: words.2)
    default: UInt64(bigEndian: words.3)
    }
  }

  /// 64 lower-case hexadecimal digits.
  var hexadecimal: String {
    var buffer = ByteBuffer(capacity: 64)
    withUnsafeBytes(of: words) { if let base = $0.baseAddress { buffer.appendHexadecimal(base, 32) } }
    return String(decoding: buffer.bytes, as: UTF8.self)
  }
}

/// SHA-256 over length-prefixed parts. A plain value: a copy goes on from where the original stood.
struct IdentityHasher {
  private var context = SHA256_CTX()

  init() { SHA256_Init(&context) }

  static let version = "databus/1"

  mutating func startPositions(incarnation: String, partition: Int) {
    part(IdentityHasher.version)
    part("position")
    part(incarnation)
    part(UInt64(partition))
  }

  mutating func startCloudEvents() {
    part(IdentityHasher.version)
    part("cloudevents")
  }

  /// Bytes that already are length-prefixed parts.
  @inline(__always)
  mutating func raw(_ start: UnsafeRawPointer, _ count: Int) { SHA256_Update(&context, start, count) }

  @inline(__always)
  mutating func part(_ bytes: UnsafeRawBufferPointer) {
    var length = UInt32(truncatingIfNeeded: bytes.count).bigEndian
    SHA256_Update(&context, &length, 4)
    SHA256_Update(&context, bytes.baseAddress, bytes.count)
  }

  mutating func part(_ text: String) {
    var text = text
    text.withUTF8 { part(UnsafeRawBufferPointer($0)) }
  }

  mutating func part(_ number: UInt64) {
    var bytes = number.bigEndian
    withUnsafeBytes(of: &bytes) { part($0) }
  }

  /// The digest of what was hashed so far and `count` bytes more, without a copy of anything but the state.
  ///
  /// - Parameters:
  ///   - message: `IdentityHasher.blockBytes` bytes of room, then the `count` bytes, then room for two blocks: all of it is written to.
  @inline(__always)
  func digest(appending message: UnsafeMutableRawPointer, _ count: Int) -> (UInt64, UInt64) {
    // The bytes that wait for their block to fill stand in front of the message; then the padding (FIPS 180-4, section 5.1.1).
    let waiting = Int(context.num)
    let start = message + (IdentityHasher.blockBytes &- waiting)
    withUnsafeBytes(of: context.data) { data in
      if waiting > 0, let base = data.baseAddress { start.copyMemory(from: base, byteCount: waiting) }
    }
    var end = message + (IdentityHasher.blockBytes &+ count)
    let bits = ((UInt64(context.Nh) << 32) | UInt64(context.Nl)) &+ UInt64(truncatingIfNeeded: count &* 8)
    let length = waiting &+ count
    let padded = (length &+ 9 &+ 63) & ~63
    end.storeBytes(of: 0x80, as: UInt8.self)
    end += 1
    let zeros = padded &- length &- 9
    if zeros > 0 { memset(end, 0, zeros) }
    (end + zeros).storeBytes(of: bits.bigEndian, as: UInt64.self)
    var state = context
    var block = UnsafeRawPointer(start)
    for _ in 0..<padded / IdentityHasher.blockBytes {
      SHA256_Transform(&state, block.assumingMemoryBound(to: UInt8.self))
      block += IdentityHasher.blockBytes
    }
    return (
      UInt64(state.h.0) << 32 | UInt64(state.h.1), UInt64(state.h.2) << 32 | UInt64(state.h.3)
    )
  }

  static let blockBytes = 64

  @inline(__always)
  consuming func finish() -> SHA256Digest {
    var digest = SHA256Digest()
    digest.withBytes { SHA256_Final($0.assumingMemoryBound(to: UInt8.self), &context) }
    return digest
  }

  /// The digest of a run of bytes.
  static func digest(of bytes: UnsafeRawBufferPointer) -> SHA256Digest {
    var hasher = IdentityHasher()
    if let base = bytes.baseAddress { hasher.raw(base, bytes.count) }
    return hasher.finish()
  }
}
