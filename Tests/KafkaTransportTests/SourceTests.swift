import DatabusCore
import Foundation
import KafkaFixture
import Testing

@testable import KafkaTransport

/// The reading end on a real broker.
@Suite(.enabled(if: KafkaCluster.isAvailable, Comment(rawValue: KafkaCluster.requirement)))
struct SourceTests {
  let topic = "source-\(UUID().uuidString)"
  let group = "group-\(UUID().uuidString)"

  private func transport(_ servers: String, _ properties: [String: String] = [:], partitions: Int = 1) throws
    -> KafkaTransport
  {
    try KafkaTransport(
      KafkaOptions(
        bootstrapServers: servers, properties: properties.map { (name: $0.key, value: $0.value) },
        creation: KafkaTopicCreation(isOn: true, settings: .init(partitions: partitions))), readerName: "source-tests")
  }

  @Test func aMemberStaysOneThoughNobodyAsksForRecordsForLong() async throws {
    let servers = try await KafkaCluster.sharedCluster().bootstrapServers
    let transport = try transport(
      servers,
      ["max.poll.interval.ms": "2000", "session.timeout.ms": "1500", "heartbeat.interval.ms": "300"])
    let reading = Reading(try await transport.makeSource(topic, .group(group)))
    #expect(await holds { reading.owned.count == 1 })
    let before = reading.owned
    reading.stayAway(true)
    // Three times as long as a silent member would be borne.
    try await Task.sleep(for: .seconds(6))
    reading.stayAway(false)
    let producer = try RawProducer(servers)
    try producer.send(topic, value: Array("one".utf8))
    try producer.flush()
    #expect(await holds { reading.values == ["one"] })
    #expect(reading.owned == before && reading.lost == 0)
    #expect(reading.troubles.isEmpty, "\(reading.troubles)")
    await reading.stop()
    await transport.close()
  }

  @Test func twoMembersDivideThePartitionsAndReadEachRecordOnce() async throws {
    let servers = try await KafkaCluster.sharedCluster().bootstrapServers
    let transport = try transport(
      servers, ["session.timeout.ms": "6000", "heartbeat.interval.ms": "300"], partitions: 4)
    let store = PositionStore()
    let one = Reading(try await transport.makeSource(topic, .group(group)), store: store)
    #expect(await holds { one.owned.count == 4 })
    let producer = try RawProducer(servers)
    var sent = 0
    func send(_ count: Int) throws {
      for _ in 0..<count {
        try producer.send(topic, partition: sent % 4, value: Array("\(sent)".utf8))
        sent += 1
      }
      try producer.flush()
    }
    try send(2000)
    let two = Reading(try await transport.makeSource(topic, .group(group)), store: store)
    // Records come while partitions change hands.
    #expect(
      try await holds(within: .seconds(60)) {
        try send(40)
        return one.owned.count == 2 && two.owned.count == 2
      })
    #expect(Set(one.owned.map(\.partition)).isDisjoint(with: two.owned.map(\.partition)))
    try send(2000)
    #expect(await holds { one.records.count + two.records.count >= sent })
    let values = one.values + two.values
    #expect(values.count == sent && Set(values).count == sent)
    // Who leaves hands its partitions over.
    await one.stop()
    try send(400)
    #expect(await holds { two.owned.count == 4 && Set(one.values + two.values).count == sent })
    #expect(one.records.count + two.records.count == sent)
    // What was committed is where the next member starts.
    #expect(
      try await holds {
        try await transport.groupPositions(group, stream: topic).map { $0.committed?.position.next ?? 0 }
          .reduce(0, +) == UInt64(sent)
      })
    await two.stop()
    await transport.close()
  }

  /// A reader of everything that waits for the end would wait for ever if the end lay behind what it may not see yet.
  @Test func aTransactionIsReadOnceItIsCommittedAndTheEndLiesBeforeIt() async throws {
    let servers = try await KafkaCluster.sharedCluster().bootstrapServers
    let transport = try transport(servers)
    let source = try await transport.makeSource(topic, .everything(from: [:]))
    let partitions = try await source.partitions()
    let plain = try RawProducer(servers)
    try plain.send(topic, value: Array("before".utf8))
    try plain.flush()
    let open = try RawProducer(servers, transactionalID: "open-\(topic)")
    try open.begin()
    try open.send(topic, value: Array("open".utf8))
    try open.flush()
    try plain.send(topic, value: Array("behind".utf8))
    try plain.flush()
    #expect(try await source.bounds(of: partitions).map(\.end) == [Position(next: 1)])
    let reading = Reading(source)
    #expect(await holds { reading.values == ["before"] })
    // Nothing more comes while the transaction is open: a second record that is committed elsewhere shows that time has passed.
    try await Task.sleep(for: .milliseconds(700))
    #expect(reading.values == ["before"])
    try open.commit()
    #expect(await holds { reading.values == ["before", "open", "behind"] }, "\(reading.values)")
    // The commit's own marker has a position, too.
    #expect(try await holds { try await source.bounds(of: partitions).map(\.end) == [Position(next: 4)] })
    await reading.stop()
    await transport.close()
  }
}

/// The reading end while its broker is away.
@Suite(.serialized, .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
struct SourceOutageTests {
  @Test(arguments: [false, true])
  func readingGoesOnByItselfOnceTheBrokerIsBack(_ readsEverything: Bool) async throws {
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let transport = try KafkaTransport(
      KafkaOptions(
        bootstrapServers: cluster.bootstrapServers,
        properties: [("session.timeout.ms", "6000"), ("heartbeat.interval.ms", "500")],
        creation: KafkaTopicCreation(isOn: true), requestTimeout: .seconds(3)), readerName: "r")
    let reading = Reading(
      try await transport.makeSource("t", readsEverything ? .everything(from: [:]) : .group("g")),
      store: readsEverything ? nil : PositionStore())
    func send(_ range: Range<Int>) throws {
      let producer = try RawProducer(cluster.bootstrapServers)
      for number in range { try producer.send("t", value: Array("\(number)".utf8)) }
      try producer.flush()
    }
    try send(0..<1000)
    #expect(await holds { reading.values.count >= 300 })
    cluster.kill()
    // `next` says it; commits wait their time in between.
    let sentence = "The topic \"t\" cannot be read: nothing listens at \(cluster.bootstrapServers)"
    #expect(
      await holds(within: .seconds(60)) { reading.troubles.contains { $0.message.hasPrefix(sentence) } },
      "\(reading.troubles)")
    for error in reading.troubles { #expect(error.class == .transport) }
    try await cluster.resume()
    // It ends without a record coming.
    #expect(
      await holds(within: .seconds(60)) {
        reading.forgetTroubles()
        try? await Task.sleep(for: .milliseconds(1500))
        return reading.troubles.isEmpty
      }, "\(reading.troubles)")
    try send(1000..<2000)
    #expect(await holds(within: .seconds(60)) { reading.values.count >= 2000 }, "\(reading.values.count)")
    #expect(reading.values == (0..<2000).map { "\($0)" })
    await reading.stop()
    await transport.close()
  }

  @Test func aSourceIsMadeOnceTheBrokerIsStarted() async throws {
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let transport = try KafkaTransport(
      KafkaOptions(
        bootstrapServers: cluster.bootstrapServers, creation: KafkaTopicCreation(isOn: true),
        requestTimeout: .seconds(1)), readerName: "r")
    cluster.kill()
    let error = await transportError { _ = try await transport.makeSource("t", .group("g")) }
    #expect(error?.class == .transport && error?.message.contains("start the broker") == true)
    try await cluster.resume()
    // The same transport: the engine tries again with it.
    var source: (any EventSource)?
    #expect(
      await holds(within: .seconds(60)) {
        source = try? await transport.makeSource("t", .group("g"))
        return source != nil
      })
    #expect(try await source?.partitions().count == 1)
    await source?.close()
    await transport.close()
  }
}
