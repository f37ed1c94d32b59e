import KafkaFixture
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite(
    "Several processes on one Kafka",
    .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  struct GroupTests {
    @Test("Two processes: one joins, leaves, is killed, is stopped past its session; rules change at each rebalance")
    func comings() async throws {
      try await KafkaBench.with { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        load.start(perSecond: 1000)
        let first = try bench.start(0)
        func goOn(_ process: DatabusProcess, _ what: String) async throws {
          // Every partition has to move on: nobody waits for the one that is gone.
          let target = load.sent + 1
          try await process.wait(what, within: .seconds(30)) {
            for record in try consumer.read() { report.take(record) }
            return (target..<target + bench.partitions).allSatisfy { report.ids[$0] != nil }
          }
        }
        try await goOn(first, "the first process routing everything")
        let second = try bench.start(1)
        try load.putVersion()
        try await goOn(second, "both processes routing")
        second.signal(SIGTERM)
        try load.putVersion()
        #expect(try await second.end() == .exited(0))
        try await goOn(first, "the first process after the second has left")
        let third = try bench.start(2)
        try await goOn(third, "a third process")
        third.signal(SIGKILL)
        _ = try await third.end()
        try load.putVersion()
        try await goOn(first, "the first process after the third was killed")
        let fourth = try bench.start(1)
        try await goOn(fourth, "the second process again, with its old state")
        first.signal(SIGSTOP)
        try load.putVersion()
        try await goOn(fourth, "the second process while the first one is stopped")
        first.signal(SIGCONT)
        try load.putVersion()
        try await goOn(first, "both again")
        let sent = try await load.stop()
        try await report.complete(sent, consumer)
        first.signal(SIGTERM)
        fourth.signal(SIGTERM)
        #expect(try await first.end() == .exited(0))
        #expect(try await fourth.end() == .exited(0))
        for record in try consumer.read() { report.take(record) }
        print(
          "  \(sent) events, \(report.results) results, \(report.repeats) repeats, longest pause \(report.longestPause) ms"
        )
        #expect(report.violations == [], "\(report.violations.prefix(5))")
        let letters = try bench.consumer(bench.deadLetters).read()
        #expect(letters.isEmpty, "\(letters.first?.headers ?? [:])")
      }
    }
  }
}
