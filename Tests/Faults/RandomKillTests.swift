import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("Killed at random moments")
  struct RandomKillTests {
    static let seed: UInt64 = 20_261_123
    static let events = 200_000
    static let kills = 20

    /// A round is the whole run: events come at a pace that makes it last more than 10 seconds, and the 20 moments are drawn from
    /// it. Each is a random place in the stream of events, and a random time of up to 15 ms after the process got there; where all
    /// is quiet then, between two bursts, it is the next moment at which work is in flight.
    @Test("20 kills in 200,000 events: every result at least once, repeats with the same id and bytes")
    func twentyKills() async throws {
      var random = SeededGenerator(seed: Self.seed)
      let moments = (0..<Self.kills).map { _ in UInt64.random(in: 2000..<UInt64(Self.events), using: &random) }.sorted()
      let delays = (0..<Self.kills).map { _ in Int.random(in: 0..<15_000, using: &random) }
      print("random kills: seed \(Self.seed), at events \(moments)")
      try await Workbench.with(.init(checkpointInterval: "100ms", limits: ["batchRecords": 500])) { bench in
        try await bench.append(ModelRule.usual)
        let start = ContinuousClock.now
        let all = ModelEvent.some(Self.events, seed: Self.seed)
        async let appending = Self.append(all, bench, over: .seconds(11))
        var kills: [Kill] = []
        for (moment, delay) in zip(moments, delays) {
          let process = try bench.start()
          try await process.wait("reading event \(moment)") { bench.gauge.read > moment }
          if delay > 0 { try await Task.sleep(for: .microseconds(delay)) }
          try await process.wait("work in flight, or the end of the events") {
            bench.gauge.open > 0 || bench.gauge.read > UInt64(Self.events)
          }
          process.signal(SIGKILL)
          #expect(try await process.end() == .killed(signal: SIGKILL))
          kills.append(try await Kill(bench))
        }
        let sent = try await appending
        try await bench.finish()
        let duration = start.duration(to: .now)
        let report = try await Kill.check(bench, sent, kills, isPrinted: true)
        print("  in \(duration): \(report.summary)")
        #expect(report.isClean, "\(report.summary)")
        #expect(sent.count == Self.events)
        #expect(duration >= .seconds(10), "the round was too short to say something")
        let loaded = kills.count { $0.open > 0 }
        #expect(loaded >= 15, "only \(loaded) of \(kills.count) kills found open slots")
        #expect(report.repeats > 0, "no kill made a repeat: work was never in flight")
      }
    }

    /// Appends in bursts, spread evenly over a time.
    private static func append(
      _ events: [ModelEvent], _ bench: Workbench, over time: Duration
    ) async throws -> [SentEvent] {
      let start = ContinuousClock.now
      let chunk = 8000
      var sent: [SentEvent] = []
      for first in stride(from: 0, to: events.count, by: chunk) {
        sent += try await bench.append(Array(events[first..<min(first + chunk, events.count)]))
        // This is the pace, not a wait for something.
        try await Task.sleep(until: start + time * (Double(sent.count) / Double(events.count)), clock: .continuous)
      }
      return sent
    }
  }
}
