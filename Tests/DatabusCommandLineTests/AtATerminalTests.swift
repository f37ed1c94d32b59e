import Foundation
import Testing

@Suite("at a terminal", .serialized)
struct AtATerminalTests {
  private static let controlD = "\u{4}"
  private static let escape = "\u{1B}["

  @Test("events are typed one a line: each is acknowledged, a blank line only asks again, Ctrl-D ends")
  func typedEvents() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      let session = try TerminalSession(["events", "send"], in: databus)
      try await session.wait("the prompt") { $0.contains("> ") }
      session.type("{\"type\": \"a\"}\n")
      try await session.wait("the acknowledgement") { $0.contains("acknowledged\r\n> ") }
      session.type("\n")
      try await session.wait("the next prompt") { $0.count(of: "> ") == 3 }
      session.type("{\"type\": \"b\"}\n")
      try await session.wait("the second acknowledgement") { $0.count(of: "acknowledged\r\n> ") == 2 }
      session.type(Self.controlD)
      #expect(try await session.end() == 0)
      #expect(session.text.hasSuffix("2 events acknowledged by events\r\n"))
    }
  }

  @Test("rules are typed one a line: a refused one is told with its reasons, and the next one is taken")
  func typedRules() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      let session = try TerminalSession(["rules", "put"], in: databus)
      try await session.wait("the prompt") { $0.contains("> ") }
      session.type("{\"ruleId\": \"a\", \"event\": [\"x\"], \"destinationUrl\": \"https://a.b\"}\n")
      try await session.wait("the refusal") { $0.contains("did you mean \"events\"?") && $0.count(of: "> ") == 2 }
      session.type("{\"ruleId\": \"a\", \"events\": [\"x\"], \"destinationUrl\": \"https://a.b\"}\n")
      try await session.wait("the acknowledgement") { $0.contains("a: acknowledged") && $0.count(of: "> ") == 3 }
      session.type(Self.controlD)
      #expect(try await session.end() == 1)
    }
  }

  @Test("route takes typed events and gives their results at once; the summary is text")
  func typedRoute() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(RouteTests.rules, to: "rules.jsonl")
      let session = try TerminalSession(["route", "--rules", "rules.jsonl"], in: databus)
      session.type("{\"type\": \"user:signup\", \"data\": 1}\n")
      try await session.wait("the result") { $0.contains("\"payload\":{\"type\": \"user:signup\", \"data\": 1}") }
      session.type(Self.controlD)
      #expect(try await session.end() == 0)
      #expect(session.text.contains("1 event by 2 rules: 1 result, 0 that no rule wanted, 0 dead letters"))
    }
  }

  @Test("route shows how far it is where results go to a file, and removes that before the summary")
  func progress() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(RouteTests.rules, to: "rules.jsonl")
      try databus.write("{\"type\": \"user:signup\"}\n", to: "events.jsonl")
      let session = try TerminalSession(
        ["route", "--rules", "rules.jsonl", "events.jsonl"], in: databus, output: "results.jsonl")
      #expect(try await session.end() == 0)
      let parts = session.text.components(separatedBy: "\r\(Self.escape)K")
      #expect(parts.count >= 3)
      #expect(parts.dropFirst().first?.contains(" events, ") == true)
      #expect(parts.last?.hasPrefix("1 event by 2 rules") == true)
      #expect(try databus.read("results.jsonl").objects.count == 1)
    }
  }

  @Test("tail is a table that fits, in colour where that is wanted", arguments: [true, false])
  func table(_ isColoured: Bool) async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", "rules.jsonl").code == 0)
      #expect(try await databus.run("events", "send", input: "{\"type\":\"subscription:created\"}\n").code == 0)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      let session = try TerminalSession(
        ["tail", "results", "--from-start", "--until-end"], in: databus, columns: 80,
        environment: isColoured ? [:] : ["NO_COLOR": "1"])
      #expect(try await session.end() == 0)
      let text = session.text
      #expect(text.contains(Self.escape) == isColoured)
      let plain = ["0", "1", "2"].reduce(text) { $0.replacingOccurrences(of: "\(Self.escape)\($1)m", with: "") }
      let lines = plain.split(separator: "\r\n")
      #expect(lines.count == 3)
      #expect(lines.first?.hasPrefix("RECORD") == true && lines.first?.contains("DESTINATION") == true)
      #expect(lines.allSatisfy { $0.count <= 80 })
      #expect(lines.dropFirst().allSatisfy { $0.contains("{\"type\":\"subscr") }, "\(plain)")
    }
  }

  @Test("run logs text, says when it is ready, and ends in order at SIGINT")
  func run() async throws {
    try await DatabusProcess.with { databus in
      try databus.useConfiguration("quickstart.json")
      #expect(try await databus.run("rules", "put", "rules.jsonl").code == 0)
      let session = try TerminalSession(["run"], in: databus)
      try await session.wait("that it is ready") { $0.contains("ready: ") && $0.contains("rules=2") }
      session.signal(SIGINT)
      try await session.wait("that it drains") { $0.contains("SIGINT: draining") }
      #expect(try await session.end() == 0)
    }
  }
}
