import Foundation
import Testing

@Suite("positions skip", .serialized)
struct PositionsSkipTests {
  private static let rule = #"{"ruleId": "a", "events": ["*"], "destinationUrl": "https://foo.bar/baz"}"#

  private func numbers(_ databus: DatabusProcess) async throws -> [Int] {
    try await databus.run("tail", "results", "--from-start", "--until-end", "--json").output.objects.compactMap {
      let result = try ($0["value"] as? String)?.objects.first
      return (result?["payload"] as? [String: Any])?["n"] as? Int
    }
  }

  private func lines(_ numbers: ClosedRange<Int>) -> String {
    numbers.map { "{\"type\":\"x\",\"n\":\($0)}\n" }.joined()
  }

  @Test("the next record becomes a dead letter, and the next start goes on behind it")
  func skip() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      let early = try await databus.run("positions", "skip", "--dead-letter")
      #expect(early.code == 1)
      #expect(early.errors.contains("events/0 has no position yet"))
      #expect(try await databus.run("events", "send", input: lines(1...2)).code == 0)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      let end = try await databus.run("positions", "skip", "--dead-letter")
      #expect(end.code == 1)
      #expect(end.errors.contains("there is no record at events/0/3 yet"))
      #expect(try await databus.run("events", "send", "--key", "k", input: lines(3...5)).code == 0)

      let without = try await databus.run("positions", "skip")
      #expect(without.code == 2)
      #expect(without.errors.contains("--dead-letter is missing"))
      let wrong = try await databus.run("positions", "skip", "--dead-letter", "--position", "4")
      #expect(wrong.code == 2)
      #expect(wrong.errors.contains("the next record is events/0/3, and not 4"))
      #expect(wrong.errors.contains("--one-by-one"))
      #expect(try await databus.run("positions", "skip", "--dead-letter", "--partition", "7").code == 2)

      let skipped = try await databus.run("positions", "skip", "--dead-letter", "--partition", "0", "--position", "3")
      #expect(skipped.code == 0, "\(skipped.errors)")
      #expect(
        skipped.output
          == "events/0/3: written to quickstart-dead-letters as skipped; the pipeline goes on at 4\n")
      #expect(try await databus.run("run", "--until-idle").code == 0)
      #expect(try await numbers(databus) == [1, 2, 4, 5])
      let letters = try await databus.run("tail", "dead-letters", "--from-start", "--until-end", "--json").output
        .objects
      let letter = try #require(letters.first)
      #expect(letters.count == 1)
      #expect(letter["key"] as? String == "k")
      #expect(letter["value"] as? String == "{\"type\":\"x\",\"n\":3}")
      let headers = try #require(letter["headers"] as? [[String: String]])
      #expect(headers.contains { $0["name"] == "dx-reason" && $0["value"] == "skipped" })
    }
  }

  @Test("it is refused while a process runs, and not once that was killed")
  func running() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      #expect(try await databus.run("events", "send", input: lines(1...1)).code == 0)
      #expect(try await databus.run("status", "--wait-idle").code == 0)
      let refused = try await databus.run("positions", "skip", "--dead-letter")
      #expect(refused.code == 1)
      #expect(refused.errors.contains("process \(process.processID)"))
      process.signal(SIGKILL)
      _ = try await process.end()
      #expect(try await databus.run("events", "send", input: lines(2...3)).code == 0)
      // Right behind the kill: it waits until the process counts as gone.
      let skipped = try await databus.run("positions", "skip", "--dead-letter")
      #expect(skipped.code == 0, "\(skipped.errors)")
      #expect(try await databus.run("run", "--until-idle").code == 0)
      #expect(try await numbers(databus) == [1, 3])
    }
  }

  @Test("where the transport keeps no commits, the state's position moves")
  func files() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(
        """
        {"pipeline": {"name": "f"}, "transports": {"files": {"type": "file", "path": "."}},
         "state": {"type": "sqlite", "path": "state.db"}}
        """, to: "databus.json")
      try databus.write(Self.rule + "\n", to: "rules.jsonl")
      try databus.write(lines(1...1), to: "events.jsonl")
      #expect(try await databus.run("run").code == 0)
      try databus.append(lines(2...4), to: "events.jsonl")
      let skipped = try await databus.run("positions", "skip", "--dead-letter")
      #expect(skipped.code == 0, "\(skipped.errors)")
      #expect(try await databus.run("run").code == 0)
      let results = try databus.read("results-http.jsonl").objects
      #expect(results.map { ($0["payload"] as? [String: Any])?["n"] as? Int } == [1, 3, 4])
      let letter = try #require(try databus.read("f-dead-letters.jsonl").objects.first)
      #expect(letter["reason"] as? String == "skipped")
      #expect((letter["detail"] as? String)?.contains("events.jsonl:2") == true, "the line is named")
      #expect(letter["value"] as? String == "{\"type\":\"x\",\"n\":2}")
    }
  }

  @Test("a dead-letter stream that is away keeps the record where it is")
  func deadLettersAway() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(
        """
        {"pipeline": {"name": "p", "events": {"transport": "log"}, "rules": {"transport": "log"},
                      "results": {"transport": "log"}, "deadLetters": {"transport": "files"}},
         "transports": {"log": {"type": "sqlite-log", "path": "log.db"}, "files": {"type": "file", "path": "missing"}},
         "state": {"type": "sqlite", "path": "state.db"}}
        """, to: "databus.json")
      try FileManager.default.createDirectory(atPath: databus.path("missing"), withIntermediateDirectories: false)
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      #expect(try await databus.run("events", "send", input: lines(1...1)).code == 0)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      #expect(try await databus.run("events", "send", input: lines(2...2)).code == 0)
      try FileManager.default.removeItem(atPath: databus.path("missing"))
      let failed = try await databus.run("positions", "skip", "--dead-letter")
      #expect(failed.code == 1)
      #expect(failed.errors.contains("missing/"))
      let shown = try await databus.run("positions", "show", "--json")
      #expect(shown.output.contains("\"position\": 2"))
    }
  }

  @Test("one by one gives the same results")
  func oneByOne() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      #expect(try await databus.run("events", "send", input: lines(1...50) + "not json\n" + lines(51...60)).code == 0)
      let result = try await databus.run("run", "--one-by-one", "--until-idle")
      #expect(result.code == 0, "\(result.errors)")
      #expect(try await numbers(databus) == Array(1...60))
    }
  }
}
