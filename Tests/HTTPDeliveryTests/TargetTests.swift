import Dispatcher
import HTTPClient
import HTTPDelivery
import Testing

struct TargetTests {
  private func withChannel(allow: [String] = [], _ body: (HTTPChannel) throws -> Void) async throws {
    let sender = try Sender(allow: allow)
    do { try body(sender.channel) } catch {
      await sender.channel.close()
      throw error
    }
    await sender.channel.close()
  }

  @Test func destinationsThatAreOneAreEqual() async throws {
    try await withChannel { channel throws in
      let targets = try [
        "https://example.com/Hook?a=B", "HTTPS://EXAMPLE.COM/Hook?a=B", "https://example.com:443/Hook?a=B",
        "https://example.com./Hook?a=B",
      ].map { try channel.target(of: $0).get() }
      #expect(Set(targets).count == 1)
      #expect(targets[0].url == "https://example.com/Hook?a=B")
      #expect(targets[0].server == "https://example.com:443")
      #expect(targets[0].label == "https://example.com")
      let other = try channel.target(of: "http://example.com:8080/secret?token=1").get()
      #expect(other.server == "http://example.com:8080")
      #expect(other.label == "http://example.com:8080")
      #expect(try channel.target(of: "https://[2600:1901::1]/x").get().label == "https://[2600:1901::1]")
    }
  }

  @Test(arguments: [
    "", "example.com", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/", "https://", "https:///x",
    "https://user:hunter2@example.com/", "https://exa mple.com/",
    "https://example.com/\r\nx: y", "https://example.com:0/",
    "https://example.com:99999/", "https://bücher.example/", "https://[::1/", "javascript:alert(1)",
  ])
  func whatIsNoURLForUsIsRefused(_ url: String) async throws {
    try await withChannel { channel throws in
      guard case .failure(let refusal) = channel.target(of: url) else {
        Issue.record("\(url) was taken")
        return
      }
      #expect(refusal.reason == .badURL)
      #expect(!refusal.detail.isEmpty)
      #expect(!refusal.detail.contains("hunter2"))
    }
  }

  @Test(arguments: [
    "http://127.0.0.1/", "http://10.1.2.3/", "http://192.168.0.1/", "http://169.254.169.254/latest/meta-data",
    "http://[::1]/",
    "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/",
    "http://[64:ff9b::7f00:1]/", "http://0/", "http://[fd00::1]/", "http://224.0.0.1/", "http://100.64.0.1/",
  ])
  func anAddressThatNothingMayBeSentToIsRefusedInEveryNotation(_ url: String) async throws {
    try await withChannel { channel throws in
      guard case .failure(let refusal) = channel.target(of: url) else {
        Issue.record("\(url) was taken")
        return
      }
      #expect(refusal.reason == .addressDenied)
      #expect(!refusal.detail.contains("meta-data"))
    }
  }

  @Test func anAddressThatIsAllowedIsTaken() async throws {
    try await withChannel(allow: ["127.0.0.1/32"]) { channel throws in
      #expect(try channel.target(of: "http://2130706433:8080/x").get().url == "http://127.0.0.1:8080/x")
      #expect(throws: DeliveryRefusal.self) { try channel.target(of: "http://127.0.0.2/").get() }
    }
  }

  @Test func aNameThatLeadsToADeniedAddressIsRefusedWhenItIsConnectedTo() async throws {
    let receiver = try Receiver()
    let sender = try Sender(allow: [])
    let outcome = try await sender.deliver(sender.attempt("http://localhost:\(receiver.port)/"))
    #expect(outcome.verdict == .rejected(.addressDenied, endsDestination: false))
    #expect(receiver.requests.isEmpty)
    await sender.channel.close()
    await receiver.stop()
  }

  @Test func aTargetThatTheChannelDidNotMakeIsLookedAtAgain() async throws {
    let receiver = try Receiver()
    let sender = try Sender(allow: [])
    let strict = try Sender()
    var attempt = try strict.attempt(receiver.url)
    #expect(try await sender.deliver(attempt).verdict == .rejected(.addressDenied, endsDestination: false))
    attempt.target.url = "file:///etc/passwd"
    #expect(try await sender.deliver(attempt).verdict == .rejected(.badURL, endsDestination: false))
    #expect(receiver.requests.isEmpty)
    await sender.channel.close()
    await strict.channel.close()
    await receiver.stop()
  }
}
