import Foundation
import KafkaFixture
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite(
    "Dispatchers on one Kafka and one Redis",
    .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  struct DispatchKafkaTests {
    /// Ends dispatchers in order and looks at what has come.
    private func finish(
      _ cluster: DispatchCluster, _ load: NumberedLoad, _ processes: [DatabusProcess],
      _ disturbances: [Disturbance] = []
    ) async throws -> ArrivalReport {
      let sent = try await load.stop()
      try await cluster.complete(sent)
      for process in processes {
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0), "\(process.errors.suffix(500))")
      }
      let report = try cluster.check(sent, disturbances)
      print("  \(sent) deliveries, \(report.summary), the oldest \(report.oldestRepeat) ms before its cause")
      #expect(report.isClean, "\(report.summary)")
      let letters = try cluster.bench.consumer(DispatchCluster.deadLetters(cluster.bench)).read()
      #expect(letters.isEmpty, "\(letters.first?.headers ?? [:])")
      return report
    }

    @Test("Every result twice, in different partitions, read by two dispatchers: each arrives once")
    func duplicates() async throws {
      try await DispatchCluster.with { cluster in
        let load = try NumberedLoad.results(cluster, perSecond: 200, copies: 2)
        let processes = [try cluster.dispatch(10), try cluster.dispatch(11)]
        try await cluster.goOn(processes[0], by: 600)
        let report = try await finish(cluster, load, processes)
        #expect(report.repeats == 0)
      }
    }

    @Test("Dispatchers come and go, in order, under load: nothing is lost, and nothing comes twice")
    func storm() async throws {
      try await DispatchCluster.with { cluster in
        let load = try NumberedLoad.results(cluster, perSecond: 200)
        let first = try cluster.dispatch(10)
        try await cluster.goOn(first)
        for step in 1...6 {
          let other = try cluster.dispatch(10 + step)
          try await cluster.goOn(other, by: 120)
          other.signal(SIGTERM)
          #expect(try await other.end() == .exited(0))
          try await cluster.goOn(first, by: 60)
        }
        let report = try await finish(cluster, load, [first])
        #expect(report.repeats == 0)
      }
    }

    @Test(
      "Killed at a named place: another one delivers what it had, and again only what was in flight",
      arguments: [
        "before-claim:60", "claimed-and-not-sent:60", "sent-and-not-judged:60", "delivered-and-not-settled:60",
        "settled-and-not-passed:60",
      ])
    func crashPoints(_ place: String) async throws {
      try await DispatchCluster.with { cluster in
        let load = try NumberedLoad.results(cluster, perSecond: 200)
        let doomed = try cluster.dispatch(10, crash: place)
        #expect(try await doomed.end() == .killed(signal: SIGKILL), "\(place) did not fire")
        let crash = Disturbance()
        #expect(doomed.errors.contains("crash point \(place.prefix { $0 != ":" }) reached"))
        let heir = try cluster.dispatch(11)
        try await cluster.goOn(heir)
        // What was claimed waits for its lease in a retry stream, and may come again after this.
        _ = try await finish(cluster, load, [heir], [crash])
      }
    }

    @Test("Stopped past its session and its leases, and resumed: one extra request at most for what was in flight")
    func stopped() async throws {
      try await DispatchCluster.with(.init(delivery: ["timeout": "2s"])) { cluster in
        let load = try NumberedLoad.results(cluster, perSecond: 100, query: "hang=200ms")
        let (first, second) = (try cluster.dispatch(10), try cluster.dispatch(11))
        try await cluster.goOn(first)
        var stop = Disturbance()
        first.signal(SIGSTOP)
        // Its session ends after 3 s, its leases after 7.
        try await Task.sleep(for: .seconds(9))
        stop.to = Disturbance.now
        first.signal(SIGCONT)
        try await cluster.goOn(second, by: 200)
        _ = try await finish(cluster, load, [first, second], [stop])
      }
    }

    @Test("The broker is killed under load, and comes back: nothing is lost, and nothing comes twice")
    func broker() async throws {
      let kafka = try await KafkaCluster.start()
      defer { kafka.remove() }
      try await DispatchCluster.with(.init(cluster: kafka)) { cluster in
        let load = try NumberedLoad.results(cluster, perSecond: 100)
        let process = try cluster.dispatch(10)
        try await cluster.goOn(process)
        kafka.kill()
        try await kafka.resume()
        try await cluster.goOn(process)
        let report = try await finish(cluster, load, [process])
        #expect(report.repeats == 0)
      }
    }
  }

  @Suite(
    "A router and two dispatchers, disturbed at random",
    .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  struct DispatchChaosTests {
    /// For how long: `DATABUS_FAULTS_SECONDS`, otherwise 30.
    static let seconds = ProcessInfo.processInfo.environment["DATABUS_FAULTS_SECONDS"].flatMap { Int($0) } ?? 30
    static let seed: UInt64 = 20_261_125

    @Test("Killed, stopped past session and lease, and ended: nothing is lost, and again comes only what was in flight")
    func chaos() async throws {
      try await DispatchCluster.with { cluster in
        var random = SeededGenerator(seed: Self.seed)
        try cluster.putRules()
        let load = try NumberedLoad.events(cluster, perSecond: 200)
        var router = try cluster.bench.start(0)
        var dispatchers = [try cluster.dispatch(10), try cluster.dispatch(11)]
        var next = 12
        try await cluster.goOn(dispatchers[0])
        var disturbances: [Disturbance] = []
        var counts: [String: Int] = [:]
        let deadline = ContinuousClock.now + .seconds(Self.seconds)
        while ContinuousClock.now < deadline {
          try await Task.sleep(for: .milliseconds(Int.random(in: 500..<3000, using: &random)))
          let place = Int.random(in: 0..<2, using: &random)
          let kind = ["kill", "kill", "stop", "end", "kill router", "stop router"][
            Int.random(in: 0..<6, using: &random)]
          counts[kind, default: 0] += 1
          switch kind {
          case "kill":
            dispatchers[place].signal(SIGKILL)
            _ = try await dispatchers[place].end()
            disturbances.append(Disturbance())
            dispatchers[place] = try cluster.dispatch(next)
            next += 1
          case "stop":
            var stop = Disturbance()
            dispatchers[place].signal(SIGSTOP)
            try await Task.sleep(for: .seconds(8))
            stop.to = Disturbance.now
            dispatchers[place].signal(SIGCONT)
            disturbances.append(stop)
          case "end":
            dispatchers[place].signal(SIGTERM)
            #expect(try await dispatchers[place].end() == .exited(0))
            dispatchers[place] = try cluster.dispatch(next)
            next += 1
          case "kill router":
            router.signal(SIGKILL)
            _ = try await router.end()
            router = try cluster.bench.start(0)
          default:
            router.signal(SIGSTOP)
            try await Task.sleep(for: .seconds(4))
            router.signal(SIGCONT)
          }
        }
        let sent = try await load.stop()
        try await cluster.complete(sent, within: .seconds(120))
        for process in [router] + dispatchers {
          process.signal(SIGTERM)
          #expect(try await process.end() == .exited(0), "\(process.errors.suffix(500))")
        }
        let results = try cluster.bench.consumer().read().count
        let report = try cluster.check(sent, disturbances)
        print(
          "  \(Self.seconds) s, seed \(Self.seed): \(counts.sorted { $0.key < $1.key }); \(sent) events, "
            + "\(results) results, \(report.summary), the oldest \(report.oldestRepeat) ms before its cause")
        #expect(report.isClean, "\(report.summary)")
        let letters = try cluster.bench.consumer(DispatchCluster.deadLetters(cluster.bench)).read()
        #expect(letters.isEmpty, "\(letters.first?.headers ?? [:])")
      }
    }
  }
}
