import KafkaFixture
import RedisServerFixture
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite(
    "What a router on Kafka rests on goes away",
    .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  struct OutageTests {
    /// Everything that was sent has its result, and nothing is wrong with any of them.
    private func finish(
      _ bench: KafkaBench, _ load: KafkaLoad, _ consumer: RawConsumer, _ report: inout KafkaLoadReport,
      _ processes: [DatabusProcess]
    ) async throws {
      let sent = try await load.stop()
      try await report.complete(sent, consumer, within: .seconds(120))
      for process in processes {
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
      }
      for record in try consumer.read() { report.take(record) }
      print(
        "  \(sent) events, \(report.results) results, \(report.repeats) repeats, the oldest after \(report.oldestRepeat) ms"
      )
      #expect(report.violations == [], "\(report.violations.prefix(5))")
      let letters = try bench.consumer(bench.deadLetters).read()
      #expect(letters.isEmpty, "\(letters.first?.headers ?? [:])")
    }

    private func goOn(
      _ process: DatabusProcess, _ load: KafkaLoad, _ consumer: RawConsumer, _ report: inout KafkaLoadReport,
      events: Int = 1500
    ) async throws {
      let target = load.sent + events
      var last = report
      try await process.wait("\(events) more events", within: .seconds(90)) {
        for record in try consumer.read(idleMilliseconds: 200) { last.take(record) }
        return load.sent >= target && last.ids[target - 1] != nil
      }
      report = last
    }

    @Test("The broker is killed three times, and stopped for a while: intake waits, and goes on by itself")
    func broker() async throws {
      let cluster = try await KafkaCluster.start()
      defer { cluster.remove() }
      try await KafkaBench.with(on: cluster) { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        load.start(perSecond: 1000)
        let process = try bench.start(0)
        try await goOn(process, load, consumer, &report)
        for _ in 0..<3 {
          cluster.kill()
          try await cluster.resume()
          try await goOn(process, load, consumer, &report)
        }
        cluster.pause()
        // Longer than the session timeout.
        try await Task.sleep(for: .seconds(4))
        cluster.unpause()
        try await goOn(process, load, consumer, &report)
        try await finish(bench, load, consumer, &report, [process])
      }
    }

    @Test("Redis with the state of two processes: stopped, killed, emptied, and set back to an older dump")
    func redis() async throws {
      let redis = try await RedisServer(.port)
      let url = redis.url
      var options = KafkaBench.Options()
      options.state = { _ in ["type": "redis", "url": url, "timeout": "1s"] }
      try await KafkaBench.with(options) { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        load.start(perSecond: 1000)
        let first = try bench.start(0)
        let second = try bench.start(1)
        try await goOn(first, load, consumer, &report)
        redis.pause()
        try await Task.sleep(for: .seconds(2))
        redis.resume()
        try await goOn(first, load, consumer, &report)
        let old = try redis.dump()
        try await redis.kill()
        try await redis.start()
        try load.putVersion()
        try await goOn(first, load, consumer, &report)
        _ = try redis.cli("FLUSHALL")
        try await goOn(first, load, consumer, &report)
        try await redis.restore(old)
        try await goOn(first, load, consumer, &report)
        second.signal(SIGKILL)
        _ = try await second.end()
        _ = try redis.cli("FLUSHALL")
        let third = try bench.start(2)
        try await goOn(third, load, consumer, &report)
        try await finish(bench, load, consumer, &report, [first, third])
      }
    }

    @Test("SIGTERM under load: what is in flight is finished, and nothing comes twice")
    func termination() async throws {
      try await KafkaBench.with { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        load.start(perSecond: 2000)
        for _ in 0..<3 {
          let process = try bench.start(0)
          try await goOn(process, load, consumer, &report)
          process.signal(SIGTERM)
          #expect(try await process.end() == .exited(0))
        }
        let last = try bench.start(0)
        try await goOn(last, load, consumer, &report)
        try await finish(bench, load, consumer, &report, [last])
        #expect(report.repeats == 0)
      }
    }

    /// A repeat is explained where its first copy is recent: what is in flight when a process vanishes, or its partition is taken away, is
    /// no older than a checkpoint, and it comes again at the latest when the session has ended.
    @Test("1,000,000 events with kills, pauses and rebalances: nothing is lost, and every repeat is explained")
    func million() async throws {
      try await KafkaBench.with { bench in
        let load = try KafkaLoad(bench)
        let consumer = try bench.consumer()
        var report = KafkaLoadReport(partitions: bench.partitions)
        var random = SeededGenerator(seed: 1_000_000)
        var processes = [try bench.start(0), try bench.start(1)]
        load.start(perSecond: 15_000)
        var step = 0
        while load.sent < 1_000_000 {
          let target = min(load.sent + Int.random(in: 40_000..<90_000, using: &random), 1_000_000)
          while load.sent < target {
            for record in try consumer.read(idleMilliseconds: 100) { report.take(record) }
          }
          step += 1
          let place = Int.random(in: 0..<2, using: &random)
          switch step % 4 {
          case 0:
            // Past its session: somebody else takes over, and it finds out when it goes on.
            processes[place].signal(SIGSTOP)
            try await Task.sleep(for: .seconds(4))
            processes[place].signal(SIGCONT)
          case 1, 3:
            processes[place].signal(step % 4 == 1 ? SIGKILL : SIGTERM)
            _ = try await processes[place].end()
            processes[place] = try bench.start(place)
          default: try load.putVersion()
          }
        }
        try await finish(bench, load, consumer, &report, processes)
        #expect(report.oldestRepeat < 20_000)
      }
    }
  }
}
