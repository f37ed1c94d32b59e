import Foundation
import KafkaFixture
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  /// What is found at an assignment, and where reading starts: each row of the table in docs/kafka.md.
  @Suite(
    "Where it starts on Kafka", .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  struct StartTests {
    private static let one = KafkaBench.Options(partitions: 1)

    /// The numbers of the events that have results, in the order of the results.
    private func numbers(_ records: [RawConsumer.Record]) -> [Int] {
      records.compactMap { record in
        guard let value = record.value,
          let object = try? JSONSerialization.jsonObject(with: Data(value)) as? [String: Any],
          let payload = object["payload"] as? [String: Any]
        else { return nil }
        return payload["number"] as? Int
      }
    }

    private func ids(_ records: [RawConsumer.Record]) -> [String] {
      records.compactMap { record in
        record.value.flatMap { try? JSONSerialization.jsonObject(with: Data($0)) as? [String: Any] }?["id"] as? String
      }
    }

    private func send(_ range: Range<Int>, _ bench: KafkaBench) throws {
      for number in range {
        try bench.producer.send(
          bench.events, partition: 0, value: Array("{\"type\":\"user:signup\",\"number\":\(number)}".utf8))
      }
      try bench.producer.flush()
    }

    private static let rule = ModelRule(id: "r", types: ["user:signup"], destination: "https://a.example/")

    /// Ten events that were routed, and the process gone.
    private func routed(_ bench: KafkaBench) async throws -> RawConsumer {
      try bench.put(Self.rule)
      try send(0..<10, bench)
      try await finish(bench)
      let consumer = try bench.consumer()
      #expect(numbers(try consumer.read()) == Array(0..<10))
      return consumer
    }

    private func finish(_ bench: KafkaBench, _ state: Int = 0) async throws {
      let process = try bench.start(state, "--until-idle")
      #expect(try await process.end() == .exited(0), "\(process.errors.suffix(1500))")
    }

    private func reset(_ bench: KafkaBench, _ to: [String]) throws {
      try bench.cluster.tool(
        "kafka-consumer-groups.sh",
        ["--group", bench.name, "--topic", bench.events, "--reset-offsets", "--execute"] + to)
    }

    @Test("A restart goes on; an operator's reset is followed, backwards and forwards, with the same ids")
    func operatorsReset() async throws {
      try await KafkaBench.with(Self.one) { bench in
        let consumer = try await routed(bench)
        try send(10..<12, bench)
        try await finish(bench)
        #expect(numbers(try consumer.read()) == [10, 11])
        try reset(bench, ["--to-offset", "8"])
        try await finish(bench)
        #expect(numbers(try consumer.read()) == [8, 9, 10, 11])
        try reset(bench, ["--to-earliest"])
        try send(12..<13, bench)
        try await finish(bench)
        #expect(numbers(try consumer.read()) == Array(0..<13))
        let all = try bench.consumer().read()
        var known: [Int: String] = [:]
        for (number, id) in zip(numbers(all), ids(all)) {
          #expect(known.updateValue(id, forKey: number) ?? id == id)
        }
        #expect(Set(known.values).count == 13)
        try send(13..<20, bench)
        try reset(bench, ["--to-offset", "18"])
        try await finish(bench)
        #expect(numbers(try consumer.read()) == [18, 19])
      }
    }

    @Test("Another state: reading starts at the commit, whatever the state had before")
    func anotherState() async throws {
      try await KafkaBench.with(Self.one) { bench in
        let consumer = try await routed(bench)
        try send(10..<12, bench)
        try await finish(bench, 1)
        #expect(numbers(try consumer.read()) == [10, 11])
        try send(12..<14, bench)
        // The first state is older than the commit now, which is another's.
        try await finish(bench, 0)
        #expect(numbers(try consumer.read()) == [12, 13])
      }
    }

    @Test(
      "Commits have expired: the partition is parked, both remedies are named, and an operator's position lets it go on"
    )
    func expired() async throws {
      try await KafkaBench.with(Self.one) { bench in
        let consumer = try await routed(bench)
        try bench.cluster.tool(
          "kafka-consumer-groups.sh", ["--delete-offsets", "--group", bench.name, "--topic", bench.events])
        try send(10..<12, bench)
        let process = try bench.start(0, "--until-idle")
        #expect(try await process.end() == .exited(1))
        #expect(process.errors.contains("databus positions set"))
        #expect(process.errors.contains("remove this partition's state"))
        #expect(numbers(try consumer.read()) == [])
        try bench.command(0, ["positions", "set", "0", "10"])
        try await finish(bench)
        #expect(numbers(try consumer.read()) == [10, 11])
      }
    }

    @Test("The events topic is made anew: the partition is parked, nothing is skipped in silence, and no id is shared")
    func madeAnew() async throws {
      try await KafkaBench.with(Self.one) { bench in
        let consumer = try await routed(bench)
        try bench.cluster.tool("kafka-topics.sh", ["--delete", "--topic", bench.events])
        try bench.create(bench.events, partitions: 1)
        try send(100..<103, bench)
        let process = try bench.start(0, "--until-idle")
        #expect(try await process.end() == .exited(1))
        #expect(process.errors.contains("re-created"))
        #expect(numbers(try consumer.read()) == [])
        try bench.command(0, ["positions", "set", "0", "earliest"])
        try await finish(bench)
        #expect(numbers(try consumer.read()) == [100, 101, 102])
        let all = ids(try bench.consumer().read())
        #expect(Set(all).count == 13, "two events share an id")
      }
    }

    @Test("Retention has passed the position: a gap, counted, logged and set aside; what is left is routed")
    func retention() async throws {
      try await KafkaBench.with(Self.one) { bench in
        let consumer = try await routed(bench)
        try send(10..<20, bench)
        let file = bench.folder + "/delete.json"
        try #"{"partitions":[{"topic":"\#(bench.events)","partition":0,"offset":15}],"version":1}"#.write(
          toFile: file, atomically: true, encoding: .utf8)
        try bench.cluster.tool("kafka-delete-records.sh", ["--offset-json-file", file])
        try await finish(bench)
        #expect(numbers(try consumer.read()) == [15, 16, 17, 18, 19])
        let letters = try bench.consumer(bench.deadLetters).read()
        #expect(letters.map { $0.headers["dx-reason"] } == ["gap"])
        #expect(letters.first?.headers["dx-detail"]?.contains("from 10 up to 15") == true, "\(letters)")
      }
    }

    @Test("A partition that is added is read from its beginning, also where the start was at the end")
    func addedPartition() async throws {
      try await KafkaBench.with(Self.one) { bench in
        let consumer = try await routed(bench)
        let process = try bench.start(0)
        try bench.cluster.tool("kafka-topics.sh", ["--alter", "--topic", bench.events, "--partitions", "2"])
        try bench.producer.send(
          bench.events, partition: 1, value: Array("{\"type\":\"user:signup\",\"number\":77}".utf8))
        try bench.producer.flush()
        var seen: [Int] = []
        try await process.wait("the added partition's record") {
          seen += numbers(try consumer.read())
          return !seen.isEmpty
        }
        #expect(seen == [77])
        process.signal(SIGTERM)
        #expect(try await process.end() == .exited(0))
      }
    }
  }
}
