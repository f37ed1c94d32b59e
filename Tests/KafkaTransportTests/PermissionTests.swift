import DatabusCore
import Foundation
import KafkaFixture
import Testing

@testable import KafkaTransport

/// Topics and permissions that are missing: what a person is told, that it ends by itself once they are there, and that nothing is lost.
@Suite(.enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
struct PermissionTests {
  let kafka: SecureKafka
  let topic = "permission-\(UUID().uuidString)"
  let group = "group-\(UUID().uuidString)"

  init() async throws { kafka = try await SecureKafka.shared() }

  private func transport(
    _ user: String = "bob", _ creation: KafkaTopicCreation = KafkaTopicCreation(), _ log: Logger = .off
  )
    throws -> KafkaTransport
  {
    try KafkaTransport(
      kafka.options(user, [("topic.metadata.refresh.interval.ms", "500")], creation: creation), readerName: group,
      log: log)
  }

  /// Makes the topic with some records in it.
  private func makeTopic(_ texts: [String], compacted: Bool = false) async throws {
    let settings = KafkaTopicCreation.Settings(
      partitions: 1, properties: compacted ? ["cleanup.policy": "compact"] : [:])
    let alice = try transport("alice", KafkaTopicCreation(isOn: true, settings: settings))
    let sink = try await alice.makeSink(topic, Ends())
    await sink.close()
    await alice.close()
    try write(texts)
  }

  private func write(_ texts: [String]) throws {
    let producer = try RawProducer(kafka.cluster.bootstrapServers)
    for text in texts { try producer.send(topic, value: Array(text.utf8)) }
    try producer.flush()
  }

  /// Brokers hear of a permission a little later.
  private func onceAllowed<R>(_ body: () async throws -> R) async throws -> R {
    var result: R?
    _ = await holds {
      result = try? await body()
      return result != nil
    }
    if let result { return result }
    return try await body()
  }

  private func check(_ error: TransportError?, _ parts: String..., class: TransportError.Class = .transport) {
    #expect(error?.class == `class`)
    let message = error?.message ?? ""
    for part in parts { #expect(message.contains(part), "\(message)") }
    for secret in SecureKafka.secrets { #expect(!message.contains(secret)) }
  }

  // MARK: Topics

  @Test func aMissingTopicIsNamedToReadersAndWriters() async throws {
    let alice = try KafkaTransport(
      kafka.options("alice", requestTimeout: .seconds(5)), readerName: group)
    let errors = await [
      transportError { _ = try await alice.makeSource(topic, .group(group)) },
      transportError { _ = try await alice.makeSource(topic, .everything(from: [:])) },
      transportError { _ = try await alice.makeSink(topic, Ends()) },
      transportError { _ = try await alice.groupPositions(group, stream: topic) },
    ]
    for error in errors {
      check(
        error, "The topic \"\(topic)\" cannot be", "does not exist",
        "create it (kafka-topics.sh --create, or databus topics create)",
        "\"topics\": {\"create\": true}")
    }
    #expect(try await !alice.topics().contains { $0.name == topic })
    await alice.close()
  }

  @Test func aMissingTopicIsMadeWhereThatIsWanted() async throws {
    let settings = KafkaTopicCreation.Settings(partitions: 3, properties: ["retention.ms": "3600000"])
    let alice = try transport("alice", KafkaTopicCreation(isOn: true, settings: settings))
    let source = try await alice.makeSource(topic, .group(group))
    #expect(try await source.partitions().count == 3)
    let table = try await alice.makeSource("\(topic)-rules", .everything(from: [:]))
    #expect(try await table.partitions().count == 1)
    let sink = try await alice.makeSink("\(topic)-results", Ends())
    #expect(try await alice.topics().first { $0.name == "\(topic)-results" }?.partitions.count == 3)
    await source.close()
    await table.close()
    await sink.close()
    await alice.close()
  }

  // MARK: Permissions

  @Test func aTopicThatMayNotBeSeenIsNamed() async throws {
    try await makeTopic([])
    let bob = try transport()
    check(
      await transportError { _ = try await bob.makeSource(topic, .group(group)) },
      "The topic \"\(topic)\" cannot be used",
      "gives no permission for this topic", "grant READ and DESCRIBE on it (kafka-acls.sh)")
    check(
      await transportError { _ = try await bob.makeSink(topic, Ends()) }, "The topic \"\(topic)\" cannot be",
      "gives no permission for this topic", "grant WRITE and DESCRIBE on it (kafka-acls.sh)")
    await bob.close()
  }

  @Test(arguments: [false, true])
  func aSourceSaysThatItMayNotReadUntilItMay(_ readsEverything: Bool) async throws {
    try await makeTopic(["one", "two"])
    try kafka.access.grant("bob", .describe, on: .topic(topic))
    try kafka.access.grant("bob", .read, on: .group(group))
    let bob = try transport()
    let reading = Reading(
      try await onceAllowed {
        try await bob.makeSource(topic, readsEverything ? .everything(from: [:]) : .group(group))
      })
    // Said again and again, and not only once.
    #expect(await holds { reading.troubles.count >= 6 }, "\(reading.troubles.count)")
    check(
      reading.troubles.last, "The topic \"\(topic)\" cannot be read", "gives no permission for this topic",
      "grant READ and DESCRIBE on it")
    #expect(reading.records.isEmpty)
    try kafka.access.grant("bob", .read, on: .topic(topic))
    #expect(await holds { reading.values == ["one", "two"] }, "\(reading.values)")
    reading.forgetTroubles()
    try write(["three"])
    #expect(await holds { reading.values == ["one", "two", "three"] })
    #expect(reading.troubles.isEmpty, "\(reading.troubles)")
    // Taken away while nothing is going on, and given back: it is said, and it ends, though no record comes.
    try kafka.access.revoke("bob", .read, on: .topic(topic))
    #expect(await holds { reading.troubles.count >= 6 })
    try kafka.access.grant("bob", .read, on: .topic(topic))
    #expect(
      await holds {
        reading.forgetTroubles()
        try? await Task.sleep(for: .milliseconds(1500))
        return reading.troubles.isEmpty
      })
    try write(["four"])
    #expect(await holds { reading.values == ["one", "two", "three", "four"] }, "\(reading.values)")
    await reading.stop()
    await bob.close()
  }

  @Test func aGroupThatMayNotBeJoinedIsNamedUntilItMay() async throws {
    try await makeTopic(["one"])
    try kafka.access.grant("bob", .read, on: .topic(topic))
    let bob = try transport()
    let reading = Reading(try await onceAllowed { try await bob.makeSource(topic, .group(group)) })
    #expect(await holds { reading.troubles.count >= 6 }, "\(reading.troubles)")
    check(reading.troubles.last, "gives no permission for the consumer group", "grant READ on it (kafka-acls.sh)")
    check(
      await transportError { _ = try await bob.groupPositions(group, stream: topic) },
      "gives no permission for the consumer group", "grant READ on it (kafka-acls.sh)")
    try kafka.access.grant("bob", .read, on: .group(group))
    #expect(await holds { reading.values == ["one"] })
    reading.forgetTroubles()
    try write(["two"])
    #expect(await holds { reading.values == ["one", "two"] })
    #expect(reading.troubles.isEmpty, "\(reading.troubles)")
    await reading.stop()
    await bob.close()
  }

  @Test func aSinkThatMayNotWriteFailsItsRecordsUntilItMay() async throws {
    try await makeTopic([])
    let own = "\(topic)-own"
    // Somebody who may write something may have a producer's id.
    try kafka.access.grant("bob", .write, on: .topic(own))
    try kafka.access.grant("bob", .describe, on: .topic(topic))
    let bob = try transport()
    let ends = Ends()
    let sink = try await onceAllowed { try await bob.makeSink(topic, ends) }
    #expect(try sink.send(deliveries(["one", "two"]), from: 0) == 2)
    #expect(await holds { ends.failed.count == 2 })
    for error in ends.errors {
      check(
        error, "The topic \"\(topic)\" cannot be written", "gives no permission for this topic",
        "grant WRITE and DESCRIBE on it")
    }
    try kafka.access.grant("bob", .write, on: .topic(topic))
    // As the engine does: what failed is sent again.
    var tries: UInt64 = 0
    #expect(
      try await holds {
        tries += 1
        let token = 100 + tries
        let count = ends.safe.count + ends.failed.count
        _ = try sink.send(deliveries(["again"], from: token), from: 0)
        _ = await holds { ends.safe.count + ends.failed.count > count }
        return ends.safe.contains(token)
      })
    await sink.close()
    await bob.close()
    let written = try RawConsumer(kafka.cluster.bootstrapServers, topic).read()
    #expect(written.count == 1)
  }

  /// An idempotent producer of somebody who may write nothing at all is of no use from the start, and is made anew by the engine.
  @Test func aSinkOfSomebodyWhoMayWriteNothingSaysSo() async throws {
    try await makeTopic([])
    try kafka.access.grant("carol", .describe, on: .topic(topic))
    let carol = try transport("carol")
    let ends = Ends()
    let sink = try await onceAllowed { try await carol.makeSink(topic, ends) }
    var thrown: TransportError?
    #expect(
      await holds {
        thrown = await transportError { _ = try sink.send(deliveries(["one"]), from: 0) }
        return thrown != nil || !ends.failed.isEmpty
      })
    check(
      thrown ?? ends.errors.first, "The topic \"\(topic)\" cannot be written", "gives no permission on the cluster",
      "grant WRITE on the topic", class: .fatal)
    await sink.close()
    try kafka.access.grant("carol", .write, on: .topic(topic))
    let again = try await onceAllowed { try await carol.makeSink(topic, ends) }
    #expect(try again.send(deliveries(["two"], from: 50), from: 0) == 1)
    #expect(await holds { ends.safe == [50] })
    await again.close()
    await carol.close()
    try kafka.access.revoke("carol", .write, on: .topic(topic))
  }

  @Test func aTopicThatMayNotBeMadeIsNamed() async throws {
    try kafka.access.grant("bob", .describe, on: .topic(topic))
    let bob = try transport("bob", KafkaTopicCreation(isOn: true))
    check(
      await transportError { _ = try await bob.makeSource(topic, .group(group)) },
      "The topic \"\(topic)\" cannot be created", "gives no permission for this topic",
      "grant CREATE on the topic or on the cluster (kafka-acls.sh)")
    try kafka.access.grant("bob", .create, on: .topic(topic))
    // Permissions need a moment.
    var source: (any EventSource)?
    #expect(
      await holds {
        source = try? await bob.makeSource(topic, .everything(from: [:]))
        return source != nil
      })
    #expect(try await source?.partitions().count == 1)
    await source?.close()
    check(
      await transportError { try await bob.deleteTopic(topic) }, "The topic \"\(topic)\" cannot be deleted",
      "grant DELETE and DESCRIBE on it (kafka-acls.sh)")
    await bob.close()
  }

  @Test func aConfigurationThatMayNotBeSeenIsWarnedOf() async throws {
    try await makeTopic([], compacted: true)
    try kafka.access.grant("bob", .read, on: .topic(topic))
    let seen = SeenLog()
    let bob = try transport("bob", KafkaTopicCreation(), Logger(part: "kafka", sink: seen))
    let source = try await onceAllowed { try await bob.makeSource(topic, .everything(from: [:])) }
    #expect(try await source.compaction() == nil)
    let warning = seen.all.first { $0.level == .warning && $0.place == topic }
    #expect(warning?.remedy?.contains("DESCRIBE_CONFIGS") == true, "\(seen.all)")
    try kafka.access.grant("bob", .describeConfigurations, on: .topic(topic))
    #expect(try await holds { try await source.compaction() != nil })
    await source.close()
    await bob.close()
  }
}
