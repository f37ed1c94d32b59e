import Testing

@testable import DatabusCore

@Suite struct DestinationURLTests {
  @Test(
    arguments: [
      ("https://foo.bar/baz", "https", "foo.bar", nil), ("HTTPS://Foo.bar", "https", "Foo.bar", nil),
      ("http://localhost:8080/a?b=c#d", "http", "localhost", 8080), ("https://[::1]:443/x", "https", "[::1]", 443),
      ("https://a.b:/", "https", "a.b", nil), ("https://a.b?x=y@z", "https", "a.b", nil),
      ("https://a.b/x@y", "https", "a.b", nil), ("x-custom+1.0://host", "x-custom+1.0", "host", nil),
      ("https://bücher.example/é", "https", "bücher.example", nil),
    ] as [(String, String, String, Int?)]) func usableURLsAreTakenApart(
      _ text: String, _ scheme: String, _ host: String, _ port: Int?
    ) throws
  {
    let url = try DestinationURL.parse(text).get()
    #expect(url.scheme == scheme)
    #expect(url.host == host)
    #expect(url.port == port)
  }

  @Test(arguments: [
    ("", "is not an absolute URL"), ("foo.bar/baz", "is not an absolute URL"), ("/path", "is not an absolute URL"),
    ("//host/path", "is not an absolute URL"), ("https:foo", "is not an absolute URL"),
    ("https:/foo", "is not an absolute URL"), ("mailto:a@b", "is not an absolute URL"),
    ("://host", "has no valid scheme"),
    ("1a://host", "has no valid scheme"), ("ht_tp://host", "has no valid scheme"), ("https://", "has no host"),
    ("https:///path", "has no host"), ("https://?x", "has no host"), ("https://#x", "has no host"),
    ("https://:80", "has no host"), ("https://[]", "has no host"),
    ("https://[::1", "has an unclosed \"[\" in its host"),
    ("https://[::1]x", "has an invalid host"), ("https://a]b", "has an invalid host"),
    ("https://a b/", "contains a space"), ("https://a.b/ ", "contains a space"),
    ("https://a.b/\n", "contains a control character"), ("https://a.b/\u{0}", "contains a control character"),
    ("https://a.b/\u{7F}", "contains a control character"), ("https://a.b/\u{85}", "contains a control character"),
    ("https://a.b:0/", "has an invalid port"), ("https://a.b:65536/", "has an invalid port"),
    ("https://a.b:80x/", "has an invalid port"), ("https://a.b:-1/", "has an invalid port"),
    ("https://a.b:99999999999999999999/", "has an invalid port"),
    ("https://a\\b", "contains \"\\\", which a URL cannot"),
    ("https://a.b/<x>", "contains \"<\", which a URL cannot"),
    ("https://user@a.b", "contains user information; put credentials into \"delivery\""),
    ("https://user:pass@a.b", "contains user information; put credentials into \"delivery\""),
    ("https://good.com\u{301}@evil.com", "contains user information; put credentials into \"delivery\""),
    ("https://good.com@\u{301}evil.com", "contains user information; put credentials into \"delivery\""),
  ]) func unusableURLsAreRefusedWithTheReason(_ text: String, _ reason: String) {
    #expect(DestinationURL.parse(text) == .failure(.init(reason: reason)))
  }
}

@Suite struct SpellingTests {
  static let names = ["ruleId", "events", "destinationUrl", "filters", "enabled", "deleted"]

  @Test(arguments: [
    ("ruleid", "ruleId"), ("rule_id", "ruleId"), ("RULE-ID", "ruleId"), ("event", "events"), ("evnets", "events"),
    ("destinationURL", "destinationUrl"), ("destination_url", "destinationUrl"), ("filter", "filters"),
    ("enable", "enabled"), ("delete", "deleted"), ("destintionUr", "destinationUrl"),
  ]) func slipsAreFound(_ name: String, _ meant: String) {
    #expect(Spelling.nearest(to: name, among: SpellingTests.names) == meant)
  }

  @Test(arguments: ["id", "name", "description", "url", "", "x", "owner", "priority"])
  func otherNamesAreNobodysSlip(_ name: String) {
    #expect(Spelling.nearest(to: name, among: SpellingTests.names) == nil)
  }
}
