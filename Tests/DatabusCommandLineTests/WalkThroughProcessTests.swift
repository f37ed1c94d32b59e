import Foundation
import Testing

@Suite("the walk-through with real processes", .serialized)
struct WalkThroughProcessTests {
  static let events = """
    {"type": "user:signup", "data": {"userId": 123}}
    {"type": "user:login", "data": {"userId": 123}}
    {"type": "user:signup", "data": {"userId": 999}}
    {"type": "subscription:created", "data": {"userId": 123, "subscriptionId": 11}}
    {"type": "user:signup", "data": {"userId": 456}}
    {"type": "user:signup", "data": {"userId": 789}}
    {"type": "user:login", "data": {"userId": 456}}
    {"type": "user:signup", "data": {"userId": 789}}
    {"type": "subscription:created", "data": {"userId": 456, "subscriptionId": 66}}
    {"type": "user:login", "data": {"userId": 789}}
    {"type": "subscription:created", "data": {"userId": 789, "subscriptionId": 33}}

    """
  static let ruleA =
    #"{"ruleId": "rule_a", "events": ["user:signup", "subscription:created"], "destinationUrl": "https://foo.bar/baz", "transforms": [], "filters": []}"#
  static let ruleB =
    #"{"ruleId": "rule_b", "events": ["subscription:created"], "destinationUrl": "https://themoney.com/hook", "transforms": [], "filters": []}"#

  private func results(_ databus: DatabusProcess) async throws -> [(destination: String, type: String)] {
    let idle = try await databus.run("status", "--wait-idle")
    try #require(idle.code == 0, "\(idle.errors)")
    let tail = try await databus.run("tail", "results-http", "--from-start", "--until-end", "--json")
    #expect(tail.code == 0)
    return try tail.output.objects.map { record in
      let value = try #require(try (record["value"] as? String)?.objects.first)
      let payload = try #require(value["payload"] as? [String: Any])
      return (try #require(value["destination"] as? String), try #require(payload["type"] as? String))
    }
  }

  private func put(_ databus: DatabusProcess, _ rule: String) async throws {
    let put = try await databus.run("rules", "put", rule, "--wait")
    try #require(put.code == 0, "\(put.errors)")
  }

  private func send(_ databus: DatabusProcess, _ type: String) async throws {
    #expect(try await databus.run("events", "send", #"{"type": "\#(type)", "data": {"userId": 1}}"#).code == 0)
  }

  @Test("run, rules put, events send, tail results-http: what the rules say, before and after each change")
  func walkThrough() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      let run = try databus.start(["run"])
      defer { run.signal(SIGKILL) }
      let live = try databus.start(["tail", "results-http", "--from-start", "--json"])
      defer { live.signal(SIGKILL) }

      try await send(databus, "user:signup")
      #expect(try await results(databus).isEmpty)

      try await put(databus, Self.ruleA)
      try await put(databus, Self.ruleB)
      let sent = try await databus.run("events", "send", "--json", input: Self.events)
      #expect(try sent.output.objects.first?["acknowledged"] as? Int == 11)
      var all = try await results(databus)
      #expect(all.count == 11)
      #expect(all.filter { $0.destination == "https://foo.bar/baz" && $0.type == "user:signup" }.count == 5)
      #expect(all.filter { $0.destination == "https://foo.bar/baz" && $0.type == "subscription:created" }.count == 3)
      #expect(
        all.filter { $0.destination == "https://themoney.com/hook" && $0.type == "subscription:created" }.count == 3)

      try await put(
        databus, Self.ruleA.replacingOccurrences(of: #""user:signup","#, with: #""user:signup", "user:login","#))
      try await send(databus, "user:login")
      all = try await results(databus)
      #expect(all.count == 12)
      #expect(all.last?.type == "user:login")

      try await put(databus, Self.ruleA.replacingOccurrences(of: #", "subscription:created""#, with: ""))
      try await send(databus, "subscription:created")
      all = try await results(databus)
      #expect(all.count == 13)
      #expect(all.last?.destination == "https://themoney.com/hook")

      #expect(try await databus.run("rules", "delete", "rule_b", "--wait").code == 0)
      try await send(databus, "subscription:created")
      #expect(try await results(databus).count == 13)

      try await put(databus, Self.ruleB)
      try await send(databus, "subscription:created")
      #expect(try await results(databus).count == 14)

      try await put(databus, #"{"ruleId": "rule_b", "deleted": true}"#)
      try await send(databus, "subscription:created")
      #expect(try await results(databus).count == 14)

      let shown = try await live.waitForOutput { $0.split(separator: "\n").count >= 14 }
      #expect(shown.split(separator: "\n").count == 14)
      #expect(
        shown.hasPrefix(#"{"stream":"results-http","partition":0,"position":1,"key":null,"headers":[],"timestamp":"#))
      #expect(try await live.terminate().code == 0)

      let ended = try await run.terminate()
      #expect(ended.code == 0)
      #expect(ended.errors.contains("first start: events are read from the earliest record"))
    }
  }

  @Test("SIGTERM writes a checkpoint: the next start reads nothing again, and the rules are there")
  func restart() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      let first = try databus.start(["run"])
      try await put(databus, Self.ruleA)
      try await send(databus, "user:signup")
      #expect(try await results(databus).count == 1)
      #expect(try await first.terminate().code == 0)
      try await send(databus, "user:signup")
      let second = try await databus.run("run", "--until-idle")
      #expect(second.code == 0)
      #expect(second.errors.contains("\"events\":1"))
      #expect(!second.errors.contains("first start"))
      #expect(try await results(databus).count == 2)
    }
  }

  @Test("a second pipeline on one state file ends at once and names the holder")
  func secondProcess() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      let first = try databus.start(["run"])
      defer { first.signal(SIGKILL) }
      try await put(databus, Self.ruleA)
      let second = try await databus.run("run", "--until-idle")
      #expect(second.code == 1)
      #expect(second.errors.contains("process \(first.processID)"))
      #expect(try await first.terminate().code == 0)
    }
  }

  @Test("Configs/stdin-stdout.json routes standard input to standard output and ends with it")
  func standardStreams() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("stdin-stdout.json")
      let result = try await databus.run("run", input: Self.events + "not json\n")
      #expect(result.code == 0)
      #expect(result.lines.count == 11)
      #expect(result.errors.contains("\"reason\":\"not_json\""))
    }
  }
}
