import DatabusCommandLine
import Foundation
import Testing

/// `databus deliveries`, with a real dispatcher and a real receiver.
@Suite struct DeliveriesTests {
  @Test func aDeliveryIsToldFromItsEventToItsLastAttempt() async throws {
    try await DatabusProcess.with { databus in
      let receiver = try await ReceiverProcess(databus, ["--fail", "1", "--quiet"])
      defer { receiver.running.signal(SIGKILL) }
      let address = "http://127.0.0.1:\(receiver.port)"
      try databus.write(
        """
        {"pipeline": {"name": "p", "results": {"streams": {"http": "results-http"}}},
         "transports": {"local": {"type": "sqlite-log", "path": "log.db"}}, "state": {"type": "sqlite", "path": "state.db"},
         "dispatcher": {"deduplication": {"type": "sqlite", "path": "deduplication.db"},
          "channels": {"http": {"allow": ["127.0.0.0/8"]}}, "retry": {"base": "1ms"},
          "attempts": {"path": "attempts.db"}}}
        """, to: "databus.json")
      let none = try await databus.run("deliveries", "list")
      #expect(none.code == 1 && none.errors.contains("there is no log of attempts at "), "\(none.errors)")

      for (id, destination) in [("good", address + "/a?key=hush"), ("inner", "http://10.0.0.1/b")] {
        let rule = #"{"ruleId": "\#(id)", "events": ["*"], "destinationUrl": "\#(destination)"}"#
        #expect(try await databus.run("rules", "put", rule).code == 0)
      }
      #expect(try await databus.run("events", "send", #"{"type": "x"}"#).code == 0)
      let run = try await databus.run("run", "--with-dispatcher", "--until-idle")
      #expect(run.code == 0, "\(run.errors)")

      let list = try await databus.run("deliveries", "list")
      #expect(list.code == 0 && list.lines.count == 3, "\(list.output)")
      #expect(list.output.contains("given up: ssrf_denied") && !list.output.contains("hush"), "\(list.output)")
      let failed = try await databus.run("deliveries", "list", "--failed", "--json")
      #expect(failed.lines.count == 1 && failed.output.contains(#""rule": "inner""#), "\(failed.output)")
      let narrow = try await databus.run(
        "deliveries", "list", "--event", "events/0/1", "--rule", "good", "--destination", address, "--since", "1h",
        "--json")
      let line = try #require(narrow.lines.first)
      let summary = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      #expect(summary["state"] as? String == "delivered" && summary["attempts"] as? Int == 2, "\(narrow.output)")
      #expect(try await databus.run("deliveries", "list", "--rule", "other").output.contains("no such deliveries"))

      let id = try #require(summary["id"] as? String)
      let story = try await databus.run("deliveries", "show", id)
      #expect(story.code == 0, "\(story.errors)")
      for text in [
        id, "events/0/1", "good", address + "/a?…", "results-http/0/", "delivered with attempt 2", "503", "200",
      ] {
        #expect(story.output.contains(text), "\(text) is missing: \(story.output)")
      }
      let json = try await databus.run("deliveries", "show", id, "--json")
      let whole = try #require(try JSONSerialization.jsonObject(with: Data(json.output.utf8)) as? [String: Any])
      let history = try #require(whole["history"] as? [[String: Any]])
      #expect(history.compactMap { $0["happening"] as? String } == ["failed", "delivered"])
      #expect(history.compactMap { $0["status"] as? Int } == [503, 200])
      #expect(history.allSatisfy { ($0["microseconds"] as? Int ?? 0) > 0 }, "\(json.output)")

      let unknown = try await databus.run("deliveries", "show", "nothing")
      #expect(
        unknown.code == 1 && unknown.errors.contains("has nothing of a delivery \"nothing\""), "\(unknown.errors)")
      #expect(try await receiver.running.terminate().code == 0)
    }
  }

  @Test func withoutALogItIsSaidHowToHaveOne() async throws {
    let text = """
      {"pipeline": {"name": "p"}, "state": {"type": "memory"}, "transports": {"t": {"type": "sqlite-log", "path": "l"}},
       "dispatcher": {"deduplication": {"type": "sqlite", "path": "d.db"}}}
      """
    try await withFile(text) { path in
      for words in [["list"], ["show", "a"]] {
        let fixture = CommandFixture()
        #expect(await fixture.run(["deliveries"] + words + ["--config", path]) == .usage)
        #expect(
          fixture.errors.text.contains(#"add "attempts": {"path": "databus-attempts.db"} to "dispatcher""#),
          "\(fixture.errors.text)")
      }
    }
  }
}
