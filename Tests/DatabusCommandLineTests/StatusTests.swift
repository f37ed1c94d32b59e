import Foundation
import Testing

@Suite("status", .serialized)
struct StatusTests {
  private static let rule = #"{"ruleId": "a", "events": ["x"], "destinationUrl": "https://foo.bar/baz"}"#

  private func json(_ databus: DatabusProcess, code: Int32 = 0) async throws -> [String: Any] {
    let result = try await databus.run("status", "--json")
    #expect(result.code == code, "\(result.errors)")
    return try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
  }

  @Test("lag of events and rules, the state backend, and the process")
  func lag() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      #expect(try await databus.run("events", "send", input: "{\"type\":\"x\"}\n{\"type\":\"y\"}\n").code == 0)
      let before = try await json(databus)
      #expect((before["processes"] as? [Any])?.isEmpty == true)
      #expect((before["state"] as? [String: Any])?["type"] as? String == "sqlite")
      #expect((before["state"] as? [String: Any])?["shared"] as? Bool == false)
      let unread = try #require((before["rules"] as? [[String: Any]])?.first)
      #expect(unread["end"] as? Int == 2)
      #expect(unread["position"] is NSNull)
      #expect((before["partitions"] as? [[String: Any]])?.first?["lag"] as? Int == 2)

      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      #expect(try await databus.run("status", "--wait-idle").code == 0)
      // A process says how far it is once a second.
      var after = try await json(databus)
      func seenProcess() -> [String: Any]? { (after["processes"] as? [[String: Any]])?.first }
      for _ in 0..<600 where seenProcess()?["rulesLag"] as? Int != 0 || seenProcess()?["checkpoints"] as? Int ?? 0 == 0
      {
        try await Task.sleep(for: .milliseconds(50))
        after = try await json(databus)
      }
      let seen = try #require(seenProcess())
      #expect(seen["pid"] as? Int32 == process.processID)
      #expect(seen["ready"] as? Bool == true)
      #expect(seen["reasons"] == nil)
      #expect(seen["rulesLag"] as? Int == 0)
      #expect(seen["checkpoints"] as? Int ?? 0 > 0)
      #expect((after["rules"] as? [[String: Any]])?.first?["position"] as? Int == 2)
      #expect((after["partitions"] as? [[String: Any]])?.first?["lag"] as? Int == 0)
      #expect(after["problems"] == nil)
      let text = try await databus.run("status").output
      #expect(text.contains("RULES LAG"))
      #expect(text.contains("State: sqlite, not shared: one process is seen."))
      #expect(text.contains("Rules: rules/0 ends at 2, stored up to 2."))
      #expect(try await process.terminate().code == 0)
    }
  }

  @Test("everything that keeps a process from being ready, and what cannot be looked at")
  func away() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(
        """
        {"pipeline": {"name": "f"}, "transports": {"files": {"type": "file", "path": ".", "follow": true}},
         "state": {"type": "sqlite", "path": "state.db"}}
        """, to: "databus.json")
      try databus.write("{\"type\":\"x\"}\n", to: "events.jsonl")
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      var status: [String: Any] = [:]
      for _ in 0..<600 {
        let result = try await databus.run("status", "--json")
        if result.code != 2, result.output.contains("\"reasons\"") {
          status = try #require(try JSONSerialization.jsonObject(with: Data(result.output.utf8)) as? [String: Any])
          #expect(result.code == 1, "a stream that is away is no success")
          break
        }
        try await Task.sleep(for: .milliseconds(50))
      }
      let seen = try #require((status["processes"] as? [[String: Any]])?.first)
      #expect(seen["ready"] as? Bool == false)
      let reasons = try #require(seen["reasons"] as? [[String: String]])
      #expect(reasons.contains { $0["part"] == "rules" && $0["message"]?.contains("rules.jsonl") == true })
      let problems = try #require(status["problems"] as? [String])
      #expect(problems.contains { $0.hasPrefix("the rules stream cannot be looked at") && $0.contains("rules.jsonl") })
      let text = try await databus.run("status")
      #expect(text.code == 1)
      #expect(text.output.contains("is not ready: rules: "))
      #expect(text.output.contains("The rules stream cannot be looked at"))
      try databus.write(Self.rule + "\n", to: "rules.jsonl")
      var isReady = false
      for _ in 0..<600 where !isReady {
        try await Task.sleep(for: .milliseconds(50))
        isReady = try await databus.run("status", "--json").output.contains("\"ready\": true")
      }
      #expect(isReady)
      #expect(try await process.terminate().code == 0)
    }
  }
}
