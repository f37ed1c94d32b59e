import Dispatcher
import Foundation
import HTTPServer
import Testing

@testable import HTTPDelivery

struct CloudEventTests {
  private func deliver(
    _ event: String, _ format: DeliverySettings.Format = .binary
  ) async throws -> (outcome: AttemptOutcome, request: HTTPRequest?) {
    var result: (AttemptOutcome, HTTPRequest?)?
    let key = "whsec_" + Data(repeating: 1, count: 32).base64EncodedString()
    try await withReceiver(secrets: ["k": TestSecret(key)]) { receiver, sender async throws in
      var settings = DeliverySettings()
      settings.format = format
      settings.signingSecret = "k"
      let outcome = try await sender.deliver(sender.attempt(receiver.url, event, settings: settings))
      let request = receiver.requests.first
      // Whatever is sent is what is signed.
      if let request {
        try WebhookSignature(secrets: [key]).verify(header: request.header, body: request.body, now: 1_614_265_330)
      }
      result = (outcome, request)
    }
    return try #require(result)
  }

  private static func event(_ members: String) -> String {
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t"\#(members)}"#
  }

  @Test func binaryModeHasTheAttributesAsHeadersAndTheDataAsTheBody() async throws {
    let (outcome, request) = try await deliver(
      #"""
      {"specversion": "1.0", "type": "com.example.someevent", "source": "/mycontext/sub context", "id": "A234-1234-1234",
       "time": "2018-04-05T17:31:00Z", "comexampleextension1": "Euro € 😀 \"100%\"\r\n", "comexampleothervalue": -5, "flag": true,
       "none": null, "datacontenttype": "application/json;charset=utf-8", "data": {"much": [1,  "}\"" , null]}, "subject": "x"}
      """#)
    #expect(outcome.verdict == .delivered)
    let found = try #require(request)
    #expect(found.text == #"{"much": [1,  "}\"" , null]}"#)
    let headers = Dictionary(
      uniqueKeysWithValues: found.headers.filter { $0.name.hasPrefix("ce-") }.map { ($0.name, $0.value) })
    #expect(
      headers == [
        "ce-specversion": "1.0", "ce-type": "com.example.someevent", "ce-source": "/mycontext/sub%20context",
        "ce-id": "A234-1234-1234", "ce-time": "2018-04-05T17:31:00Z",
        "ce-comexampleextension1": "Euro%20%E2%82%AC%20%F0%9F%98%80%20%22100%25%22%0D%0A",
        "ce-comexampleothervalue": "-5",
        "ce-flag": "true", "ce-subject": "x",
      ])
    #expect(found.values("content-type") == ["application/json;charset=utf-8"])
  }

  private static let bodies: [(String, String, String)] = [
    (#","data":"text""#, #""text""#, "application/json"),
    (#","data":"a\"\\\u00e9""#, #""a\"\\\u00e9""#, "application/json"),
    (#","data":-1.50e3"#, "-1.50e3", "application/json"),
    (#","data":12345678901234567890123"#, "12345678901234567890123", "application/json"),
    (#","data":true"#, "true", "application/json"),
    (#","data":false"#, "false", "application/json"), (#","data":null"#, "null", "application/json"),
    (#","data":[]"#, "[]", "application/json"), (#","data":{}"#, "{}", "application/json"),
    (#","data":"""#, #""""#, "application/json"),
    (#","data": [ {"a":{}} ] "#, #"[ {"a":{}} ]"#, "application/json"),
    (#","datacontenttype":"text/plain","data":"a\"\\\u00e9\n""#, "a\"\\é\n", "text/plain"),
    (#","datacontenttype":"text/xml","data":"""#, "", "text/xml"),
    (#","datacontenttype":"text/plain","data":{"a":1}"#, #"{"a":1}"#, "text/plain"),
    (#","datacontenttype":"application/vnd.x+JSON; a=b","data":"x""#, #""x""#, "application/vnd.x+JSON; a=b"),
    (
      #","datacontenttype":"application/octet-stream","data_base64":"AAEC""#, "\u{0}\u{1}\u{2}",
      "application/octet-stream"
    ),
    (#","data_base64":"e30=""#, "{}", "application/json"),
  ]

  @Test(arguments: bodies)
  func theBodyIsTheDataAsItsTypeSays(_ members: String, _ body: String, _ type: String) async throws {
    let (outcome, request) = try await deliver(Self.event(members))
    #expect(outcome.verdict == .delivered)
    #expect(request?.text == body)
    #expect(request?.values("content-type") == [type])
    #expect(request?.values("ce-id") == ["1"])
    #expect(request?.values("ce-datacontenttype") == [])
  }

  @Test func anEventWithoutDataHasNeitherBodyNorType() async throws {
    let (outcome, request) = try await deliver(Self.event(#","datacontenttype":"application/json""#))
    #expect(outcome.verdict == .delivered)
    #expect(request?.body == [])
    #expect(request?.values("content-type") == [])
    #expect(request?.values("ce-type") == ["t"])
  }

  @Test func structuredModeIsTheEventAsItIs() async throws {
    let text = Self.event(#", "data": {"a":  1}, "x": "ä""#)
    let (outcome, request) = try await deliver(text, .structured)
    #expect(outcome.verdict == .delivered)
    #expect(request?.text == text)
    #expect(request?.values("content-type") == ["application/cloudevents+json; charset=UTF-8"])
    #expect(request?.headers.contains { $0.name.hasPrefix("ce-") } == false)
  }

  private static let otherPayloads: [String] = [
    "\u{0}",
    #"{"type":"order:created","data":{}}"#, #"{"specversion":"1.0","id":"1","source":"/s"}"#,
    #"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
    #"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#,
    #"{"specversion":"1.0","id":1,"source":"/s","type":"t"}"#,
    #"{"specversion":"1.0","id":"1","id":"2","source":"/s","type":"t"}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","Upper":"x"}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","a-b":"x"}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","a\r\nb":"x"}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":{}}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","x":1.5}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":1,"data_base64":"AA=="}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","data_base64":5}"#,
    #"{"specversion":"1.0","id":"1","source":"/s","type":"t","datacontenttype":5}"#,
    "[1]", "17", #""text""#, "{", "", "\u{1}",
  ]

  @Test(arguments: otherPayloads, [DeliverySettings.Format.binary, .structured])
  func whatIsNoCloudEventIsSentAsItIs(_ payload: String, _ format: DeliverySettings.Format) async throws {
    let (outcome, request) = try await deliver(payload, format)
    #expect(outcome.verdict == .delivered)
    #expect(request?.text == payload)
    #expect(request?.values("content-type") == ["application/json"])
    #expect(request?.headers.contains { $0.name.hasPrefix("ce-") } == false)
  }

  @Test(arguments: [
    event(#","x":4000000000"#), event(#","datacontenttype":"a\r\nx-evil: 1","data":1"#),
    event(#","datacontenttype":"","data":1"#),
    event(#","data_base64":"!""#),
  ])
  func whatBinaryModeCannotCarryIsSentAsItIs(_ payload: String) async throws {
    let (outcome, request) = try await deliver(payload)
    #expect(outcome.verdict == .delivered)
    #expect(request?.text == payload)
    #expect(request?.values("content-type") == ["application/json"])
    #expect(request?.values("x-evil") == [])
  }

  @Test func attributesThatAreTooLargeForHeadersAreNotSent() async throws {
    let text = Self.event(#","x":"\#(String(repeating: "€", count: 1000))""#)
    let (outcome, request) = try await deliver(text)
    #expect(outcome.verdict == .rejected(.tooLarge, endsDestination: false))
    #expect(outcome.detail.contains("8192"))
    #expect(request == nil)
    #expect(try await deliver(text, .structured).outcome.verdict == .delivered)
  }

  @Test func oneBindingMakesManyRequests() throws {
    var binding = try CloudEventBinding()
    for number in 0..<100 {
      let value = Array(("," + Self.event(#","data":\#(number)"#) + ",").utf8)
      guard case .message(let message) = binding.message(value, 1..<value.count - 1, isBinary: true) else {
        Issue.record("not bound")
        return
      }
      #expect(String(decoding: message.bytes[message.body], as: UTF8.self) == "\(number)")
      guard case .notCloudEvent = binding.message(Array("{".utf8), 0..<1, isBinary: true) else {
        Issue.record("bound")
        return
      }
    }
  }

  @Test func aByteOrderMarkBeforeTheEventChangesNothing() throws {
    var binding = try CloudEventBinding()
    let value = [0xEF, 0xBB, 0xBF] + Array(Self.event(#","data":{"a":1}"#).utf8)
    guard case .message(let message) = binding.message(value, 0..<value.count, isBinary: true) else {
      Issue.record("not bound")
      return
    }
    #expect(String(decoding: message.bytes[message.body], as: UTF8.self) == #"{"a":1}"#)
  }
}
