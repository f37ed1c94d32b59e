import Foundation
import KafkaFixture
import RedisServerFixture
import Testing

/// The configurations for Kafka as they are shipped, on a real Kafka, with real processes.
@Suite(
  "the walk-through on Kafka", .serialized,
  .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
struct KafkaWalkThroughTests {
  private static let login = #"{"type": "user:login", "data": {"userId": 123}}"# + "\n"
  private static let subscription =
    #"{"type": "subscription:created", "data": {"userId": 123, "subscriptionId": 12}}"# + "\n"

  /// A cluster of its own: the shipped configurations have names of topics that no two tests can share.
  private func with(
    _ configuration: String, _ environment: [String: String] = [:],
    _ body: (DatabusProcess, KafkaCluster) async throws -> Void
  ) async throws {
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let variables = environment.merging(["KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrapServers]) { $1 }
    try await DatabusProcess.with(environment: variables) { databus in
      try databus.useConfiguration(configuration)
      let validated = try await databus.run("validate")
      try #require(validated.code == 0, "\(validated.errors)")
      try await body(databus, cluster)
    }
  }

  /// Types lines into Kafka's own producer; they are acknowledged when this returns.
  private func type(_ text: String, to topic: String, _ cluster: KafkaCluster, _ properties: [String] = []) throws {
    try cluster.tool(
      "kafka-console-producer.sh", ["--topic", topic] + properties.flatMap { ["--property", $0] }, input: text)
  }

  /// Every result, once the router has nothing left to do.
  private func results(_ databus: DatabusProcess) async throws -> [(destination: String, type: String, id: String)] {
    let idle = try await databus.run("status", "--wait-idle", "--timeout", "50s")
    try #require(idle.code == 0, "\(idle.errors)")
    let tail = try await databus.run("tail", "results-http", "--from-start", "--until-end", "--json")
    try #require(tail.code == 0, "\(tail.errors)")
    return try tail.output.objects.map { record in
      let value = try #require(try (record["value"] as? String)?.objects.first)
      let payload = try #require(value["payload"] as? [String: Any])
      return (
        try #require(value["destination"] as? String), try #require(payload["type"] as? String),
        try #require(value["id"] as? String)
      )
    }
  }

  /// The router makes the topics that the configuration names.
  private func waitUntilReady(_ databus: DatabusProcess) async throws {
    let deadline = ContinuousClock.now + .seconds(50)
    while true {
      let topics = try await databus.run("topics", "list")
      if topics.code == 0, topics.output.contains("events"), topics.output.contains("databus-dead-letters") { return }
      try #require(ContinuousClock.now < deadline, "the topics were not made: \(topics.output)\(topics.errors)")
      try await Task.sleep(for: .milliseconds(100))
    }
  }

  @Test("Configs/kafka-redis.json: typed into kafka-console-producer.sh, it routes as on the local log")
  func onRedis() async throws {
    let redis = try await RedisServer(.port)
    try await with("kafka-redis.json", ["REDIS_URL": redis.url]) { databus, cluster in
      let run = try databus.start(["run"])
      defer { run.signal(SIGKILL) }
      try await waitUntilReady(databus)

      try type(#"{"type": "user:signup", "data": {"userId": 1}}"# + "\n", to: "events", cluster)
      #expect(try await results(databus).isEmpty)

      // Without keys, as a person types them.
      try type(WalkThroughProcessTests.ruleA + "\n" + WalkThroughProcessTests.ruleB + "\n", to: "rules", cluster)
      try type(WalkThroughProcessTests.events, to: "events", cluster)
      var all = try await results(databus)
      #expect(all.count == 11)
      #expect(all.filter { $0.destination == "https://foo.bar/baz" && $0.type == "user:signup" }.count == 5)
      #expect(all.filter { $0.destination == "https://foo.bar/baz" && $0.type == "subscription:created" }.count == 3)
      #expect(
        all.filter { $0.destination == "https://themoney.com/hook" && $0.type == "subscription:created" }.count == 3)

      let more = WalkThroughProcessTests.ruleA.replacingOccurrences(
        of: #""user:signup","#, with: #""user:signup", "user:login","#)
      try type(more + "\n", to: "rules", cluster)
      try type(Self.login, to: "events", cluster)
      all = try await results(databus)
      #expect(all.count == 12 && all.last?.type == "user:login")

      let fewer = WalkThroughProcessTests.ruleA.replacingOccurrences(of: #", "subscription:created""#, with: "")
      try type(fewer + "\n", to: "rules", cluster)
      try type(Self.subscription, to: "events", cluster)
      all = try await results(databus)
      #expect(all.count == 13 && all.last?.destination == "https://themoney.com/hook")

      // A tombstone, as Kafka's own tool writes it.
      try type("rule_b|NULL\n", to: "rules", cluster, ["parse.key=true", "key.separator=|", "null.marker=NULL"])
      try type(Self.subscription, to: "events", cluster)
      #expect(try await results(databus).count == 13)

      try type(WalkThroughProcessTests.ruleB + "\n", to: "rules", cluster)
      try type(Self.subscription, to: "events", cluster)
      #expect(try await results(databus).count == 14)

      try type(#"{"ruleId": "rule_b", "deleted": true}"# + "\n", to: "rules", cluster)
      try type(Self.subscription, to: "events", cluster)
      all = try await results(databus)
      #expect(all.count == 14 && Set(all.map(\.id)).count == 14)

      // Kafka's own consumer reads the results, and Kafka's own tool sees the group at its end.
      let consumed = try cluster.tool(
        "kafka-console-consumer.sh", ["--topic", "results-http", "--from-beginning", "--max-messages", "14"])
      #expect(try consumed.objects.compactMap { $0["id"] as? String }.sorted() == all.map(\.id).sorted())

      let ended = try await run.terminate()
      #expect(ended.code == 0)
      #expect(ended.errors.contains("first start: events are read from the earliest record"))
      let group = try cluster.tool("kafka-consumer-groups.sh", ["--describe", "--group", "databus", "--offsets"])
      #expect(group.contains("events"))

      // What the state holds is enough: nothing is put again.
      try type(#"{"type": "user:signup", "data": {"userId": 2}}"# + "\n", to: "events", cluster)
      let again = try await databus.run("run", "--until-idle")
      #expect(again.code == 0 && again.errors.contains("\"events\":1"), "\(again.errors)")
      #expect(try await results(databus).count == 15)
      let letters = try await databus.run("tail", "databus-dead-letters", "--from-start", "--until-end")
      #expect(letters.output.isEmpty, "\(letters.output)")
    }
  }

  @Test("Configs/kafka-sqlite.json, then Redis: only the section state changes, and nothing is lost or routed twice")
  func fromSQLiteToRedis() async throws {
    let redis = try await RedisServer(.port)
    try await with("kafka-sqlite.json", ["REDIS_URL": redis.url]) { databus, _ in
      let run = try databus.start(["run"])
      defer { run.signal(SIGKILL) }
      try await waitUntilReady(databus)
      for rule in [WalkThroughProcessTests.ruleA, WalkThroughProcessTests.ruleB] {
        let put = try await databus.run("rules", "put", rule, "--wait")
        try #require(put.code == 0, "\(put.errors)")
      }
      #expect(try await databus.run("events", "send", input: WalkThroughProcessTests.events).code == 0)
      #expect(try await results(databus).count == 11)
      #expect(try await databus.run("rules", "delete", "rule_b", "--wait").code == 0)
      #expect(try await databus.run("events", "send", input: Self.subscription).code == 0)
      #expect(try await results(databus).count == 12)
      #expect(try await run.terminate().code == 0)

      #expect(try await databus.run("events", "send", input: Self.subscription).code == 0)
      try FileManager.default.removeItem(atPath: databus.path("databus.json"))
      try FileManager.default.copyItem(
        at: DatabusProcess.configurations.appendingPathComponent("kafka-redis.json"),
        to: databus.directory.appendingPathComponent("databus.json"))
      let moved = try await databus.run("run", "--until-idle")
      #expect(moved.code == 0 && moved.errors.contains("\"events\":1"), "\(moved.errors)")
      #expect(moved.errors.contains("the committed position belongs to another state: reading starts there"))
      // The rules were read again from their topic, the deletion too.
      let all = try await results(databus)
      #expect(all.count == 13 && all.last?.destination == "https://foo.bar/baz")
      #expect(Set(all.map(\.id)).count == 13)
    }
  }
}
