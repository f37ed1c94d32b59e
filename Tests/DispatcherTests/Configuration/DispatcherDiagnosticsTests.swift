import DatabusCore
import Dispatcher
import Testing

/// Everything that can be wrong with the section `dispatcher`, with its place and a way out.
struct DispatcherDiagnosticsTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Without the mark.
    var text: String
    var expected: Diagnostic

    /// - Parameter text: with a "▸" before what is pointed at.
    init(
      _ description: String, _ text: String, _ kind: Diagnostic.Kind, _ pointer: String, _ message: String,
      _ hint: String?
    ) {
      testDescription = description
      let unmarked = DispatcherFixture.unmarked(text)
      self.text = unmarked.text
      expected = Diagnostic(
        kind, file: "databus.json", line: unmarked.line, column: unmarked.column, pointer: "/dispatcher" + pointer,
        message: message, hint: hint)
    }
  }

  private static func text(_ members: String) -> String { DispatcherFixture.text(members) }

  /// With two secrets: `shop` for https://shop.example/, and `bank` for one path of https://bank.example.
  private static func withSecrets(_ members: String) -> String {
    DispatcherFixture.text(
      #"""
      "secrets": {
            "shop": {"value": "\#(DispatcherFixture.key)", "urls": ["https://shop.example/"]},
            "bank": {"values": ["\#(DispatcherFixture.key)", "older"], "urls": ["https://bank.example/hooks/"]}
          },
          \#(members)
      """#)
  }

  static let cases: [Case] = [
    Case(
      "no deduplication", DispatcherFixture.text(section: "▸{}"), .missing, "/deduplication",
      #""deduplication" is missing"#,
      #"Where it is remembered what became of each delivery, so that one that comes twice is sent once. For example: "deduplication": {"type": "sqlite", "path": "databus-deduplication.db"}"#
    ),
    Case(
      "an unknown store", DispatcherFixture.text(deduplication: #"{"type": ▸"rediss"}"#), .unknownType,
      "/deduplication/type", #"unknown deduplication store type "rediss""#, #"did you mean "redis"?"#),
    Case(
      "sending without the store what is to be sent at most once",
      DispatcherFixture.text(
        #""delivery": {"mode": "at-most-once"}"#,
        deduplication: #"{"type": "redis", "onUnavailable": ▸"send"}"#), .invalidValue,
      "/deduplication/onUnavailable",
      #"what is sent while the store is away may be sent again, and "delivery.mode" is "at-most-once""#,
      #"use "wait" here, or the mode "at-least-once""#),
    Case(
      "remembering for too short a time", DispatcherFixture.text(deduplication: #"{"type": "redis", "ttl": ▸"5s"}"#),
      .invalidValue, "/deduplication/ttl", #""5s" is outside what is permitted"#, "it must be from 1m to 366d"),
    Case(
      "settings of a channel that is not there", text(#""channels": {▸"htpp": {}}"#), .unknownKey, "/channels/htpp",
      #"unknown key "htpp""#, #"did you mean "http"?"#),
  ]

  static let retries: [Case] = [
    Case(
      "a first wait above the longest", text(#""retry": {"base": ▸"10s", "cap": "5s"}"#), .invalidValue, "/retry/base",
      "the first wait, 10s, is longer than the longest, 5s", #"make "base" shorter, or "cap" longer"#),
    Case(
      "waits out of order", text(#""retry": {"tiers": ["1m", "1h", ▸"10m"]}"#), .invalidValue, "/retry/tiers/2",
      "10m is not longer than 1h, which stands before it", "write the waits in ascending order, each once"),
    Case(
      "a wait twice, written in two ways", text(#""retry": {"tiers": ["1m", ▸"60s"]}"#), .invalidValue,
      "/retry/tiers/1", "1m is not longer than 1m, which stands before it",
      "write the waits in ascending order, each once"),
    Case(
      "a wait that passes in memory", text(#""retry": {"inMemory": "2m", "tiers": [▸"1m", "10m"]}"#), .invalidValue,
      "/retry/tiers/0", "waits up to 2m pass in memory, so that a retry stream of 1m has none",
      #"make the wait longer than "inMemory", or "inMemory" shorter"#),
    Case(
      "no retry stream at all", text(#""retry": {"tiers": ▸[]}"#), .invalidValue, "/retry/tiers", "this is empty",
      "at least 1 must stand here"),
    Case(
      "a breaker that opens for longer than the longest", text(#""breaker": {"open": ▸"20m"}"#), .invalidValue,
      "/breaker/open", "the breaker stays open for 20m at first, longer than the longest, 10m",
      #"make "open" shorter, or "maximumOpen" longer"#),
  ]

  static let deliveries: [Case] = [
    Case(
      "more than a quarter of the slots", text(#""delivery": {"slots": 100, "concurrency": ▸26}"#), .invalidValue,
      "/delivery/concurrency", "one destination gets no more than a quarter of all 100 attempts at a time: 25",
      #"at most 25 is permitted here; or raise "delivery.slots""#),
    Case(
      "more than a quarter of the slots for one destination",
      text(#""destinations": [{"match": "https://a.example/*", "concurrency": ▸257}]"#), .invalidValue,
      "/destinations/0/concurrency", "one destination gets no more than a quarter of all 1024 attempts at a time: 256",
      #"at most 256 is permitted here; or raise "delivery.slots""#),
    Case(
      "a timeout whose lease nobody would wait for", text(#""delivery": {"timeout": ▸"2m"}"#), .invalidValue,
      "/delivery/timeout", #""2m" is outside what is permitted"#, "it must be from 100ms to 1m"),
    Case(
      "a rate of nothing", text(#""delivery": {"rate": ▸0}"#), .invalidValue, "/delivery/rate",
      "0 is outside what is permitted", "it must be from 0.001 to 1000000"),
    Case(
      "a rate in words", text(#""delivery": {"rate": ▸"fast"}"#), .wrongKind, "/delivery/rate",
      "a number was expected, and this is a string", "write it without quotes"),
    Case(
      "a header of the connection", text(#""delivery": {"headers": {▸"Content-Length": "5"}}"#), .invalidValue,
      "/delivery/headers/Content-Length",
      #""headers": the header "Content-Length" is one that only the dispatcher sets; leave it out"#,
      "remove it, or choose another"),
    Case(
      "a header of Standard Webhooks", text(#""delivery": {"headers": {▸"webhook-id": "5"}}"#), .invalidValue,
      "/delivery/headers/webhook-id",
      #""headers": the header "webhook-id" begins with "webhook-", as the dispatcher's own do; choose another name"#,
      "remove it, or choose another"),
    Case(
      "a header with a line in it", text(#""delivery": {"headers": {▸"x-a": "hush\r\nx-b: c"}}"#), .invalidValue,
      "/delivery/headers/x-a",
      #""headers": the header "x-a" has a value with a control character; only printable ones and tabs are permitted"#,
      "remove it, or choose another"),
    Case(
      "a header that is none", text(#""delivery": {"headers": {▸"x a": "b"}}"#), .invalidValue,
      "/delivery/headers/x a",
      #""headers": the header "x a" has a name that no header can have: letters, digits and "-" are permitted"#,
      "remove it, or choose another"),
    Case(
      "a header twice", text(#""delivery": {"headers": {"X-A": "1", "x-a": ▸"2"}}"#), .invalidValue,
      "/delivery/headers/x-a", #""x-a" is the same header as "X-A": their names have no case"#, "remove one of the two"),
    Case(
      "a user name with a colon",
      text(#""delivery": {"auth": {"type": "basic", "username": ▸"a:b", "secret": "s"}}"#), .invalidValue,
      "/delivery/auth/username", #""a:b" contains a ":""#, "it must be a name without `:` and control characters"),
  ]

  static let destinations: [Case] = [
    Case(
      "a destination that is no URL", text(#""destinations": [{"match": ▸"shop.example/*"}]"#), .invalidValue,
      "/destinations/0/match", #""shop.example/*" is not an absolute URL"#,
      "it must be a URL, or the beginning of one and a `*` behind its host: `https://hooks.example.com/*`"),
    Case(
      "an open host", text(#""destinations": [{"match": ▸"https://shop.example*"}]"#), .invalidValue,
      "/destinations/0/match",
      #""https://shop.example*" has its "*" right behind the host, so that it matches hosts of others too"#,
      "it must be a URL, or the beginning of one and a `*` behind its host: `https://hooks.example.com/*`"),
    Case(
      "an entry behind one that matches all of its own",
      text(#""destinations": [{"match": "https://a.example/*"}, {"match": ▸"https://A.example/b/*"}]"#), .invalidValue,
      "/destinations/1/match",
      #"this entry never counts: "https://a.example/*", which stands before it, matches all that it does"#,
      "move it before that entry"),
    Case(
      "an entry twice", text(#""destinations": [{"match": "https://a.example"}, {"match": ▸"https://a.example"}]"#),
      .invalidValue, "/destinations/1/match",
      #"this entry never counts: "https://a.example/", which stands before it, matches all that it does"#,
      "remove one of the two"),
    Case(
      "a scheme without channel", text(#""destinations": [{"match": ▸"mqtt://a.example/*"}]"#), .unsupported,
      "/destinations/0/match", #"no channel delivers to "mqtt" URLs"#,
      #"those of this program deliver to "http", "https", "pigeon""#),
    Case(
      "a channel without its settings", text(#""destinations": [{"match": ▸"pigeon://a.example/*"}]"#), .unsupported,
      "/destinations/0/match", #"no channel delivers to "pigeon" URLs"#,
      #"give it its settings: "dispatcher.channels.pigeon""#),
  ]

  private static let keyForm = #"a signing secret is "whsec_" and 24 to 64 random bytes as base64"#

  private static let newKey = #"for a new one: echo "whsec_$(openssl rand -base64 32)""#

  static let secrets: [Case] = [
    Case(
      "a secret without value", text(#""secrets": {"a": ▸{"urls": ["https://a.example/"]}}"#), .missing,
      "/secrets/a/value", #""value" is missing"#,
      #"write "value": "${file:/run/secrets/...}", or "values" while it is replaced"#),
    Case(
      "a secret with both",
      text(#""secrets": {"a": {"value": "hush", "values": ▸["hush"], "urls": ["https://a.example/"]}}"#), .invalidValue,
      "/secrets/a/values", #""value" stands beside "values""#,
      #"write all of them into "values", the current one first"#),
    Case(
      "a signing secret that is no key",
      text(#""delivery": {"secret": "a"}, "secrets": {"a": {"value": ▸"hush", "urls": ["https://a.example/"]}}"#),
      .invalidValue, "/secrets/a/value", #"the signing secret "a" has 3 bytes: \#(keyForm)"#, newKey),
    Case(
      "an older signing secret that is no key",
      text(
        #"""
        "destinations": [{"match": "https://a.example/*", "secret": "a"}],
        "secrets": {"a": {"values": ["\#(DispatcherFixture.key)", ▸"hush!"], "urls": ["https://a.example/"]}}
        """#), .invalidValue, "/secrets/a/values/1", #"the signing secret "a" is not base64: \#(keyForm)"#, newKey),
    Case(
      "a secret that rules may sign with and that is cut",
      text(#""secrets": {"a": {"value": ▸"whsec_aHVzaA==", "urls": ["https://a.example/"]}}"#), .invalidValue,
      "/secrets/a/value", #"the signing secret "a" has 4 bytes: \#(keyForm)"#, newKey),
    Case(
      "a secret for everybody", text(#""secrets": {"a": {"value": "hush", "urls": ▸[]}}"#), .invalidValue,
      "/secrets/a/urls", "this is empty", "at least 1 must stand here"),
    Case(
      "a secret without URLs", text(#""secrets": {"a": ▸{"value": "hush"}}"#), .missing, "/secrets/a/urls",
      #""urls" is missing"#,
      #"The URLs that it may be sent to: each stands for itself and for all that is below it. For example: "urls": ["https://hooks.example.com/"]"#
    ),
    Case(
      "a secret for a pattern", text(#""secrets": {"a": {"value": "hush", "urls": [▸"https://a.example/*"]}}"#),
      .invalidValue, "/secrets/a/urls/0",
      #""https://a.example/*" has a "*": all that is below the URL is meant without it"#,
      "it must be a URL, without query: `https://example.com/hooks/`"),
    Case(
      "a secret for a way round", text(#""secrets": {"a": {"value": "hush", "urls": [▸"https://a.example/b/../"]}}"#),
      .invalidValue, "/secrets/a/urls/0", #""https://a.example/b/../" has a "." or ".." in its path"#,
      "it must be a URL, without query: `https://example.com/hooks/`"),
    Case(
      "a secret called none", text(#""secrets": {"none": ▸{"value": "hush", "urls": ["https://a.example/"]}}"#),
      .reservedName, "/secrets/none", #""none" cannot be set: it says that there is no secret"#, "give it another name"
    ),
    Case(
      "a secret that is not there", withSecrets(#""delivery": {"secret": ▸"shopp"}"#), .unknownReference,
      "/delivery/secret", #"there is no secret "shopp" in "dispatcher.secrets""#, #"did you mean "shop"?"#),
    Case(
      "a token that is not there", text(#""delivery": {"auth": {"type": "bearer", "secret": ▸"shop"}}"#),
      .unknownReference, "/delivery/auth/secret", #"there is no secret "shop" in "dispatcher.secrets""#,
      #"add it to "dispatcher.secrets""#),
    Case(
      "another team's secret",
      withSecrets(#""destinations": [{"match": "https://evil.example/*", "secret": ▸"shop"}]"#), .invalidValue,
      "/destinations/0/secret", #"the secret "shop" may not be sent to "https://evil.example/*""#,
      #"add the beginning of these URLs to "dispatcher.secrets.shop.urls", or name another secret"#),
    Case(
      "a token for more than its path",
      withSecrets(
        #""destinations": [{"match": "https://bank.example/*", "auth": {"type": "bearer", "secret": ▸"bank"}}]"#),
      .invalidValue, "/destinations/0/auth/secret",
      #"the secret "bank" may not be sent to "https://bank.example/*""#,
      #"add the beginning of these URLs to "dispatcher.secrets.bank.urls", or name another secret"#),
    Case(
      "a default secret for a destination that it is not for",
      withSecrets(#""delivery": {"secret": "shop"}, "destinations": [{"match": ▸"https://bank.example/*"}]"#),
      .invalidValue, "/destinations/0/match",
      #"the secret "shop" of "dispatcher.delivery" may not be sent to "https://bank.example/*""#,
      #"write "secret": "none" here, or another secret; or add to "dispatcher.secrets.shop.urls""#),
    Case(
      "a default token for a destination that it is not for",
      withSecrets(
        #"""
        "delivery": {"auth": {"type": "basic", "username": "u", "secret": "shop"}},
            "destinations": [{"match": ▸"https://bank.example/*"}]
        """#), .invalidValue, "/destinations/0/match",
      #"the secret "shop" of "dispatcher.delivery" may not be sent to "https://bank.example/*""#,
      #"write "auth": {"type": "none"} here, or another; or add to "dispatcher.secrets.shop.urls""#),
  ]

  @Test(
    "each problem is told with its place and a way out",
    arguments: cases + retries + deliveries + destinations + secrets)
  func diagnostic(_ one: Case) {
    #expect(DispatcherFixture.diagnostics(one.text) == [one.expected])
  }

  @Test("no message repeats a secret", arguments: cases + retries + deliveries + destinations + secrets)
  func secretsStaySecret(_ one: Case) {
    for diagnostic in DispatcherFixture.diagnostics(one.text) {
      #expect(!diagnostic.description.contains("hush") && !diagnostic.description.contains(DispatcherFixture.key))
    }
  }

  @Test func problemsOfTheSectionAndOfTheRestOfTheFileComeAtOnce() {
    let text = DispatcherFixture.text(
      #""retry": {"tiers": ["10m", "1m"]}, "deadLetters": {"transport": "k"}"#, state: #"{"type": "paper"}"#)
    #expect(
      DispatcherFixture.diagnostics(text).map(\.pointer) == [
        "/state/type", "/dispatcher/retry/tiers/1", "/dispatcher/deadLetters/transport",
      ])
  }
}
