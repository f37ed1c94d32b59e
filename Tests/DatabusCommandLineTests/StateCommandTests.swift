import Foundation
import RedisServerFixture
import Testing

/// The state moves from one backend to another, and the pipeline goes on as if it had not.
@Suite("state export and import", .serialized)
struct StateCommandTests {
  private static let rule = #"{"ruleId": "a", "events": ["x"], "destinationUrl": "https://foo.bar/baz"}"#

  private func configuration(_ state: String, name: String = "p") -> String {
    """
    {"pipeline": {"name": "\(name)"}, "transports": {"local": {"type": "sqlite-log", "path": "log.db"}}, "state": \(state)}
    """
  }

  private func lines(_ numbers: ClosedRange<Int>) -> String {
    numbers.map { "{\"type\":\"x\",\"n\":\($0)}\n" }.joined()
  }

  private func results(_ databus: DatabusProcess, _ configuration: String) async throws -> [Int] {
    let tail = try await databus.run(
      "tail", "results", "--from-start", "--until-end", "--json", "--config", configuration)
    return try tail.output.objects.compactMap {
      let result = try ($0["value"] as? String)?.objects.first
      return (result?["payload"] as? [String: Any])?["n"] as? Int
    }
  }

  private func export(_ databus: DatabusProcess, _ configuration: String, to file: String) async throws {
    let result = try await databus.run("state", "export", "--config", configuration)
    #expect(result.code == 0, "\(result.errors)")
    #expect(result.errors.contains("1 partition written"))
    try databus.write(result.output, to: file)
  }

  private func send(_ databus: DatabusProcess, _ numbers: ClosedRange<Int>) async throws {
    #expect(try await databus.run("events", "send", "--config", "sqlite.json", input: lines(numbers)).code == 0)
  }

  private func run(_ databus: DatabusProcess, _ configuration: String) async throws -> String {
    let result = try await databus.run("run", "--until-idle", "--config", configuration)
    #expect(result.code == 0, "\(result.errors)")
    return result.errors
  }

  @Test("from SQLite to Redis and back: no event comes twice, no rule is lost")
  func thereAndBack() async throws {
    let server = try await RedisServer(.port)
    try await DatabusProcess.with { databus in
      try databus.write(configuration(#"{"type": "sqlite", "path": "state.db"}"#), to: "sqlite.json")
      try databus.write(configuration(#"{"type": "redis", "url": "\#(server.url)"}"#), to: "redis.json")
      #expect(try await databus.run("rules", "put", Self.rule, "--config", "sqlite.json").code == 0)
      try await send(databus, 1...5)
      _ = try await run(databus, "sqlite.json")
      try await export(databus, "sqlite.json", to: "state.jsonl")

      try await send(databus, 6...7)
      let imported = try await databus.run("state", "import", "state.jsonl", "--config", "redis.json")
      #expect(imported.code == 0, "\(imported.errors)")
      #expect(imported.output.contains("1 partition imported"))
      let log = try await run(databus, "redis.json")
      #expect(!log.contains("\"level\":\"error\""), "\(log)")
      #expect(try await results(databus, "redis.json") == Array(1...7))
      let list = try await databus.run("rules", "list", "--json", "--config", "redis.json")
      #expect(try list.output.objects.map { $0["ruleId"] as? String } == ["a"])

      // And back: what is there by now is old, and is not replaced by mistake.
      try await export(databus, "redis.json", to: "back.jsonl")
      try await send(databus, 8...8)
      let refused = try await databus.run("state", "import", "back.jsonl", "--config", "sqlite.json")
      #expect(refused.code == 1)
      #expect(refused.errors.contains("the state is not empty"))
      let forced = try await databus.run("state", "import", "back.jsonl", "--force", "--config", "sqlite.json")
      #expect(forced.code == 0, "\(forced.errors)")
      _ = try await run(databus, "sqlite.json")
      #expect(try await results(databus, "sqlite.json") == Array(1...8))
    }
  }

  @Test("where the old state's last commit had failed, the commit is moved to the position")
  func commitBehind() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(configuration(#"{"type": "sqlite", "path": "state.db"}"#), to: "sqlite.json")
      try databus.write(configuration(#"{"type": "sqlite", "path": "other.db"}"#), to: "other.json")
      #expect(try await databus.run("rules", "put", Self.rule, "--config", "sqlite.json").code == 0)
      try await send(databus, 1...5)
      _ = try await run(databus, "sqlite.json")
      try databus.python(
        "import sqlite3; c = sqlite3.connect('log.db'); c.execute('UPDATE positions SET position = 3'); c.commit()")
      try await export(databus, "sqlite.json", to: "state.jsonl")
      let imported = try await databus.run("state", "import", "state.jsonl", "--config", "other.json")
      #expect(imported.code == 0, "\(imported.errors)")
      #expect(imported.output.contains("events/0: the commit was moved to 6"))
      _ = try await run(databus, "other.json")
      #expect(try await results(databus, "other.json") == Array(1...5))
    }
  }

  @Test("a file keeps its identity in another backend, where the transport keeps no commits")
  func files() async throws {
    try await DatabusProcess.with { databus in
      func files(_ state: String) -> String {
        """
        {"pipeline": {"name": "f", "events": {"start": "latest"}},
         "transports": {"files": {"type": "file", "path": "."}}, "state": {"type": "sqlite", "path": "\(state)"}}
        """
      }
      try databus.write(files("a.db"), to: "a.json")
      try databus.write(files("b.db"), to: "b.json")
      try databus.write(Self.rule + "\n", to: "rules.jsonl")
      try databus.write("", to: "events.jsonl")
      #expect(try await databus.run("run", "--config", "a.json").code == 0)
      try databus.append(lines(1...2), to: "events.jsonl")
      #expect(try await databus.run("run", "--config", "a.json").code == 0)
      try await export(databus, "a.json", to: "state.jsonl")
      #expect(try await databus.run("state", "import", "state.jsonl", "--config", "b.json").code == 0)
      try databus.append(lines(3...4), to: "events.jsonl")
      #expect(try await databus.run("run", "--config", "b.json").code == 0)
      let results = try databus.read("results-http.jsonl").objects
      #expect(results.map { ($0["payload"] as? [String: Any])?["n"] as? Int } == [1, 2, 3, 4])
    }
  }

  @Test("it is exported beside a process that runs, and not imported there")
  func running() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(configuration(#"{"type": "sqlite", "path": "state.db"}"#), to: "sqlite.json")
      #expect(try await databus.run("rules", "put", Self.rule, "--config", "sqlite.json").code == 0)
      let process = try databus.start(["run", "--config", "sqlite.json"])
      defer { process.signal(SIGKILL) }
      try await send(databus, 1...3)
      #expect(try await databus.run("status", "--wait-idle", "--config", "sqlite.json").code == 0)
      try await export(databus, "sqlite.json", to: "state.jsonl")
      #expect(!(try databus.read("state.jsonl").contains("\"key\": \"cHJlc2VuY2Uv")), "who runs is no state")
      let refused = try await databus.run("state", "import", "state.jsonl", "--force", "--config", "sqlite.json")
      #expect(refused.code == 1)
      #expect(refused.errors.contains("process \(process.processID)"))
      #expect(try await process.terminate().code == 0)
    }
  }

  @Test("what is not whole, another pipeline's or no state at all is refused before anything is written")
  func refused() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(configuration(#"{"type": "sqlite", "path": "state.db"}"#), to: "sqlite.json")
      try databus.write(configuration(#"{"type": "sqlite", "path": "state.db"}"#, name: "q"), to: "other.json")
      try databus.write(configuration(#"{"type": "memory"}"#), to: "memory.json")
      #expect(try await databus.run("rules", "put", Self.rule, "--config", "sqlite.json").code == 0)
      try await send(databus, 1...1)
      _ = try await run(databus, "sqlite.json")
      try await export(databus, "sqlite.json", to: "state.jsonl")
      let text = try databus.read("state.jsonl")
      try databus.write(text.split(separator: "\n").dropLast().joined(separator: "\n") + "\n", to: "cut.jsonl")
      try databus.write("{\"type\": \"user:signup\"}\n", to: "events.jsonl")
      func refuse(_ file: String, _ configuration: String, _ message: String) async throws {
        let result = try await databus.run("state", "import", file, "--force", "--config", configuration)
        #expect(result.code != 0)
        #expect(result.errors.contains(message), "\(result.errors)")
      }
      try await refuse("cut.jsonl", "sqlite.json", "its last line, with the numbers of scopes and entries, is missing")
      try await refuse("events.jsonl", "sqlite.json", "events.jsonl:1: this is no state")
      try await refuse("missing.jsonl", "sqlite.json", "missing.jsonl cannot be read")
      try await refuse("state.jsonl", "other.json", "the state of the pipeline \"p\"")
      try await refuse("state.jsonl", "memory.json", "ends with its process")
      #expect(try await databus.run("state", "export", "--config", "memory.json").code == 2)
      // Nothing was changed by all that.
      let after = try await databus.run("state", "export", "--config", "sqlite.json").output
      #expect(after.split(separator: "\n").dropFirst() == text.split(separator: "\n").dropFirst())
    }
  }
}
