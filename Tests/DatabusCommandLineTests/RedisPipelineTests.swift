import Foundation
import RedisServerFixture
import Testing

/// Routers whose state is in a real Redis, as processes.
@Suite("state in Redis with real processes", .serialized)
struct RedisPipelineTests {
  private func with(
    password: String?, _ settings: [String], _ body: (DatabusProcess, RedisServer) async throws -> Void
  ) async throws {
    let server = try await RedisServer(.port, settings: settings + (password.map { ["--requirepass", $0] } ?? []))
    try await DatabusProcess.with { databus in
      try databus.write(
        """
        {"pipeline": {"name": "w"}, "transports": {"local": {"type": "sqlite-log", "path": "log.db"}},
         "state": {"type": "redis", "url": "\(server.url)"\(password.map { ", \"password\": \"\($0)\"" } ?? "")}}
        """, to: "databus.json")
      try await body(databus, server)
    }
  }

  private func send(_ databus: DatabusProcess, _ users: Range<Int>) async throws {
    let lines = users.map { #"{"type": "user:signup", "data": {"userId": \#($0)}}"# }.joined(separator: "\n")
    let sent = try await databus.run("events", "send", input: lines + "\n")
    try #require(sent.code == 0, "\(sent.errors)")
  }

  private func put(_ databus: DatabusProcess, _ id: String, _ type: String) async throws {
    let rule = #"{"ruleId": "\#(id)", "events": ["\#(type)"], "destinationUrl": "https://foo.bar/\#(id)"}"#
    let put = try await databus.run("rules", "put", rule, "--wait")
    try #require(put.code == 0, "\(put.errors)")
  }

  /// The results once everything has ended: users in order, and the ids.
  private func results(_ databus: DatabusProcess) async throws -> [(user: Int, id: String)] {
    let idle = try await databus.run("status", "--wait-idle", "--timeout", "40s")
    try #require(idle.code == 0, "\(idle.errors)")
    let tail = try await databus.run("tail", "results-http", "--from-start", "--until-end", "--json")
    return try tail.output.objects.map { record in
      let value = try #require(try (record["value"] as? String)?.objects.first)
      let data = try #require((value["payload"] as? [String: Any])?["data"] as? [String: Any])
      return (try #require(data["userId"] as? Int), try #require(value["id"] as? String))
    }
  }

  private func status(_ databus: DatabusProcess) async throws -> [String: Any] {
    let status = try await databus.run("status", "--json")
    try #require(status.code == 0, "\(status.errors)")
    return try #require(try JSONSerialization.jsonObject(with: Data(status.output.utf8)) as? [String: Any])
  }

  private func processes(_ databus: DatabusProcess) async throws -> [[String: Any]] {
    try #require(try await status(databus)["processes"] as? [[String: Any]])
  }

  /// Asks until it is so; 40 s at most.
  private func eventually(_ what: String, _ isSo: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(40)
    while try await !isSo() {
      try #require(ContinuousClock.now < deadline, "never: \(what)")
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  @Test("two routers see each other, one takes over, and kills of routers and of Redis lose nothing")
  func twoRouters() async throws {
    try await with(password: "hush", ["--appendonly", "yes"]) { databus, server in
      let first = try databus.start(["run"])
      defer { first.signal(SIGKILL) }
      try await put(databus, "a", "user:signup")
      try await send(databus, 0..<10)
      #expect(try await results(databus).map(\.user) == Array(0..<10))

      let second = try databus.start(["run"])
      defer { second.signal(SIGKILL) }
      try await eventually("both are seen") {
        let all = try await processes(databus)
        return all.count == 2 && all.allSatisfy { $0["ready"] as? Bool == true && $0["rules"] as? Int == 1 }
      }
      #expect((try await status(databus)["state"] as? [String: Any])?["shared"] as? Bool == true)
      // Waits for both.
      try await put(databus, "b", "user:login")
      for process in try await processes(databus) { #expect(process["rules"] as? Int == 2) }

      first.signal(SIGKILL)
      _ = try await first.end()
      try await send(databus, 10..<20)
      #expect(Set(try await results(databus).map(\.user)) == Set(0..<20))

      try await server.kill()
      try await eventually("it is told") { (try await databus.run("status")).errors.contains("cannot be reached") }
      try await server.start()
      try await send(databus, 20..<30)
      let all = try await results(databus)
      #expect(Set(all.map(\.user)) == Set(0..<30) && Set(all.map(\.id)).count == 30)
      // However often somebody has looked: nobody was fenced.
      try await eventually("the dead one is forgotten") { try await processes(databus).count == 1 }
      #expect(try await processes(databus).first?["fenced"] as? Int == 0)

      second.signal(SIGKILL)
      _ = try await second.end()
      try await send(databus, 30..<40)
      let third = try await databus.run("run", "--until-idle")
      #expect(third.code == 0 && !third.errors.contains("first start"), "\(third.errors)")
      #expect(Set(try await results(databus).map(\.user)) == Set(0..<40))
      #expect(!third.errors.contains("hush"))
    }
  }

  @Test("Redis is emptied, then goes back to an older copy: routing goes on by itself, and rules are stored again")
  func dataLoss() async throws {
    try await with(password: nil, []) { databus, server in
      let run = try databus.start(["run"])
      defer { run.signal(SIGKILL) }
      try await put(databus, "a", "user:signup")
      try await send(databus, 0..<10)
      #expect(try await results(databus).count == 10)
      try server.cli("FLUSHALL")
      try await send(databus, 10..<20)
      #expect(Set(try await results(databus).map(\.user)) == Set(0..<20))
      try await eventually("the rule is stored again") {
        try await databus.run("rules", "list").output.contains("in force")
      }

      try await put(databus, "b", "user:login")
      let copy = try server.dump()
      try await put(databus, "c", "user:logout")
      try await send(databus, 20..<30)
      #expect(Set(try await results(databus).map(\.user)) == Set(0..<30))
      try await server.restore(copy)
      try await send(databus, 30..<40)
      let all = try await results(databus)
      #expect(Set(all.map(\.user)) == Set(0..<40) && Set(all.map(\.id)).count == 40)
      try await eventually("all rules are stored again") {
        try await databus.run("rules", "list").output.components(separatedBy: "in force").count == 4
      }
      let ended = try await run.terminate()
      #expect(ended.code == 0)
      #expect(ended.errors.contains("was emptied, or went back to an older copy"))
      #expect(ended.errors.contains("the state is another one than before"))
    }
  }
}
