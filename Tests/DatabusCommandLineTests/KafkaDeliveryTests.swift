import Foundation
import KafkaFixture
import RedisServerFixture
import Testing

/// The configuration of a dispatcher of its own as it is shipped, on a real Kafka and a real Redis.
@Suite(
  "deliveries over Kafka", .serialized,
  .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
struct KafkaDeliveryTests {
  @Test("Configs/dispatcher.json: a router, dispatchers that take turns, and results read again are sent once")
  func dispatcher() async throws {
    let redis = try await RedisServer(.port)
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let variables = ["KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrapServers, "REDIS_URL": redis.url]
    try await DatabusProcess.with(environment: variables) { databus in
      try databus.useConfiguration("dispatcher.json")
      // What the shipped file rightly refuses: a receiver on this machine.
      let text = try databus.read("databus.json")
      let allowing = text.replacing(
        #""dispatcher": {"#, with: #""dispatcher": {"channels": {"http": {"allow": ["127.0.0.1"]}},"#)
      try #require(allowing != text)
      try databus.write(allowing, to: "databus.json")
      let validated = try await databus.run("validate")
      try #require(validated.code == 0, "\(validated.errors)")

      let receiver = try await ReceiverProcess(databus, [])
      defer { receiver.running.signal(SIGKILL) }
      let router = try databus.start(["run"])
      defer { router.signal(SIGKILL) }
      let rule =
        #"{"ruleId": "orders", "events": ["order:*"], "destinationUrl": "http://127.0.0.1:\#(receiver.port)/orders"}"#
      let put = try await databus.run("rules", "put", rule, "--wait")
      try #require(put.code == 0, "\(put.errors)")
      let first = try databus.start(["dispatch"])
      defer { first.signal(SIGKILL) }
      #expect(try await databus.run("events", "send", DeliveryProcessTests.paid).code == 0)
      #expect(try await databus.run("events", "send", DeliveryProcessTests.cloudEvent).code == 0)
      try await DeliveryProcessTests.wait(for: 2, at: receiver)

      // The next one of the group goes on where it stopped.
      #expect(try await first.terminate().code == 0)
      let second = try databus.start(["dispatch"])
      defer { second.signal(SIGKILL) }
      #expect(try await databus.run("events", "send", DeliveryProcessTests.cloudEvent).code == 0)
      #expect(try await databus.run("events", "send", DeliveryProcessTests.created).code == 0)
      try await DeliveryProcessTests.wait(for: 3, at: receiver)
      #expect(try await second.terminate().code == 0)

      // Kafka's own tool sets the dispatchers' group back: all results are read again, and none is sent again.
      try cluster.tool(
        "kafka-consumer-groups.sh",
        ["--group", "databus-dispatcher", "--topic", "results-http", "--reset-offsets", "--to-earliest", "--execute"])
      let again = try await databus.run("dispatch", "--until-idle")
      #expect(again.code == 0, "\(again.errors)")
      let sums = try await receiver.sums()
      #expect(sums["requests"] == 3 && sums["deliveries"] == 3 && sums["repeats"] == 0, "\(sums)")
      let topics = try await databus.run("topics", "list")
      #expect(topics.output.contains("results-http-retry-1m"), "\(topics.output)")
      #expect(try await router.terminate().code == 0)
    }
  }
}
