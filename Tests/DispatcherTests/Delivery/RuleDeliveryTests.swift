import Dispatcher
import Testing

struct RuleDeliveryTests {
  private func settings(
    _ text: String, over base: DeliverySettings = DeliverySettings(), _ reader: RuleDelivery = RuleDelivery()
  ) throws -> DeliverySettings {
    try reader.settings(of: Array(text.utf8)[...], over: base).get()
  }

  private func refusal(_ text: String) -> DeliveryRefusal? {
    if case .failure(let refusal) = RuleDelivery().settings(of: Array(text.utf8)[...], over: DeliverySettings()) {
      return refusal
    }
    return nil
  }

  @Test func everyMemberIsRead() throws {
    let settings = try settings(
      #"""
      {"timeout": "5s", "headers": {"x-team": "a", "X-Other": "b"}, "secret": "orders",
       "auth": {"type": "bearer", "secret": "tok"}, "format": "cloudevents-binary", "rate": 2.5, "concurrency": 4}
      """#)
    #expect(settings.timeout == .seconds(5))
    #expect(settings.headers == [DeliveryHeader("x-team", "a"), DeliveryHeader("X-Other", "b")])
    #expect(settings.signingSecret == "orders")
    #expect(settings.authentication == .bearer(secret: "tok"))
    #expect(settings.format == .binary)
    #expect(settings.rate == 2.5)
    #expect(settings.concurrency == 4)
  }

  @Test func whatTheRuleDoesNotSayIsTheConfigurations() throws {
    var base = DeliverySettings()
    base.timeout = .seconds(9)
    base.concurrency = 3
    base.rate = 7
    base.signingSecret = "s"
    base.authentication = .basic(username: "u", secret: "p")
    base.format = .structured
    base.headers = [DeliveryHeader("x-a", "1"), DeliveryHeader("x-b", "2")]
    for text in [
      "", "{}", "null", #"{"other": {"deep": [1]}, "retries": 3}"#,
      #"{"timeout":null,"headers":null,"secret":null,"auth":null,"format":null,"rate":null,"concurrency":null}"#,
    ] {
      #expect(try settings(text, over: base) == base)
    }
    let changed = try settings(#"{"headers": {"X-A": "3", "x-c": "4"}, "auth": {"type": "none"}}"#, over: base)
    #expect(changed.headers == [DeliveryHeader("x-b", "2"), DeliveryHeader("X-A", "3"), DeliveryHeader("x-c", "4")])
    #expect(changed.authentication == .none)
    #expect(changed.timeout == .seconds(9))
  }

  @Test func basicAuthenticationHasAUserName() throws {
    let settings = try settings(#"{"auth": {"type": "basic", "username": "u", "secret": "p"}}"#)
    #expect(settings.authentication == .basic(username: "u", secret: "p"))
  }

  @Test func theBoundsThemselvesAreTaken() throws {
    #expect(try settings(#"{"timeout": "100ms", "concurrency": 1, "rate": 0.001}"#).timeout == .milliseconds(100))
    #expect(try settings(#"{"timeout": "60s", "concurrency": 1024, "rate": 1000000}"#).concurrency == 1024)
  }

  private static let wrong: [(String, String, String)] = [
    (#"{"timeout": "99ms"}"#, "delivery.timeout", "from \"100ms\" to \"1m\""),
    (#"{"timeout": "61s"}"#, "delivery.timeout", "is \"61s\""), (#"{"timeout": 5}"#, "delivery.timeout", "is 5"),
    (#"{"timeout": "soon"}"#, "delivery.timeout", "duration"), (#"{"timeout": {}}"#, "delivery.timeout", "an object"),
    (#"{"concurrency": 0}"#, "delivery.concurrency", "from 1 to 1024"),
    (#"{"concurrency": 1025}"#, "delivery.concurrency", "is 1025"),
    (#"{"concurrency": "4"}"#, "delivery.concurrency", "is \"4\""),
    (#"{"concurrency": 1.5}"#, "delivery.concurrency", "whole"),
    (#"{"rate": 0}"#, "delivery.rate", "from 0.001"), (#"{"rate": 1e-300}"#, "delivery.rate", "from 0.001"),
    (#"{"rate": -1}"#, "delivery.rate", "from 0.001"),
    (#"{"rate": 1e400}"#, "delivery.rate", "number"), (#"{"rate": "10"}"#, "delivery.rate", "number"),
    (#"{"format": "xml"}"#, "delivery.format", "\"cloudevents-binary\""),
    (#"{"format": 1}"#, "delivery.format", "is 1"),
    (#"{"secret": ""}"#, "delivery.secret", "name of a secret"), (#"{"secret": ["a"]}"#, "delivery.secret", "an array"),
    (#"{"auth": "tok"}"#, "delivery.auth", "an object"), (#"{"auth": {}}"#, "delivery.auth.type", "\"bearer\""),
    (#"{"auth": {"type": "digest"}}"#, "delivery.auth.type", "is \"digest\""),
    (#"{"auth": {"type": "bearer"}}"#, "delivery.auth.secret", "is null"),
    (#"{"auth": {"type": "basic", "secret": "s"}}"#, "delivery.auth.username", "user name"),
    (#"{"auth": {"type": "basic", "username": "a:b", "secret": "s"}}"#, "delivery.auth.username", "\":\""),
    (#"{"auth": {"type": "basic", "username": "a\nb", "secret": "s"}}"#, "delivery.auth.username", "control"),
    (#"{"headers": ["a"]}"#, "delivery.headers", "an object"), (#"{"headers": {"x-a": 1}}"#, "delivery.headers", "x-a"),
    (#"{"headers": {"x-a": "1", "X-A": "2"}}"#, "delivery.headers", "twice"),
    (#"{"headers": {"x-a": "1\r\nx-b: 2"}}"#, "delivery.headers", "control character"),
    ("[]", "\"delivery\"", "an array"), ("17", "\"delivery\"", "a number"), ("{\"timeout\": ", "\"delivery\"", "1:13"),
  ]

  @Test(arguments: wrong)
  func whatIsWrongIsPoisonAndNamed(_ text: String, _ member: String, _ sentence: String) throws {
    let refusal = try #require(self.refusal(text))
    #expect(refusal.reason == .poison)
    #expect(refusal.detail.contains(member))
    #expect(refusal.detail.contains(sentence))
  }

  @Test func whatIsTooLargeOrTooDeepIsRefused() {
    let large = #"{"x": ""# + String(repeating: "a", count: RuleDelivery.maximumBytes) + #""}"#
    #expect(refusal(large)?.detail.contains("at most") == true)
    let deep = #"{"x": "# + String(repeating: "[", count: 2000) + String(repeating: "]", count: 2000) + "}"
    #expect(refusal(deep)?.reason == .poison)
  }

  @Test func aLongValueIsNotRepeatedWhole() {
    #expect((refusal(#"{"format": ""# + String(repeating: "a", count: 4000) + #""}"#)?.detail.utf8.count ?? 0) < 300)
  }

  @Test func whatWasReadIsRememberedByItsBytesAndAppliedToEachBase() throws {
    let reader = RuleDelivery(capacity: 4)
    var base = DeliverySettings()
    for round in 0..<3 {
      for number in 1...10 {
        base.concurrency = number
        let text = #"{"timeout": "\#(number)s"}"#
        let settings = try settings(text, over: base, reader)
        #expect(settings.timeout == .seconds(number), "round \(round)")
        #expect(settings.concurrency == number)
        #expect(throws: DeliveryRefusal.self) {
          try reader.settings(of: Array(#"{"timeout": \#(number)}"#.utf8)[...], over: base).get()
        }
      }
    }
  }

  @Test func whereThereIsNoneTheConfigurationCounts() throws {
    var base = DeliverySettings()
    base.concurrency = 5
    #expect(try RuleDelivery().settings(of: [], over: base).get() == base)
  }

  @Test func theObjectMayLieInTheMiddleOfARecord() throws {
    let record = Array(#"{"id":"x","delivery":{"timeout":"7s"},"y":1}"#.utf8)
    let start = try #require(record.indices.first { record[$0...].starts(with: Array(#"{"timeout"#.utf8)) })
    let slice = record[start..<start + #"{"timeout":"7s"}"#.utf8.count]
    let reader = RuleDelivery()
    for _ in 0..<2 {
      #expect(try reader.settings(of: slice, over: DeliverySettings()).get().timeout == .seconds(7))
    }
  }

  @Test func noneIsNoSecret() throws {
    var base = DeliverySettings()
    base.signingSecret = "s"
    #expect(try settings(#"{"secret": "none"}"#, over: base).signingSecret == nil)
    #expect(try settings(#"{"secret": "other"}"#, over: base).signingSecret == "other")
  }
}
