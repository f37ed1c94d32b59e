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

    /// A partition is idle for as long as its owner drains it, the group rejoins, and the new owner restores it: on this machine well below a
    /// second, but for members that vanish, which the session timeout (3 s here) has to tell of. The bound leaves room for a machine that others keep busy.
    @Test(
      "20 joins and leaves under load: nothing lost, every repeat explained, and no partition idle for longer than 30 s"
    )
    func storm() async throws {
      try await KafkaBench.with { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        let first = try bench.start(0)
        load.start(perSecond: 1500)
        var random = SeededGenerator(seed: 20_261_125)
        var others: [(number: Int, process: DatabusProcess)] = []
        for step in 1...20 {
          if others.isEmpty || others.count < 2 && Bool.random(using: &random) {
            let number = (1...2).first { one in !others.contains { $0.number == one } } ?? 1
            others.append((number, try bench.start(number)))
          } else {
            let (_, process) = others.removeFirst()
            process.signal(step % 3 == 0 ? SIGKILL : SIGTERM)
            _ = try await process.end()
          }
          if step % 5 == 0 { try load.putVersion() }
          // The next one comes in the middle of what this one has set going.
          let target = load.sent + Int.random(in: 300..<1500, using: &random)
          try await first.wait("the load going on", within: .seconds(60)) { load.sent >= target }
          for record in try consumer.read() { report.take(record) }
        }
        let sent = try await load.stop()
        try await report.complete(sent, consumer)
        for process in [first] + others.map(\.process) {
          process.signal(SIGTERM)
          #expect(try await process.end() == .exited(0))
        }
        for record in try consumer.read() { report.take(record) }
        print(
          "  \(sent) events, \(report.results) results, \(report.repeats) repeats, longest pause \(report.longestPause) ms"
        )
        #expect(report.violations == [], "\(report.violations.prefix(5))")
        #expect(report.longestPause < 30_000)
      }
    }

    @Test(
      "Killed at an assignment, in the middle of a restore, in a revoke window, around a checkpoint: its partitions go on elsewhere",
      arguments: [
        "at-assignment:1", "during-restore:2", "in-revoke-window:1", "sent-and-unconfirmed:3",
        "confirmed-and-not-applied:6", "applied-and-not-committed:6",
      ])
    func crashPoints(_ place: String) async throws {
      try await KafkaBench.with { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        load.start(perSecond: 1000)
        let doomed = try bench.start(0, crash: place)
        if place.hasPrefix("in-revoke-window") {
          try await doomed.wait("the first process routing") {
            for record in try consumer.read() { report.take(record) }
            return report.results > 0
          }
        }
        let heir = try bench.start(1)
        #expect(try await doomed.end() == .killed(signal: SIGKILL), "\(place) did not fire")
        #expect(doomed.errors.contains("crash point \(place.prefix { $0 != ":" }) reached"))
        let again = try bench.start(0)
        let target = load.sent + 2000
        try await heir.wait("the load going on") { load.sent >= target }
        let sent = try await load.stop()
        try await report.complete(sent, consumer)
        for process in [heir, again] {
          process.signal(SIGTERM)
          #expect(try await process.end() == .exited(0))
        }
        for record in try consumer.read() { report.take(record) }
        #expect(report.violations == [], "\(report.violations.prefix(5))")
      }
    }
  }
}
