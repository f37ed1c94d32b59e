/// Decides which addresses may be connected to. Whoever writes destinations must not reach what only this machine can
/// reach (server-side request forgery): without an exception, only addresses of the public internet may be.
///
/// It decides about addresses, not about names: what a name leads to is known only where a connection is opened, and
/// may be something else a moment later.
public struct AddressPolicy: Sendable, Hashable {
  /// Networks whose addresses may be connected to whatever they are.
  public private(set) var networks: [IPNetwork] = []
  /// Names, in lower case, that may lead anywhere.
  public private(set) var hosts: Set<String> = []

  /// Nothing but public addresses.
  public init() {}

  /// - Parameter allow: exceptions: networks (`10.1.0.0/16`, `fd00::/8`), addresses, and exact names of hosts, which
  ///   may lead anywhere.
  /// - Throws: where one is none of these.
  public init(allow: [String]) throws(HTTPClientError) {
    for text in allow {
      if let network = IPNetwork(text) {
        networks.append(network)
      } else if let host = HTTPURL.hostName(text), IPAddress(anyIPv4Notation: host) == nil {
        hosts.insert(host)
      } else {
        throw HTTPClientError(
          "\"\(text)\" cannot be allowed: write a network (10.1.0.0/16, all bits behind the prefix 0), an address, "
            + "or the name of a host"
        )
      }
    }
  }

  /// Why nothing may be sent to an address. The raw value completes "it is".
  public enum Denial: String, Sendable, Hashable, CaseIterable {
    case unspecified = "an unspecified address"
    case loopback = "a loopback address"
    case `private` = "a private address"
    case linkLocal = "a link-local address"
    case shared = "an address of a provider's inner network"
    case multicast = "a multicast address"
    case broadcast = "the broadcast address"
    case documentation = "an address for documentation"
    case benchmarking = "an address for benchmarks"
    case translated = "an IPv6 address that stands for an IPv4 address"
    case tunnel = "an address of a tunnel to IPv6"
    case reserved = "a reserved address"
    case other = "not an internet address"
  }

  /// Whether a name may lead to any address. In lower case, without a dot at its end.
  public func allows(host: String) -> Bool { hosts.contains(host) }

  /// Why an address may not be connected to; nil where it may.
  public func denial(of address: IPAddress) -> Denial? {
    let address = address.unmapped
    for network in networks where network.contains(address) { return nil }
    if address.isIPv6 { return AddressPolicy.denialOfIPv6(address) }
    for (network, denial) in AddressPolicy.deniedIPv4 where network.contains(address) { return denial }
    return nil
  }

  /// Why nothing may be sent to a URL whose host is an address; nil where it may, and where the host is a name: what
  /// that leads to is decided when a connection is opened.
  public func denial(of url: HTTPURL) -> HTTPClientFailure? {
    guard let address = url.address, let denial = denial(of: address) else { return nil }
    return AddressPolicy.failure(url.place, denial)
  }

  static func failure(_ place: String, _ denial: Denial) -> HTTPClientFailure {
    HTTPClientFailure(
      .addressDenied,
      "nothing may be sent to \(place): it is \(denial.rawValue), which the configuration does not allow")
  }

  static func failure(_ place: String, leadingTo denial: Denial) -> HTTPClientFailure {
    HTTPClientFailure(
      .addressDenied,
      "nothing may be sent to \(place): its name leads to \(denial.rawValue), which the configuration does not allow")
  }

  // MARK: Tables (IANA's registries of special-purpose addresses)

  private static let deniedIPv4: [(IPNetwork, Denial)] = [
    (0, 0, 0, 0, 8, .unspecified), (10, 0, 0, 0, 8, .private), (100, 64, 0, 0, 10, .shared),
    (127, 0, 0, 0, 8, .loopback), (169, 254, 0, 0, 16, .linkLocal), (172, 16, 0, 0, 12, .private),
    (192, 0, 0, 0, 24, .reserved), (192, 0, 2, 0, 24, .documentation), (192, 88, 99, 0, 24, .tunnel),
    (192, 168, 0, 0, 16, .private), (198, 18, 0, 0, 15, .benchmarking), (198, 51, 100, 0, 24, .documentation),
    (203, 0, 113, 0, 24, .documentation), (224, 0, 0, 0, 4, .multicast), (255, 255, 255, 255, 32, .broadcast),
    (240, 0, 0, 0, 4, .reserved),
  ].map { (a: UInt32, b: UInt32, c: UInt32, d: UInt32, prefix: Int, denial: Denial) in
    (IPNetwork(IPAddress(ipv4: a << 24 | b << 16 | c << 8 | d), prefix: prefix), denial)
  }

  /// Looked at in order. Each lies within the first 64 bits.
  private static let deniedIPv6: [(IPNetwork, Denial)] = [
    (0x0064_ff9b_0000_0000, 32, .translated), (0x2001_0000_0000_0000, 32, .tunnel),
    (0x2001_0002_0000_0000, 48, .benchmarking), (0x2001_0db8_0000_0000, 32, .documentation),
    (0x2001_0000_0000_0000, 23, .reserved), (0x2002_0000_0000_0000, 16, .tunnel),
    (0x3fff_0000_0000_0000, 20, .documentation), (0xfc00_0000_0000_0000, 7, .private),
    (0xfe80_0000_0000_0000, 10, .linkLocal), (0xfec0_0000_0000_0000, 10, .private),
    (0xff00_0000_0000_0000, 8, .multicast),
  ].map { (high: UInt64, prefix: Int, denial: Denial) in
    (IPNetwork(IPAddress(ipv6: high, 0), prefix: prefix), denial)
  }

  /// What is given out to the public.
  private static let globalUnicast = IPNetwork(IPAddress(ipv6: 0x2000_0000_0000_0000, 0), prefix: 3)

  private static func denialOfIPv6(_ address: IPAddress) -> Denial? {
    if address.high == 0, address.low == 0 { return .unspecified }
    if address.high == 0, address.low == 1 { return .loopback }
    // ::a.b.c.d, which nobody uses any more, and ::ffff:0:a.b.c.d.
    if address.high == 0 { return .translated }
    for (network, denial) in deniedIPv6 where network.contains(address) { return denial }
    return globalUnicast.contains(address) ? nil : .reserved
  }
}
