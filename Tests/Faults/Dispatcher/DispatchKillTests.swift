import SQLiteClient
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("A dispatcher that is killed, stopped or ended under load")
  struct DispatchKillTests {
    static let seed: UInt64 = 20_261_125

    @Test("20 kills at random moments: each at least once, and again only what was in flight")
    func twentyKills() async throws {
      try await DispatchBench.with(.redis, .init(delivery: ["concurrency": 16])) { desk in
        var random = SeededGenerator(seed: Self.seed)
        let count = 3000
        // Each takes its time, so that something is in flight at every moment.
        try await desk.send(0..<count) { "d\($0 % 4)?hang=20ms" }
        var kills: [Disturbance] = []
        for number in 1...20 {
          let process = try desk.start()
          let target = count * number / 22 + Int.random(in: 0..<30, using: &random)
          try await process.wait("arrival \(target)") { try desk.receiver.arrivals().count >= target }
          process.signal(SIGKILL)
          #expect(try await process.end() == .killed(signal: SIGKILL))
          kills.append(Disturbance())
        }
        try await desk.finish()
        var checker = desk.checker(0..<count, kills)
        // 64 attempts, and as many whose ends are on their way to the store.
        checker.inFlight = 128
        let report = checker.check(try desk.receiver.arrivals())
        print("20 kills, seed \(Self.seed): \(report.summary), the oldest \(report.oldestRepeat) ms before its kill")
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats > 0, "no kill found anything in flight")
        #expect(try await desk.committed() == desk.end())
        #expect(try await desk.deadLetters().isEmpty)
      }
    }

    @Test("SIGTERM under load: it drains, and nothing comes twice", arguments: DispatchBench.Store.allCases)
    func termination(_ store: DispatchBench.Store) async throws {
      try await DispatchBench.with(store) { desk in
        try await desk.send(0..<400) { "d\($0 % 4)?hang=20ms" }
        for target in [50, 150, 250] {
          let process = try desk.start()
          try await process.wait("arrival \(target)") { try desk.receiver.arrivals().count >= target }
          process.signal(SIGTERM)
          #expect(try await process.end(within: .seconds(30)) == .exited(0))
          #expect(try desk.receiver.arrivals().count < 400, "there was nothing left to drain")
        }
        try await desk.finish()
        let report = desk.checker(0..<400).check(try desk.receiver.arrivals())
        #expect(report.isClean && report.repeats == 0, "\(report.summary)")
      }
    }

    @Test("The same results again while they are remembered: nothing is sent; once they are forgotten: all of it")
    func redelivery() async throws {
      try await DispatchBench.with { desk in
        try await desk.send(0..<50)
        try await desk.finish()
        try await desk.send(0..<50)
        try await desk.finish()
        #expect(try desk.receiver.arrivals().count == 50)
        // The time of a whole `ttl` passes.
        do {
          let file = try SQLiteConnection(path: desk.bench.folder + "/deduplication.db", access: .readWrite)
          try file.execute("UPDATE deliveries SET expiry = 1")
        }
        try await desk.send(0..<50)
        try await desk.finish()
        #expect(try desk.receiver.arrivals().count == 100)
      }
    }
  }
}
