import HTTPClient
import Testing

struct HTTPURLTests {
  @Test(
    "a URL has one form",
    arguments: [
      ("https://example.com/a?b=c", "https://example.com/a?b=c", "https://example.com:443", "example.com"),
      ("HTTPS://ExAmple.COM:443/A?B#frag", "https://example.com/A?B", "https://example.com:443", "example.com"),
      ("http://example.com", "http://example.com/", "http://example.com:80", "example.com"),
      ("http://example.com.:80/", "http://example.com/", "http://example.com:80", "example.com"),
      ("http://example.com:00443/", "http://example.com:443/", "http://example.com:443", "example.com"),
      ("https://example.com:80/", "https://example.com:80/", "https://example.com:80", "example.com"),
      ("http://example.com:/x", "http://example.com/x", "http://example.com:80", "example.com"),
      ("http://example.com?x", "http://example.com/?x", "http://example.com:80", "example.com"),
      ("http://a-b_c.example/%2e%20", "http://a-b_c.example/%2e%20", "http://a-b_c.example:80", "a-b_c.example"),
      ("http://a/b/../c/./d", "http://a/c/d", "http://a:80", "a"),
      ("http://a/\u{e9}?\u{fc}", "http://a/%c3%a9?%c3%bc", "http://a:80", "a"),
      (
        "http://xn--bcher-kva.example/", "http://xn--bcher-kva.example/", "http://xn--bcher-kva.example:80",
        "xn--bcher-kva.example"
      ),
      ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/", "http://127.0.0.1:8080", "127.0.0.1"),
      ("http://0x7f.1/", "http://127.0.0.1/", "http://127.0.0.1:80", "127.0.0.1"),
      ("http://2130706433/", "http://127.0.0.1/", "http://127.0.0.1:80", "127.0.0.1"),
      ("http://%30x7f.1./", "http://127.0.0.1/", "http://127.0.0.1:80", "127.0.0.1"),
      ("http://[::1]:8080/", "http://[::1]:8080/", "http://[::1]:8080", "::1"),
      (
        "http://[0:0:0:0:0:FFFF:7f00:1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:127.0.0.1]:80",
        "::ffff:127.0.0.1"
      ),
      ("http://[2001:0DB8::0:1]/", "http://[2001:db8::1]/", "http://[2001:db8::1]:80", "2001:db8::1"),
    ] as [(String, String, String, String)])
  func forms(_ text: String, _ normalised: String, _ origin: String, _ host: String) throws {
    let url = try HTTPURL(text)
    #expect(url.text == normalised)
    #expect(url.origin == origin)
    #expect(url.host == host)
    #expect(try HTTPURL(normalised) == url)
    #expect((url.address != nil) == (host.contains(":") || host.first?.isNumber == true))
  }

  @Test(
    "a URL that cannot be used, or that two readers would read differently, is refused",
    arguments: [
      ("", "http://"), ("example.com", "http://"), ("//example.com/", "http://"), ("ftp://example.com/", "http://"),
      ("file:///etc/passwd", "http://"), ("gopher://example.com/", "http://"), ("javascript:alert(1)", "http://"),
      ("httpx://example.com/", "http://"), ("http:/example.com/", "http://"), ("http:///example.com/", "http://"),
      ("http:example.com", "http://"), ("http://", "http://"), ("http://?x", "host"), ("http://:80/", "host"),
      ("http://user@example.com/p4th", "user"), ("http://user:p4th@example.com/", "user"),
      ("http://@example.com/", "user"), ("http://:@example.com/", "user"), ("http://example.com:0/", "port"),
      ("http://example.com:65536/", "port"), ("http://example.com:80:81/", "port"), ("http://example.com:+80/", "port"),
      ("http://example.com:8o/", "port"), ("http://exa mple.com/", "space"), ("http://example.com/a b", "space"),
      (" http://example.com/", "space"), ("http://example.com/\n", "space"), ("http://example.com/\t", "space"),
      ("http://example.com/\u{0}", "space"), ("http://example.com/\u{7f}", "space"),
      ("http://example.com\\@evil.example/", "backslash"), ("http://example.com/\\x", "backslash"),
      ("http://a..b/", "name"), ("http://.a/", "name"), ("http://a../", "name"), ("http://./", "name"),
      ("http://a,b/", "name"), ("http://a%2fb/", "name"), ("http://%00/", "name"), ("http://*.a/", "name"),
      ("http://b\u{fc}cher.example/", "xn--"), ("http://\u{ff11}27.0.0.1/", "xn--"),
      ("http://1.2.3.4.5/", "ends in a number"),
      ("http://256.1.1.1/", "ends in a number"), ("http://4294967296/", "ends in a number"),
      ("http://08.1.1.1/", "ends in a number"), ("http://a.1/", "ends in a number"),
      ("http://a.0x1f/", "ends in a number"),
      ("http://0x/", "ends in a number"), ("http://[fe80::1%25eth0]/", "network interface"),
      ("http://[fe80::1%eth0]/", "network interface"), ("http://[::1/", "IPv6"), ("http://[v1.a]/", "IPv6"),
      ("http://[::g]/", "IPv6"), ("http://a/" + String(repeating: "b", count: 8192), "longer"),
      ("http://a/" + String(repeating: "\u{e9}", count: 4000), "longer"),
      ("http://" + String(repeating: "b", count: 64) + "/", "name"),
      ("http://" + String(repeating: "b.", count: 127) + "com/", "name"),
    ])
  func refusals(_ text: String, _ word: String) {
    do throws(HTTPClientFailure) {
      let url = try HTTPURL(text)
      Issue.record("taken as \(url.text)")
    } catch {
      #expect(error.kind == .badURL)
      #expect(error.message.hasPrefix("the URL cannot be used: "))
      #expect(error.message.contains(word), "\(error.message)")
      #expect(!error.message.contains("p4th"))
    }
  }

  @Test func aURLThatCannotBeUsedIsTheEndOfItsRequest() async throws {
    try await withClient { client in
      #expect(await client.exchange("file:///etc/passwd").failure?.kind == .badURL)
      #expect(await client.exchange("http://user@127.0.0.1/").failure?.kind == .badURL)
    }
  }

  @Test(
    "every notation of an IPv4 address is one",
    arguments: [
      ("1.2.3.4", "1.2.3.4"), ("1.2.772", "1.2.3.4"), ("1.131844", "1.2.3.4"), ("16909060", "1.2.3.4"),
      ("0x01020304", "1.2.3.4"), ("0X1.02.0x3.4", "1.2.3.4"), ("0100401404", "1.2.3.4"), ("0.0.0.0", "0.0.0.0"),
      ("0377.255.0xffff", "255.255.255.255"), ("00000.1", "0.0.0.1"), ("4294967295", "255.255.255.255"),
      ("4294967296", nil), ("1.2.3.256", nil), ("256.0", nil), ("1.16777216", nil), ("1.2.3.4.5", nil), ("", nil),
      (".", nil),
      ("1..2", nil), ("1.", nil), ("09", nil), ("0x", nil), ("0xg", nil), ("a", nil), ("+1", nil), ("-1", nil),
      ("0x+1", nil), ("1e3", nil), (" 1", nil),
    ] as [(String, String?)])
  func notations(_ text: String, _ address: String?) {
    #expect(IPAddress(anyIPv4Notation: text)?.description == address)
  }
}
