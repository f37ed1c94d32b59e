import RawHTTPClient
import RedisServerFixture
import SQLiteClient
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("What a dispatcher rests on goes away")
  struct DispatchOutageTests {
    /// Waits until so many different deliveries have been acknowledged.
    static func wait(_ process: DatabusProcess, _ desk: DispatchBench, acknowledged count: Int) async throws {
      try await process.wait("\(count) deliveries", within: .seconds(60)) {
        Set(try desk.receiver.arrivals().filter(\.isAcknowledged).map(\.id)).count >= count
      }
    }

    @Test("Redis is killed: nothing is sent until it is back, and then all of it")
    func redisDown() async throws {
      try await DispatchBench.with(.redis) { desk in
        let redis = try #require(desk.redis)
        try await desk.send(0..<20)
        let process = try desk.start()
        try await Self.wait(process, desk, acknowledged: 20)
        try await process.wait("a commit") { try await desk.committed() == 21 }
        try await redis.kill()
        try await desk.send(20..<40)
        try await process.wait("the complaint") { process.errors.contains("nothing is sent until it answers") }
        #expect(try desk.receiver.arrivals().count == 20)
        #expect(try await desk.committed() == 21)
        // It has kept nothing: what is remembered is gone, and what has not been sent is sent all the same.
        try await redis.start()
        try await Self.wait(process, desk, acknowledged: 40)
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
        let report = desk.checker(0..<40).check(try desk.receiver.arrivals())
        #expect(report.isClean && report.repeats == 0, "\(report.summary)")
        #expect(try await desk.committed() == desk.end())
      }
    }

    @Test("Redis is stopped and goes on, again and again: no delivery is counted twice, and none is stuck")
    func redisSlow() async throws {
      var options = DispatchBench.Options()
      options.retry = ["inMemory": "2s", "tiers": ["3s"]]
      try await DispatchBench.with(.redis, options) { desk in
        let redis = try #require(desk.redis)
        try await desk.send(0..<300) { "d\($0 % 4)?hang=5ms" }
        let process = try desk.start()
        for step in 1...3 {
          try await Self.wait(process, desk, acknowledged: step * 60)
          redis.pause()
          // Longer than a call may take.
          try await Task.sleep(for: .milliseconds(800))
          redis.resume()
        }
        try await Self.wait(process, desk, acknowledged: 300)
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
        try await desk.finish()
        let report = desk.checker(0..<300).check(try desk.receiver.arrivals())
        #expect(report.isClean && report.repeats == 0, "\(report.summary)")
      }
    }

    @Test("Redis is emptied under load: repeats only of what came again from the stream, and nothing is lost")
    func redisEmptied() async throws {
      try await DispatchBench.with(.redis, .init(checkpointInterval: "20ms")) { desk in
        let redis = try #require(desk.redis)
        try await desk.send(0..<300) { "d\($0 % 4)?hang=5ms" }
        let process = try desk.start()
        try await Self.wait(process, desk, acknowledged: 100)
        _ = try redis.cli("FLUSHALL")
        try await Self.wait(process, desk, acknowledged: 200)
        process.signal(SIGKILL)
        _ = try await process.end()
        let crash = Disturbance()
        _ = try redis.cli("FLUSHALL")
        try await desk.finish()
        let report = desk.checker(0..<300, [crash]).check(try desk.receiver.arrivals())
        // A window of one second before the kill holds all that no checkpoint had passed.
        #expect(report.violations["lost"] == nil, "\(report.summary)")
        #expect(report.violations["with another id"] == nil)
      }
    }

    @Test("The store's answers are lost: what was done is not done again, and nothing is stuck")
    func lostAnswers() async throws {
      final class Proxies: @unchecked Sendable { var proxy: CuttingProxy? }
      let proxies = Proxies()
      var options = DispatchBench.Options()
      options.retry = ["attempts": 2]
      options.redisURL = { server in
        let proxy = try CuttingProxy(server)
        proxies.proxy = proxy
        return proxy.url
      }
      try await DispatchBench.with(.redis, options) { desk in
        let proxy = try #require(proxies.proxy)
        // Half of them need their second attempt, which is the last.
        try await desk.send(0..<200) { $0 % 2 == 0 ? "a?hang=5ms" : "b?fail=1" }
        let process = try desk.start()
        for step in 1...15 {
          try await Self.wait(process, desk, acknowledged: step * 10)
          proxy.loseAnswers(1)
        }
        try await Self.wait(process, desk, acknowledged: 200)
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
        try await desk.finish()
        let report = desk.checker(0..<200).check(try desk.receiver.arrivals())
        #expect(report.isClean && report.repeats == 0, "\(report.summary)")
        #expect(report.arrivals == 300)
        #expect(try await desk.deadLetters().isEmpty)
        proxy.stop()
      }
    }

    @Test("The dead-letter stream is away: positions are held, the dispatcher is not ready; then the letters are there")
    func deadLetters() async throws {
      var options = DispatchBench.Options()
      options.members = ["deadLetters": ["transport": "letters", "stream": "letters"]]
      options.pipelineSections = [
        "admin": ["port": 0],
        "transports": [
          "local": ["type": "sqlite-log", "path": "log.db"], "letters": ["type": "sqlite-log", "path": "letters.db"],
        ],
      ]
      try await DispatchBench.with(.sqlite, options) { desk in
        let process = try desk.start()
        try await desk.send(0..<1)
        try await process.wait("a commit") { try await desk.committed() == 2 }
        let port = try #require(Self.adminPort(process.errors))
        try await process.wait("readiness") { try await Self.ready(port) == 200 }
        let blocker = try SQLiteConnection(path: desk.bench.folder + "/letters.db", access: .readWrite)
        try blocker.execute("BEGIN IMMEDIATE")
        try await desk.send(1..<6) { _ in "no?status=400" }
        try await process.wait("the dispatcher not being ready", within: .seconds(60)) {
          try await Self.ready(port) == 503
        }
        #expect(try await desk.committed() == 2)
        try blocker.execute("ROLLBACK")
        try await process.wait("a commit of all") { try await desk.committed() == 7 }
        try await process.wait("readiness again") { try await Self.ready(port) == 200 }
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
        #expect(try desk.receiver.arrivals().count == 6, "each was sent once")
      }
    }

    static func adminPort(_ errors: String) -> Int? {
      guard let line = errors.split(separator: "\n").first(where: { $0.contains("health and metrics are served") }),
        let range = line.range(of: "127.0.0.1:")
      else { return nil }
      return Int(line[range.upperBound...].prefix { $0.isNumber })
    }

    static func ready(_ port: Int) async throws -> Int? {
      let answer = try await RawClient.ask(port, "GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      return Int(answer.dropFirst("HTTP/1.1 ".count).prefix(3))
    }
  }
}
