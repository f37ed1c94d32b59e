import HTTPClient
import Testing

struct AddressPolicyTests {
  @Test(
    "addresses that are not the public internet's are denied",
    arguments: [
      ("0.0.0.0", .unspecified), ("0.255.255.255", .unspecified), ("10.0.0.0", .private), ("10.255.255.255", .private),
      ("100.64.0.0", .shared), ("100.100.100.200", .shared), ("100.127.255.255", .shared), ("127.0.0.1", .loopback),
      ("127.255.255.255", .loopback), ("169.254.0.0", .linkLocal), ("169.254.169.254", .linkLocal),
      ("172.16.0.0", .private), ("172.31.255.255", .private), ("192.0.0.0", .reserved), ("192.0.0.170", .reserved),
      ("192.0.2.1", .documentation), ("192.88.99.1", .tunnel), ("192.168.0.0", .private),
      ("192.168.255.255", .private), ("198.18.0.0", .benchmarking), ("198.19.255.255", .benchmarking),
      ("198.51.100.7", .documentation), ("203.0.113.255", .documentation), ("224.0.0.1", .multicast),
      ("239.255.255.255", .multicast), ("240.0.0.1", .reserved), ("255.255.255.254", .reserved),
      ("255.255.255.255", .broadcast),
      ("::", .unspecified), ("::1", .loopback), ("::2", .translated), ("::8.8.8.8", .translated),
      ("::127.0.0.1", .translated), ("::ffff:0:8.8.8.8", .translated), ("::ffff:127.0.0.1", .loopback),
      ("::ffff:10.1.2.3", .private), ("::ffff:169.254.169.254", .linkLocal), ("::ffff:0.0.0.0", .unspecified),
      ("64:ff9b::8.8.8.8", .translated), ("64:ff9b::7f00:1", .translated), ("64:ff9b:1::1", .translated),
      ("100::1", .reserved), ("400::1", .reserved), ("2001::1", .tunnel), ("2001:0:7f00:1::", .tunnel),
      ("2001:2::1", .benchmarking), ("2001:10::1", .reserved), ("2001:20::1", .reserved), ("2001:1ff::1", .reserved),
      ("2001:db8::1", .documentation), ("2002::1", .tunnel), ("2002:7f00:1::", .tunnel), ("3fff::1", .documentation),
      ("3fff:fff::1", .documentation), ("4000::1", .reserved), ("5f00::1", .reserved), ("fc00::1", .private),
      ("fd00:ec2::254", .private), ("fdff:ffff::1", .private), ("fe80::1", .linkLocal), ("febf::1", .linkLocal),
      ("fec0::1", .private), ("feff::1", .private), ("ff00::1", .multicast), ("ff02::1", .multicast),
      ("fe00::1", .reserved),
    ] as [(String, AddressPolicy.Denial)])
  func denied(_ text: String, _ denial: AddressPolicy.Denial) throws {
    let address = try #require(IPAddress(text))
    #expect(AddressPolicy().denial(of: address) == denial)
    let host = address.isIPv6 ? "[\(text)]" : text
    let failure = try #require(AddressPolicy().denial(of: try HTTPURL("http://\(host)/secret")))
    #expect(failure.kind == .addressDenied)
    #expect(failure.message.contains(denial.rawValue))
    #expect(!failure.message.contains("secret"))
  }

  @Test(arguments: [
    "1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
    "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255", "192.0.1.0",
    "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "198.51.101.0", "203.0.112.255",
    "203.0.114.0", "223.255.255.255", "::ffff:8.8.8.8", "2001:200::1", "2001:4860:4860::8888", "2003::1",
    "2606:4700::1111", "2a00::1", "3ffe:ffff::1", "3fff:1000::1",
  ])
  func publicAddressesMayBeConnectedTo(_ text: String) throws {
    #expect(AddressPolicy().denial(of: try #require(IPAddress(text))) == nil)
  }

  @Test func networksAndAddressesCanBeAllowed() throws {
    let policy = try AddressPolicy(allow: ["10.1.0.0/16", "192.168.7.9", "fd00::/8", "::1", "::ffff:172.16.0.0/108"])
    for text in ["10.1.0.0", "10.1.255.255", "::ffff:10.1.2.3", "192.168.7.9", "fd12::1", "::1", "172.16.5.5"] {
      #expect(policy.denial(of: try #require(IPAddress(text))) == nil, "\(text)")
    }
    for text in ["10.2.0.0", "10.0.255.255", "192.168.7.8", "fc00::1", "::", "127.0.0.1", "172.32.0.0.1"] {
      guard let address = IPAddress(text) else { continue }
      #expect(policy.denial(of: address) != nil, "\(text)")
    }
    let everything = try AddressPolicy(allow: ["0.0.0.0/0", "::/0"])
    for text in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "::", "::1", "ff02::1", "::ffff:127.0.0.1"] {
      #expect(everything.denial(of: try #require(IPAddress(text))) == nil, "\(text)")
    }
  }

  @Test func namesCanBeAllowed() throws {
    let policy = try AddressPolicy(allow: ["Hooks.Internal.", "receiver"])
    #expect(policy.allows(host: "hooks.internal"))
    #expect(policy.allows(host: "receiver"))
    #expect(!policy.allows(host: "a.hooks.internal"))
    #expect(!policy.allows(host: "internal"))
  }

  @Test(arguments: [
    "", " ", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/", "10.0.0/8", "10.1", "0x7f.1",
    "fd00::/129", "::ffff:0:0/64", "fd00::1/8", "*.internal", "a b", "http://a", "a:80", "[::1]", "a..b",
    "bücher.example",
  ])
  func whatIsNoExceptionIsRefused(_ text: String) {
    #expect(throws: HTTPClientError.self) { try AddressPolicy(allow: [text]) }
  }
}
