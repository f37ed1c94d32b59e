import Dispatcher
import Testing

struct DeliveryHeaderTests {
  @Test(arguments: [
    "Connection", "keep-alive", "Proxy-Connection", "TE", "trailer", "Transfer-Encoding", "upgrade",
    "proxy-authorization",
    "proxy-authenticate", "HOST", "Content-Length", "expect", "webhook-id", "Webhook-Timestamp", "WEBHOOK-SIGNATURE",
    "webhook-x",
  ])
  func theDispatchersOwnAndTheConnectionsAreRefused(_ name: String) {
    #expect(DeliveryHeader(name, "x").problem != nil)
  }

  @Test(arguments: ["", "a b", "a:", "a\r\nb", "a\u{0}", "é", "(a)", "a\t"])
  func aNameThatIsNoneIsRefused(_ name: String) {
    #expect(DeliveryHeader(name, "x").problem != nil)
  }

  @Test(arguments: ["\r\nx-evil: 1", "a\nb", "a\rb", "a\u{0}b", "\u{1}", "a\u{7F}"])
  func aValueThatWouldEndTheLineIsRefusedAndNotRepeated(_ value: String) throws {
    let problem = try #require(DeliveryHeader("x-a", value).problem)
    #expect(!problem.contains("evil"))
    #expect(!problem.utf8.contains { $0 < 0x20 })
  }

  @Test(arguments: [
    ("x-team", "a"), ("Authorization", "Basic eDp5"), ("user-agent", "x"), ("x_a.b!", "ä\té"), ("x", ""),
  ])
  func othersAreSent(_ name: String, _ value: String) {
    #expect(DeliveryHeader(name, value).problem == nil)
  }

  @Test func thereIsALimitOfNumberAndBytes() {
    let many = (0...DeliveryHeader.maximumCount).map { DeliveryHeader("x-\($0)", "") }
    #expect(DeliveryHeader.problem(in: many)?.contains("65 headers") == true)
    #expect(DeliveryHeader.problem(in: Array(many.dropLast())) == nil)
    let large = [DeliveryHeader("x", String(repeating: "a", count: DeliveryHeader.maximumBytes))]
    #expect(DeliveryHeader.problem(in: large)?.contains("8193 bytes") == true)
    #expect(
      DeliveryHeader.problem(in: [DeliveryHeader("x-a", "1"), DeliveryHeader("X-A", "2")])?.contains("twice") == true)
  }

  @Test func settingsThatContradictThemselvesAreNamed() {
    var settings = DeliverySettings()
    settings.headers = [
      DeliveryHeader("Authorization", "x"), DeliveryHeader("Content-Type", "text/plain"), DeliveryHeader("ce-id", "1"),
    ]
    #expect(settings.problem == nil)
    settings.authentication = .bearer(secret: "s")
    #expect(settings.problem?.contains("\"Authorization\"") == true)
    settings.headers.removeFirst()
    #expect(settings.problem == nil)
    settings.format = .binary
    #expect(settings.problem?.contains("\"Content-Type\"") == true)
    settings.headers.removeFirst()
    #expect(settings.problem?.contains("\"ce-id\"") == true)
    settings.headers = []
    settings.authentication = .basic(username: "a:b", secret: "s")
    #expect(settings.problem?.contains("user name") == true)
  }
}
