import Foundation
import Testing

@Suite("databus route", .serialized)
struct RouteTests {
  static let rules = """
    {"ruleId": "rule_a", "events": ["user:signup", "subscription:created"], "destinationUrl": "https://foo.bar/baz"}
    {"ruleId": "rule_b", "events": ["subscription:created"], "destinationUrl": "http://themoney.com/hook"}

    """

  @Test("results come in event order, one a line, and the summary is the last line on standard error")
  func results() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules, to: "rules.jsonl")
      let events = """
        {"type": "user:signup", "data": {"userId": 123}}
        {"type": "user:login"}
        {"type": "subscription:created", "data": 11}
        """
      let result = try await databus.run("route", "--rules", "rules.jsonl", input: events)
      #expect(result.code == 0)
      #expect(
        result.lines.map { $0.components(separatedBy: ",\"id\":")[0] } == [
          #"{"destination":"https://foo.bar/baz","payload":{"type": "user:signup", "data": {"userId": 123}}"#,
          #"{"destination":"https://foo.bar/baz","payload":{"type": "subscription:created", "data": 11}"#,
          #"{"destination":"http://themoney.com/hook","payload":{"type": "subscription:created", "data": 11}"#,
        ])
      let summary = try #require(try result.errors.objects.last?["summary"] as? [String: Any])
      #expect(summary["events"] as? Int == 3)
      #expect(summary["results"] as? Int == 3)
      #expect(summary["filtered"] as? Int == 1)
      #expect(summary["rules"] as? Int == 2)
      #expect(result.errorLines.count == 1)
    }
  }

  private static func events(_ count: Int) -> String {
    (0..<count).map { number in
      number % 1000 == 999 ? "broken \(number)" : #"{"type": "user:signup", "data": {"userId": \#(number)}}"#
    }.joined(separator: "\n") + "\n"
  }

  @Test("results are the same, and in the order of the files, whatever the number of workers")
  func workers() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules, to: "rules.jsonl")
      try databus.write(Self.events(20_000), to: "monday.jsonl")
      try databus.write(Self.events(7_000), to: "tuesday.jsonl")
      var outputs: [DatabusProcess.Result] = []
      for workers in ["1", "2", "5"] {
        outputs.append(
          try await databus.run(
            "route", "--rules", "rules.jsonl", "--run-id", "r", "--workers", workers, "tuesday.jsonl", "monday.jsonl"))
      }
      #expect(outputs[0].lines.count == 27_000 - 27)
      #expect(outputs.allSatisfy { $0.code == 0 })
      #expect(outputs[1].output == outputs[0].output)
      #expect(outputs[2].output == outputs[0].output)
      let places = outputs[0].lines.compactMap {
        $0.components(separatedBy: "\"event\":\"").last?.split(separator: "/").first
      }
      #expect(
        places == Array(repeating: "tuesday.jsonl", count: 7_000 - 7)
          + Array(repeating: "monday.jsonl", count: 20_000 - 20))
      func letters(_ result: DatabusProcess.Result) -> [String] { result.errorLines.dropLast().sorted() }
      #expect(letters(outputs[0]).count == 27)
      #expect(letters(outputs[2]) == letters(outputs[0]))
    }
  }

  @Test("without --run-id ids differ from run to run")
  func runs() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules, to: "rules.jsonl")
      let first = try await databus.run("route", "--rules", "rules.jsonl", input: Self.events(1))
      let second = try await databus.run("route", "--rules", "rules.jsonl", input: Self.events(1))
      #expect(first.lines.count == 1)
      #expect(first.output != second.output)
    }
  }

  @Test("what cannot be routed is a dead letter with its place; --strict ends with 3")
  func deadLetters() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules + #"{"ruleId": "rule_c", "events": "x"}"# + "\n", to: "rules.jsonl")
      try databus.write("{\"type\": \"user:signup\"}\n[1]\n", to: "events.jsonl")
      let result = try await databus.run("route", "--rules", "rules.jsonl", "--strict", "events.jsonl")
      #expect(result.code == 3)
      #expect(result.lines.count == 1)
      let letters = try result.errors.objects.dropLast()
      #expect(letters.map { $0["reason"] as? String } == ["rule_invalid", "not_object"])
      #expect((letters.first?["detail"] as? String)?.hasPrefix("rules.jsonl:3:1: ") == true)
      #expect((letters.last?["detail"] as? String)?.hasPrefix("events.jsonl:2:1: ") == true)

      let apart = try await databus.run(
        "route", "--rules", "rules.jsonl", "--dead-letters", "bad.jsonl", "events.jsonl")
      #expect(apart.code == 0)
      #expect(apart.errorLines.count == 1)
      #expect(try databus.read("bad.jsonl").objects.count == 2)
    }
  }

  @Test("errors say what, where and what to do, and end with 1")
  func errors() async throws {
    try await DatabusProcess.with { databus in
      let missing = try await databus.run("route", "--rules", "nowhere.jsonl", input: Self.events(1))
      #expect(missing.code == 1)
      #expect(missing.errors.contains("nowhere.jsonl"))
      #expect(missing.output.isEmpty)
      try databus.write(Self.rules, to: "rules.jsonl")
      let full = try await databus.run("route", "--rules", "rules.jsonl", input: Self.events(10), output: "/dev/full")
      #expect(full.code == 1)
      #expect(full.errors.contains("No space left on device"))
      #expect(try await databus.run("route", "--rules", "-").code == 2)
      #expect(try await databus.run("route").code == 2)
    }
  }

  /// Runs a line of bash in the directory; `$databus` is the program.
  private static func bash(_ line: String, in databus: DatabusProcess) async throws {
    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/bash")
    shell.arguments = ["-c", line]
    shell.currentDirectoryURL = databus.directory
    shell.environment = ProcessInfo.processInfo.environment.merging(["databus": DatabusProcess.executable.path]) { $1 }
    let (ended, continuation) = AsyncStream.makeStream(of: Void.self)
    shell.terminationHandler = { _ in continuation.finish() }
    try shell.run()
    for await _ in ended {}
  }

  @Test("a reader that goes away ends it without a word")
  func closedPipe() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules, to: "rules.jsonl")
      try databus.write(
        (0..<200_000).map { #"{"type":"user:signup","n":\#($0)}"# }.joined(separator: "\n"), to: "e.jsonl")
      try await Self.bash(
        #""$databus" route --rules rules.jsonl e.jsonl 2>errors | head -1 >first; echo ${PIPESTATUS[0]} >code"#,
        in: databus)
      #expect(try databus.read("code") == "0\n")
      #expect(try databus.read("errors").isEmpty)
      #expect(try databus.read("first").objects.count == 1)
    }
  }

  @Test("a writer that is silent for a while is waited for: a pipe ends where it is closed")
  func silentWriter() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules, to: "rules.jsonl")
      // The writer's pace, and nothing that the test waits for: several times as long as one look at the source.
      try await Self.bash(
        #"for n in 1 2 3; do sleep 0.2; echo "{\"type\":\"user:signup\",\"n\":$n}"; done"#
          + #" | "$databus" route --rules rules.jsonl >results 2>errors"#,
        in: databus)
      #expect(
        try databus.read("results").objects.map { ($0["payload"] as? [String: Any])?["n"] as? Int } == [1, 2, 3])
      #expect((try databus.read("errors").objects.last?["summary"] as? [String: Any])?["events"] as? Int == 3)
    }
  }

  @Test("dead letters in a file cost no wait at the end")
  func deadLetterFile() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.rules, to: "rules.jsonl")
      // One wait for the checkpoint's interval is a second.
      var fastest = Int.max
      for _ in 0..<5 where fastest >= 800 {
        let result = try await databus.run(
          "route", "--rules", "rules.jsonl", "--dead-letters", "bad.jsonl", input: "broken\n")
        let summary = try #require(try result.errors.objects.last?["summary"] as? [String: Any])
        #expect(summary["deadLetters"] as? Int == 1)
        fastest = min(fastest, try #require(summary["milliseconds"] as? Int))
      }
      #expect(fastest < 800)
    }
  }
}
