import Foundation
import Testing

@Suite("commands beside a pipeline", .serialized)
struct OperatorTests {
  private static let rule = #"{"ruleId": "a", "events": ["*"], "destinationUrl": "https://foo.bar/baz"}"#

  @Test("a missing configuration says which places were looked at")
  func missingConfiguration() async throws {
    try await DatabusProcess.with { databus in
      for command in [["run"], ["status"], ["rules", "list"], ["tail", "events"], ["events", "send"]] {
        let result = try await databus.run(command)
        #expect(result.code == 2)
        #expect(result.errors.contains("databus.json"))
        #expect(result.errors.contains("--config FILE or $DATABUS_CONFIG"))
      }
    }
  }

  @Test("refused rules are shown with every reason, and nothing is sent")
  func refusedRules() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      try databus.write(
        Self.rule + "\n{\"ruleId\": \"b\", \"event\": [], \"destinationUrl\": \"gopher://x\"}\n", to: "r.jsonl")
      let put = try await databus.run("rules", "put", "r.jsonl")
      #expect(put.code == 1)
      #expect(put.errors.contains("r.jsonl:2: b is refused"))
      #expect(put.errors.contains("did you mean \"events\"?"))
      #expect(put.errors.contains("gopher"))
      #expect(try await databus.run("rules", "list").output.contains("There are no rules"))
      // Line by line, the valid ones are taken.
      let lines = try await databus.run("rules", "put", "-", "--json", input: try databus.read("r.jsonl"))
      #expect(lines.code == 1)
      #expect(try lines.output.objects.map { $0["acknowledged"] as? Bool }.contains(true))
      let list = try await databus.run("rules", "list", "--json")
      #expect(try list.output.objects.map { $0["ruleId"] as? String } == ["a"])
    }
  }

  @Test("rules list and get read the rule store: refused versions with reasons, and what is still in force")
  func ruleStore() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      // A rule that another program wrote past our checks.
      try databus.write(
        try databus.read("databus.json").replacingOccurrences(
          of: "\"stream\": \"events\"", with: "\"stream\": \"other\""
        )
        .replacingOccurrences(of: "\"stream\": \"rules\"", with: "\"stream\": \"events\"")
        .replacingOccurrences(of: "\"stream\": \"other\"", with: "\"stream\": \"rules\""), to: "swapped.json")
      let wrong = #"{"ruleId": "a", "events": 7, "destinationUrl": "https://foo.bar/baz"}"#
      #expect(try await databus.run("events", "send", wrong, "-c", "swapped.json").code == 0)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      let list = try await databus.run("rules", "list")
      #expect(list.output.contains("an older version is in force"))
      #expect(list.output.contains("\"events\" is a number"))
      let get = try await databus.run("rules", "get", "a")
      #expect(get.output == wrong + "\n")
      #expect(get.errors.contains("In force is still: " + Self.rule))
      let missing = try await databus.run("rules", "get", "nobody")
      #expect(missing.code == 1)
      #expect(missing.errors.contains("there is no rule \"nobody\""))
    }
  }

  @Test("a rule that nobody knows is deleted all the same, and said to be unknown")
  func unknownRule() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      // Without a rule store there is nothing to say.
      #expect(try await databus.run("rules", "delete", "b").errors.isEmpty)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      let both = try await databus.run("rules", "delete", "a", "b")
      #expect(both.code == 0)
      #expect(both.output == "a: deleted\nb: deleted\n")
      #expect(both.errors == "b: the pipeline knew no such rule; 'databus rules list' shows all\n")
    }
  }

  @Test("without a process, --wait and --wait-idle say so at their timeout")
  func timeouts() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      let put = try await databus.run("rules", "put", Self.rule, "--wait", "--timeout", "50ms")
      #expect(put.code == 1)
      #expect(put.errors.contains("no process runs this pipeline"))
      #expect(try await databus.run("events", "send", #"{"type":"x"}"#).code == 0)
      let wait = try await databus.run("status", "--wait-idle", "--timeout", "50ms")
      #expect(wait.code == 1)
      #expect(wait.errors.contains("1 event has not ended"))
      #expect(wait.errors.contains("no process runs this pipeline"))
    }
  }

  @Test("positions are set by an operator, and not while a process runs")
  func positions() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      #expect(try await databus.run("events", "send", input: "{\"type\":\"x\"}\n{\"type\":\"y\"}\n").code == 0)
      let run = try databus.start(["run"])
      let idle = try await databus.run("status", "--wait-idle")
      try #require(idle.code == 0, "\(idle.errors)")
      let refused = try await databus.run("positions", "set", "0", "earliest")
      #expect(refused.code == 1)
      #expect(refused.errors.contains("process \(run.processID)"))
      #expect(try await run.terminate().code == 0)
      func ids() async throws -> [String] {
        try await databus.run("tail", "results", "--from-start", "--until-end", "--json").output.objects.map {
          try #require(try ($0["value"] as? String)?.objects.first?["id"] as? String)
        }
      }
      let before = try await ids()
      try #require(before.count == 2)
      #expect(try await databus.run("positions", "set", "0", "99").code == 2)
      #expect(try await databus.run("positions", "set", "0", "2").code == 0)
      let shown = try await databus.run("positions", "show", "--json")
      let list = try #require(try JSONSerialization.jsonObject(with: Data(shown.output.utf8)) as? [[String: Any]])
      #expect(list.first?["position"] as? Int == 2)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      #expect(try await ids() == before + [before[1]])
    }
  }

  /// Events and results in files, state in SQLite: the transport keeps no commits and no identities of its own.
  private static let files = """
    {"pipeline": {"name": "f"},
     "transports": {"files": {"type": "file", "path": "."}},
     "state": {"type": "sqlite", "path": "state.db"}}
    """

  @Test("a file keeps its identity over a restart, and its position is kept and set in the state")
  func fileIdentity() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.files, to: "databus.json")
      try databus.write(Self.rule + "\n", to: "rules.jsonl")
      try databus.write("{\"type\":\"x\",\"n\":1}\n", to: "events.jsonl")
      func results() throws -> [[String: Any]] { try databus.read("results-http.jsonl").objects }
      let first = try await databus.run("run")
      #expect(first.code == 0, "\(first.errors)")
      #expect(try results().count == 1)
      try databus.append("{\"type\":\"x\",\"n\":2}\n", to: "events.jsonl")
      #expect(try await databus.run("run").code == 0)
      #expect(try results().map { ($0["payload"] as? [String: Any])?["n"] as? Int } == [1, 2])
      #expect(try await databus.run("positions", "set", "0", "earliest").code == 0)
      #expect(try await databus.run("run").code == 0)
      let ids = try results().map { $0["id"] as? String }
      #expect(ids.count == 4)
      #expect(Array(ids[2...]) == Array(ids[..<2]))
    }
  }

  @Test("tail shows keys, headers, timestamps and values; a stream that nobody has is told apart")
  func tail() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("events", "send", "--key", "k", input: "not json\n{\"type\":\"x\"}\n").code == 0)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      let events = try await databus.run("tail", "events", "--from-start", "--until-end", "--json", "--limit", "1")
      let record = try #require(try events.output.objects.first)
      #expect(try events.output.objects.count == 1)
      #expect(record["key"] as? String == "k")
      #expect(record["value"] as? String == "not json")
      #expect(record["position"] as? Int == 1)
      #expect(record["timestamp"] is Int)
      let letters = try await databus.run("tail", "dead-letters", "--from-start", "--until-end")
      #expect(letters.output.contains("not_json"))
      #expect(letters.output.contains("events/0/1"))
      let missing = try await databus.run("tail", "result-http")
      #expect(missing.code == 2)
      #expect(missing.errors.contains("did you mean \"results-http\"?"))
      let topics = try await databus.run("topics", "list", "--json")
      #expect(
        try topics.output.objects.map { $0["name"] as? String }
          == ["events", "quickstart-dead-letters", "results-http", "rules"])
    }
  }
}
