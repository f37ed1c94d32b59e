import Foundation
import KafkaFixture
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite(
    "The rules topic on Kafka", .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  struct RulesTopicTests {
    private static func rule(_ id: String) -> ModelRule {
      ModelRule(id: id, types: ["user:signup"], destination: "https://\(id).example/")
    }

    private func send(_ bench: KafkaBench) throws {
      try bench.producer.send(bench.events, partition: 0, value: Array("{\"type\":\"user:signup\"}".utf8))
      try bench.producer.flush()
    }

    private func finish(_ bench: KafkaBench) async throws {
      let process = try bench.start(0, "--until-idle")
      #expect(try await process.end() == .exited(0), "\(process.errors.suffix(1500))")
    }

    /// The rules that have made results since the last call.
    private func rules(_ consumer: RawConsumer) throws -> [String] {
      try consumer.read().compactMap { record in
        record.value.flatMap { try? JSONSerialization.jsonObject(with: Data($0)) as? [String: Any] }?["rule"] as? String
      }
    }

    @Test("Empty: ready at once, and events are filtered")
    func empty() async throws {
      try await KafkaBench.with(.init(partitions: 1)) { bench in
        try send(bench)
        try await finish(bench)
        #expect(try rules(bench.consumer()) == [])
      }
    }

    @Test(
      "It ends with the mark of a transaction, with an aborted one, with one that is still open: ready, and complete")
    func transactions() async throws {
      try await KafkaBench.with(.init(partitions: 1)) { bench in
        let consumer = try bench.consumer()
        let writer = try RawProducer(bench.cluster.bootstrapServers, transactionalID: bench.name)
        func put(_ id: String) throws {
          try writer.send(bench.rules, key: Array(id.utf8), value: Array(Self.rule(id).json.utf8))
          try writer.flush()
        }
        try writer.begin()
        try put("a")
        try writer.commit()
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a"])
        try writer.begin()
        try put("never")
        try writer.abort()
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a"])
        try writer.begin()
        try put("b")
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a"], "what is not committed is in force")
        try writer.commit()
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a", "b"])
      }
    }

    @Test("Compacted while nothing ran, its tombstone gone as well: the deleted rule does not come back to life")
    func compacted() async throws {
      let topic = [
        "cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.001", "segment.ms": "100",
        "delete.retention.ms": "200", "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "100",
      ]
      let cluster = try await KafkaCluster.start(settings: [
        "log.cleaner.backoff.ms=100", "log.retention.check.interval.ms=200",
      ])
      defer { cluster.remove() }
      try await KafkaBench.with(.init(partitions: 1, topics: ["rules": topic]), on: cluster) { bench in
        let consumer = try bench.consumer()
        for id in ["a", "b"] { try bench.put(Self.rule(id)) }
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a", "b"])
        try bench.put("a", nil)
        // The cleaner works on closed segments: records that come later close them. Nothing of "a" is left in the end.
        let deadline = ContinuousClock.now + .seconds(60)
        var filler = 0
        while ContinuousClock.now < deadline {
          filler += 1
          try bench.put("filler", Self.rule("filler").json.replacingOccurrences(of: "user:signup", with: "x\(filler)"))
          let left = try bench.consumer(bench.rules).read()
          if !left.contains(where: { $0.key == Array("a".utf8) }) { break }
          try await Task.sleep(for: .milliseconds(300))
        }
        #expect(ContinuousClock.now < deadline, "the broker has not compacted the topic")
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["b"], "a rule that was deleted is in force")
      }
    }

    @Test("Made anew while nothing ran: it is read from its beginning, and rules that are not in it stay")
    func madeAnew() async throws {
      try await KafkaBench.with(.init(partitions: 1)) { bench in
        let consumer = try bench.consumer()
        for id in ["a", "b", "c"] { try bench.put(Self.rule(id)) }
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a", "b", "c"])
        try bench.cluster.tool("kafka-topics.sh", ["--delete", "--topic", bench.rules])
        try bench.create(bench.rules, partitions: 1)
        try bench.put(Self.rule("d"))
        try bench.put("b", nil)
        try send(bench)
        try await finish(bench)
        #expect(try rules(consumer) == ["a", "c", "d"])
      }
    }

    @Test("A rule is changed and deleted while a process restores: no event is routed by half a table")
    func duringRestore() async throws {
      try await KafkaBench.with(.init(partitions: 1)) { bench in
        let consumer = try bench.consumer()
        for number in 0..<2000 {
          try bench.producer.send(
            bench.rules,
            value: Array(ModelRule(id: "other\(number)", types: ["x"], destination: "https://x.example/").json.utf8))
        }
        try bench.put(Self.rule("a"))
        for _ in 0..<3 {
          let process = try bench.start(0, crash: "during-restore:1")
          try bench.put(Self.rule("b"))
          try bench.put("a", nil)
          try send(bench)
          #expect(try await process.end() == .killed(signal: SIGKILL))
        }
        try await finish(bench)
        #expect(try rules(consumer) == ["b", "b", "b"])
      }
    }

    @Test("Strict: an event sent right after a rule's acknowledgement is routed by it")
    func strict() async throws {
      try await KafkaBench.with(.init(partitions: 1, consistency: "strict")) { bench in
        let consumer = try bench.consumer()
        let process = try bench.start(0)
        try bench.put(ModelRule(id: "mark", types: ["mark"], destination: "https://mark.example/"))
        for step in 0..<40 {
          if step % 2 == 0 { try bench.put(Self.rule("r")) } else { try bench.put("r", nil) }
          try send(bench)
          // Routed behind it: the next change must not come before the event is read.
          try bench.producer.send(bench.events, partition: 0, value: Array("{\"type\":\"mark\"}".utf8))
          try bench.producer.flush()
          var new: [String] = []
          try await process.wait("the mark of step \(step)") {
            new += try rules(consumer)
            return new.contains("mark")
          }
          #expect(new == (step % 2 == 0 ? ["r", "mark"] : ["mark"]), "step \(step)")
        }
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
      }
    }
  }
}
