import DatabusCore
import Dispatcher
import Foundation
import HTTPServer
import Testing

@testable import HTTPDelivery

struct RequestTests {
  private static let key = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  private static let newKey = "whsec_" + Data(repeating: 5, count: 32).base64EncodedString()

  private func settings(_ change: (inout DeliverySettings) -> Void) -> DeliverySettings {
    var settings = DeliverySettings()
    change(&settings)
    return settings
  }

  @Test func aDeliveryIsAPostOfThePayloadWithIDAndTime() async throws {
    try await withReceiver { receiver, sender async throws in
      let payload = #"{"type": "order:created", "ä": [1,  2]}"#
      let outcome = try await sender.deliver(sender.attempt(receiver.url + "/hooks/1?a=b", payload))
      #expect(outcome.verdict == .delivered)
      #expect(outcome.status == 204)
      let request = try #require(receiver.requests.first)
      #expect(request.method == "POST")
      #expect(request.target == "/hooks/1?a=b")
      #expect(request.text == payload)
      #expect(request.values("content-type") == ["application/json"])
      #expect(request.values("content-length") == ["\(payload.utf8.count)"])
      #expect(request.values("webhook-id") == ["0123456789abcdef"])
      #expect(request.values("webhook-timestamp") == ["1614265330"])
      #expect(request.values("webhook-signature").isEmpty)
      #expect(request.values("authorization").isEmpty)
      #expect(request.values("expect").isEmpty)
    }
  }

  @Test func anEmptyPayloadIsSentEmpty() async throws {
    try await withReceiver { receiver, sender async throws in
      #expect(try await sender.deliver(sender.attempt(receiver.url, "")).verdict == .delivered)
      #expect(receiver.requests.first?.body == [])
    }
  }

  // MARK: Headers

  @Test func headersOfTheSettingsAreAddedAsTheyAre() async throws {
    try await withReceiver { receiver, sender async throws in
      let settings = settings {
        $0.headers = [
          DeliveryHeader("X-Team", "a b\tc"), DeliveryHeader("content-TYPE", "application/vnd.x+json"),
          DeliveryHeader("Authorization", "Custom 1"), DeliveryHeader("User-Agent", "ours"),
        ]
      }
      #expect(try await sender.deliver(sender.attempt(receiver.url, settings: settings)).verdict == .delivered)
      let request = try #require(receiver.requests.first)
      #expect(request.values("x-team") == ["a b\tc"])
      #expect(request.values("content-type") == ["application/vnd.x+json"])
      #expect(request.values("authorization") == ["Custom 1"])
      #expect(request.values("user-agent") == ["ours"])
    }
  }

  @Test(arguments: [
    DeliveryHeader("host", "evil.example"), DeliveryHeader("Content-Length", "0"),
    DeliveryHeader("Transfer-Encoding", "chunked"),
    DeliveryHeader("Connection", "close"), DeliveryHeader("webhook-id", "other"),
    DeliveryHeader("Webhook-Signature", "v1,x"),
    DeliveryHeader("x-a", "1\r\nx-evil: 1"), DeliveryHeader("x-a", "1\nx-evil: 1"), DeliveryHeader("x-a", "1\u{0}"),
    DeliveryHeader("x-a: 1\r\nx-evil", "1"), DeliveryHeader("", "1"),
  ])
  func headersThatAreNotTheirsToSetEndTheAttempt(_ header: DeliveryHeader) async throws {
    try await withReceiver { receiver, sender async throws in
      let settings = settings { $0.headers = [header] }
      let outcome = try await sender.deliver(sender.attempt(receiver.url, settings: settings))
      #expect(outcome.verdict == .rejected(.poison, endsDestination: false))
      #expect(outcome.detail.utf8.allSatisfy { $0 >= 0x20 })
      #expect(receiver.requests.isEmpty)
    }
  }

  @Test(arguments: ["", "a\r\nx-evil: 1", "a b", "a.b", "é", "a\u{0}", String(repeating: "a", count: 257)])
  func anIDThatNoHeaderCanHaveEndsTheAttempt(_ id: String) async throws {
    try await withReceiver { receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url, id: id))
      #expect(outcome.verdict == .rejected(.poison, endsDestination: false))
      #expect(receiver.requests.isEmpty)
    }
  }

  // MARK: Signatures

  @Test func theReceiverCanVerifyTheSignature() async throws {
    try await withReceiver(secrets: ["orders": TestSecret(Self.key)]) { receiver, sender async throws in
      let settings = settings { $0.signingSecret = "orders" }
      for payload in [#"{"test": 2432232314}"#, "", String(repeating: "x", count: 100_000)] {
        #expect(
          try await sender.deliver(sender.attempt(receiver.url, payload, settings: settings)).verdict == .delivered)
        let request = try #require(receiver.requests.last)
        #expect(request.text == payload)
        let signature = try WebhookSignature(secrets: [Self.key])
        try signature.verify(header: request.header, body: request.body, now: 1_614_265_330)
        #expect(throws: WebhookSignature.VerificationProblem.noMatch) {
          try signature.verify(header: request.header, body: request.body + [0x20], now: 1_614_265_330)
        }
      }
    }
  }

  @Test func whileASecretIsReplacedBothVerify() async throws {
    try await withReceiver(secrets: ["orders": TestSecret(Self.newKey, Self.key)]) {
      receiver, sender async throws in
      let settings = settings { $0.signingSecret = "orders" }
      #expect(try await sender.deliver(sender.attempt(receiver.url, settings: settings)).verdict == .delivered)
      let request = try #require(receiver.requests.last)
      #expect(request.header("webhook-signature")?.split(separator: " ").count == 2)
      for key in [Self.key, Self.newKey] {
        try WebhookSignature(secrets: [key]).verify(header: request.header, body: request.body, now: 1_614_265_330)
      }
    }
  }

  // MARK: Authentication

  @Test func basicAndBearerAuthenticationUseTheSecretsFirstValue() async throws {
    try await withReceiver(secrets: ["s": TestSecret("pass:wörd", "old"), "t": TestSecret("tok-1")]) {
      receiver, sender async throws in
      let basic = settings { $0.authentication = .basic(username: "user", secret: "s") }
      let bearer = settings { $0.authentication = .bearer(secret: "t") }
      for settings in [basic, bearer] {
        #expect(try await sender.deliver(sender.attempt(receiver.url, settings: settings)).verdict == .delivered)
      }
      #expect(
        receiver.requests.map { $0.values("authorization") } == [
          ["Basic " + Data("user:pass:wörd".utf8).base64EncodedString()], ["Bearer tok-1"],
        ])
    }
  }

  @Test(arguments: ["missing", "elsewhere", "notBase64", "lineEnd", "space", "empty", "without"])
  func aSecretThatCannotBeUsedHereEndsTheAttemptAndIsNotShown(_ name: String) async throws {
    let secrets = [
      "elsewhere": TestSecret("hunter2", paths: ["0", "/other", "/hook"]),
      "notBase64": TestSecret(Self.key, "hunter2!"),
      "lineEnd": TestSecret("hunter2\r\nx-evil: 1"), "space": TestSecret("hunter2 hunter2"), "empty": TestSecret(""),
      "without": TestSecret(),
    ]
    try await withReceiver(secrets: secrets) { receiver, sender async throws in
      let settings = settings {
        if name == "notBase64" { $0.signingSecret = name } else { $0.authentication = .bearer(secret: name) }
      }
      // Twice: what is worked out for a destination is remembered.
      for _ in 0..<2 {
        let outcome = try await sender.deliver(sender.attempt(receiver.url + "/hooks", settings: settings))
        #expect(outcome.verdict == .rejected(.authentication, endsDestination: false))
        #expect(outcome.detail.contains("\"\(name)\""))
        #expect(!outcome.detail.contains("hunter2"))
        #expect(outcome.status == nil)
      }
      #expect(receiver.requests.isEmpty)
    }
  }

  @Test func aBasicPasswordThatIsOutsideItsURLsIsNotSent() async throws {
    try await withReceiver(secrets: ["s": TestSecret("hunter2", paths: ["/hooks"])]) { receiver, sender async throws in
      let settings = settings { $0.authentication = .basic(username: "u", secret: "s") }
      #expect(
        try await sender.deliver(sender.attempt(receiver.url + "/hooks/a", settings: settings)).verdict == .delivered)
      for path in ["/hooks-of-others", "/hooks/%2e%2e/others", "/"] {
        let outcome = try await sender.deliver(sender.attempt(receiver.url + path, settings: settings))
        #expect(outcome.verdict == .rejected(.authentication, endsDestination: false), "\(path)")
      }
      #expect(receiver.requests.map(\.target) == ["/hooks/a"])
    }
  }

  // MARK: Limits

  @Test func aPayloadThatIsTooLargeIsNotSentAndOneThatFitsIs() async throws {
    try await withReceiver { receiver, sender async throws in
      let limit = 256 << 10
      let tooLarge = try await sender.deliver(sender.attempt(receiver.url, String(repeating: "x", count: limit + 1)))
      #expect(tooLarge.verdict == .rejected(.tooLarge, endsDestination: false))
      #expect(tooLarge.detail.contains("262144"))
      #expect(receiver.requests.isEmpty)
      let fits = try await sender.deliver(sender.attempt(receiver.url, String(repeating: "x", count: limit)))
      #expect(fits.verdict == .delivered)
      #expect(receiver.requests.first?.body.count == limit)
    }
  }
}
