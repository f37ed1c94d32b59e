import Foundation
import Testing

/// Router and dispatcher as they are shipped, with real processes and a real receiver.
@Suite("deliveries with real processes", .serialized)
struct DeliveryProcessTests {
  static let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
  static let created = #"{"type": "order:created", "data": {"orderId": 1}}"#
  static let paid = #"{"type": "order:paid", "data": {"orderId": 1}}"#
  static let cloudEvent =
    #"{"specversion": "1.0", "source": "/shop", "id": "A-2", "type": "order:created", "data": {"orderId": 2}}"#

  static let events = "\(created)\n\(paid)\n\(cloudEvent)\n"

  static func rule(_ destination: String) -> String {
    #"{"ruleId": "orders", "events": ["order:*"], "destinationUrl": "\#(destination)", "delivery": {"secret": "receiver"}}"#
  }

  /// Waits until so many different deliveries have come; a minute at most.
  static func wait(for deliveries: Int, at receiver: ReceiverProcess) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
      let sums = try await receiver.sums()
      if sums["deliveries"] == deliveries { return }
      try #require(ContinuousClock.now < deadline, "\(sums)")
      try await Task.sleep(for: .milliseconds(20))
    }
  }

  @Test("Configs/all-in-one.json delivers in one process: signed, tried again, once, and nothing to inner addresses")
  func allInOne() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("all-in-one.json")
      // The first request of each delivery is answered with 503.
      let receiver = try await ReceiverProcess(databus, ["--secret", Self.secret, "--fail", "1", "--json"])
      defer { receiver.running.signal(SIGKILL) }
      let address = "http://127.0.0.1:\(receiver.port)"
      let own = DatabusProcess(
        directory: databus.directory, environment: ["RECEIVER": address, "WEBHOOK_SECRET": Self.secret])

      let run = try own.start(["run", "--with-dispatcher"])
      defer { run.signal(SIGKILL) }
      let put = try await own.run("rules", "put", Self.rule(address + "/orders"), "--wait")
      try #require(put.code == 0, "\(put.errors)")
      let inner = #"{"ruleId": "inner", "events": ["order:paid"], "destinationUrl": "http://10.0.0.1/orders"}"#
      #expect(try await own.run("rules", "put", inner, "--wait").code == 0)
      #expect(try await own.run("events", "send", input: Self.events).code == 0)
      let shown = try await receiver.shown(6)
      #expect(Set(shown.compactMap { $0["id"] as? String }).count == 3)
      #expect(shown.allSatisfy { $0["signature"] as? String == "good" }, "\(shown)")
      #expect(shown.filter { $0["status"] as? Int == 200 }.count == 3)
      #expect(
        Set(shown.compactMap { $0["body"] as? String }) == [Self.created, Self.paid, Self.cloudEvent], "\(shown)")

      // The same CloudEvent again is another event, and the same delivery.
      #expect(try await own.run("events", "send", Self.cloudEvent).code == 0)
      #expect(try await run.terminate().code == 0)
      #expect(try await own.run("run", "--with-dispatcher", "--until-idle").code == 0)
      // Everything is routed again from its start, and its results are delivered already.
      #expect(try await own.run("positions", "set", "0", "earliest").code == 0)
      #expect(try await own.run("run", "--with-dispatcher", "--until-idle").code == 0)
      let results = try await own.run("tail", "results-http", "--from-start", "--until-end", "--json")
      #expect(results.lines.count == 10)
      let sums = try await receiver.sums()
      #expect(sums["requests"] == 6 && sums["deliveries"] == 3 && sums["badSignatures"] == 0, "\(sums)")

      let letters = try await own.run(
        "tail", "all-in-one-dispatcher-dead-letters", "--from-start", "--until-end", "--json")
      #expect(letters.output.contains("ssrf_denied"), "\(letters.output)")
      #expect(try await receiver.running.terminate().code == 0)
    }
  }
}
