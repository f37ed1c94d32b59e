#if canImport(Glibc)
  import Glibc
#endif

/// An IPv4 or IPv6 address. An IPv4 address that is written as an IPv6 one (`::ffff:10.0.0.1`) is another value than
/// the IPv4 address.
public struct IPAddress: Sendable, Hashable, CustomStringConvertible {
  public let isIPv6: Bool
  /// The first 64 bits of an IPv6 address; 0 for IPv4.
  let high: UInt64
  /// The last 64 bits of an IPv6 address, or the 32 of an IPv4 address.
  let low: UInt64

  public init(ipv4: UInt32) {
    isIPv6 = false
    high = 0
    low = UInt64(ipv4)
  }

  public init(ipv6 high: UInt64, _ low: UInt64) {
    isIPv6 = true
    self.high = high
    self.low = low
  }

  /// Four decimal numbers, or an IPv6 address without brackets and zone; nil for anything else.
  public init?(_ text: String) {
    guard !text.utf8.contains(0) else { return nil }
    var four = in_addr()
    var six = in6_addr()
    if inet_pton(AF_INET, text, &four) == 1 {
      self.init(ipv4: UInt32(bigEndian: four.s_addr))
    } else if inet_pton(AF_INET6, text, &six) == 1 {
      self = withUnsafeBytes(of: six) { IPAddress(bytes: $0) }
    } else {
      return nil
    }
  }

  /// Any notation of an IPv4 address that a resolver takes without asking anybody: one to four numbers, decimal, octal
  /// (`0177`) or hexadecimal (`0x7f`), the last of which fills what is left (`inet_aton`). Nil for anything else.
  public init?(anyIPv4Notation text: String) {
    let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard (1...4).contains(parts.count) else { return nil }
    var address: UInt64 = 0
    for (index, part) in parts.enumerated() {
      guard let number = IPAddress.number(part) else { return nil }
      let isLast = index == parts.count - 1
      let bits = isLast ? 8 * (5 - parts.count) : 8
      guard number < 1 << UInt64(bits) else { return nil }
      address = address << UInt64(bits) | number
    }
    self.init(ipv4: UInt32(truncatingIfNeeded: address))
  }

  /// The address of a socket; nil where it is of another family.
  init?(_ address: UnsafePointer<sockaddr>, count: Int) {
    let bytes = UnsafeRawPointer(address)
    switch Int32(address.pointee.sa_family) {
    case AF_INET where count >= MemoryLayout<sockaddr_in>.size:
      let four = bytes.loadUnaligned(as: sockaddr_in.self)
      self.init(ipv4: UInt32(bigEndian: four.sin_addr.s_addr))
    case AF_INET6 where count >= MemoryLayout<sockaddr_in6>.size:
      let six = bytes.loadUnaligned(as: sockaddr_in6.self)
      self = withUnsafeBytes(of: six.sin6_addr) { IPAddress(bytes: $0) }
    default: return nil
    }
  }

  private init(bytes: UnsafeRawBufferPointer) {
    self.init(
      ipv6: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
      UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
  }

  private static func number(_ text: Substring.UTF8View.SubSequence) -> UInt64? {
    let (digits, radix): (Substring.UTF8View.SubSequence, Int) =
      if text.starts(with: "0x".utf8) || text.starts(with: "0X".utf8) {
        (text.dropFirst(2), 16)
      } else if text.count > 1, text.first == UInt8(ascii: "0") {
        (text.dropFirst(), 8)
      } else {
        (text, 10)
      }
    // Swift's own conversion takes a sign.
    guard let first = digits.first, first != UInt8(ascii: "+"), first != UInt8(ascii: "-") else { return nil }
    return UInt64(Substring(digits), radix: radix)
  }

  /// The IPv4 address that `::ffff:0:0/96` stands for, which is what a system connects to; otherwise the address
  /// itself.
  var unmapped: IPAddress {
    isIPv6 && high == 0 && low >> 32 == 0xffff ? IPAddress(ipv4: UInt32(truncatingIfNeeded: low)) : self
  }

  /// As it is usually written (RFC 5952).
  public var description: String {
    if !isIPv6 { return [24, 16, 8, 0].map { String(low >> UInt64($0) & 0xff) }.joined(separator: ".") }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
      var words = (high.bigEndian, low.bigEndian)
      guard let start = text.baseAddress, inet_ntop(AF_INET6, &words, start, socklen_t(text.count)) != nil else {
        return ""
      }
      return String(cString: start)
    }
  }
}

/// The addresses that share their first bits.
public struct IPNetwork: Sendable, Hashable {
  let isIPv6: Bool
  private let first: IPAddress
  private let highMask: UInt64
  private let lowMask: UInt64

  /// - Parameter prefix: how many bits are shared: at most 32 or 128. Further bits of `address` are not looked at.
  public init(_ address: IPAddress, prefix: Int) {
    isIPv6 = address.isIPv6
    let prefix = UInt64(max(0, min(prefix, address.isIPv6 ? 128 : 32)))
    // Swift's shift by all bits gives 0.
    highMask = address.isIPv6 ? ~(UInt64.max >> min(prefix, 64)) : 0
    lowMask =
      address.isIPv6 ? ~(UInt64.max >> (max(prefix, 64) - 64)) : ~(0xffff_ffff >> prefix) & 0xffff_ffff
    first =
      address.isIPv6
      ? IPAddress(ipv6: address.high & highMask, address.low & lowMask)
      : IPAddress(ipv4: UInt32(truncatingIfNeeded: address.low & lowMask))
  }

  /// `10.0.0.0/8`, `fd00::/8`, or one address. Nil for anything else, also for one whose further bits are not 0.
  public init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let address = parts.first.flatMap({ IPAddress(String($0)) }), parts.count <= 2 else { return nil }
    let bits = address.isIPv6 ? 128 : 32
    var prefix = bits
    if parts.count == 2 {
      guard let number = Int(parts[1]), String(number) == parts[1], (0...bits).contains(number) else { return nil }
      prefix = number
    }
    // Addresses are looked at in their own form: so is what they are compared with.
    let unmapped = address.unmapped
    self.init(unmapped, prefix: unmapped.isIPv6 == address.isIPv6 ? prefix : max(0, prefix - 96))
    guard first == unmapped, unmapped.isIPv6 == address.isIPv6 || prefix >= 96 else { return nil }
  }

  public func contains(_ address: IPAddress) -> Bool {
    address.isIPv6 == isIPv6 && address.high & highMask == first.high && address.low & lowMask == first.low
  }
}
