import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("Ended in order, and taken over")
  struct ShutdownTests {
    @Test(
      "SIGTERM under load drains and ends with 0: nothing is lost and nothing comes twice",
      arguments: [SIGTERM, SIGINT])
    func drains(_ signal: Int32) async throws {
      try await Workbench.with(.init(checkpointInterval: "10s")) { bench in
        try await bench.append(ModelRule.usual)
        // Many more than are read up to the last signal, however fast they are read.
        let count = 80_000
        let sent = try await bench.append(ModelEvent.some(count, seed: 21))
        for moment: UInt64 in [4000, 12_000, 25_000] {
          let process = try bench.start()
          try await process.wait("reading event \(moment)") { bench.gauge.read > moment }
          let open = bench.gauge.open
          process.signal(signal)
          #expect(try await process.end(within: .seconds(30)) == .exited(0), "\(process.errors)")
          #expect(bench.gauge.open == 0, "\(open) slots were open at the signal")
          // Not by having routed everything: there was more.
          #expect(bench.gauge.read < UInt64(count + 1))
        }
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
      }
    }

    @Test("The owner of the group is killed: the standby goes on at once, where the last commit was")
    func standby() async throws {
      try await Workbench.with { bench in
        try bench.configure("standby.json", state: "standby-state.db")
        try await bench.append(ModelRule.usual)
        var sent = try await bench.append(ModelEvent.some(10_000, seed: 22))
        let owner = try bench.start()
        try await owner.wait("the first results") { try await bench.end(of: Workbench.results) > 5000 }
        let standby = try bench.start(configuration: "standby.json")
        // Three renewals of the owner's lease long, the standby gets nothing.
        for round in 0..<3 {
          sent += try await bench.append(ModelEvent.some(500, from: 10_000 + round * 500, seed: 23))
          try await owner.wait("all of it by the owner") { try await bench.committed() == UInt64(sent.count + 1) }
        }
        try await standby.wait("its start") { standby.errors.contains("starts") }
        #expect(!standby.hasEnded)
        owner.signal(SIGKILL)
        #expect(try await owner.end() == .killed(signal: SIGKILL))
        let killed = ContinuousClock.now
        let before = try await bench.end(of: Workbench.results)
        sent += try await bench.append(ModelEvent.some(2000, from: 11_500, seed: 24))
        try await standby.wait("a result by the standby") { try await bench.end(of: Workbench.results) > before }
        let gap = killed.duration(to: .now)
        print("the standby's first result came \(gap) after the kill")
        #expect(gap < .seconds(3), "that is the lease's time, and not at once")
        try await standby.wait("all of it by the standby") { try await bench.committed() == UInt64(sent.count + 1) }
        standby.signal(SIGTERM)
        #expect(try await standby.end(within: .seconds(30)) == .exited(0))
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
      }
    }
  }
}
