import DatabusCore
import Foundation
import KafkaFixture
import Testing

@testable import KafkaTransport

/// The writing end on a real broker: what other programs then find in the topic.
@Suite(.enabled(if: KafkaCluster.isAvailable, Comment(rawValue: KafkaCluster.requirement)))
struct SinkTests {
  let topic = "sink-\(UUID().uuidString)"

  private func transport(
    _ servers: String, _ properties: [String: String] = [:], _ settings: [String: String] = [:], partitions: Int = 1
  )
    throws -> KafkaTransport
  {
    let creation = KafkaTopicCreation(isOn: true, settings: .init(partitions: partitions, properties: settings))
    return try KafkaTransport(
      KafkaOptions(
        bootstrapServers: servers, properties: properties.map { (name: $0.key, value: $0.value) }, creation: creation),
      readerName: "sink-tests")
  }

  @Test func keysHeadersEmptyValuesAndTombstonesArriveAsTheyAre() async throws {
    let servers = try await KafkaCluster.sharedCluster().bootstrapServers
    let transport = try transport(servers)
    let ends = Ends()
    let sink = try await transport.makeSink(topic, ends)
    var batch = DeliveryBatch()
    let headers = [Header(name: "a", value: Array("1".utf8)), Header(name: "b", value: [])]
    batch.append(key: Array("k".utf8), value: Array("v".utf8), headers: headers, timestamp: 0, token: 0)
    batch.append(key: Array("k".utf8), value: nil, timestamp: 0, token: 1)
    batch.append(key: Array("k".utf8), value: [], timestamp: 0, token: 2)
    batch.append(key: [], value: [0, 255], timestamp: 0, token: 3)
    batch.append(
      key: [UInt8]?.none, value: nil, headers: [Header(name: "only", value: Array("h".utf8))], timestamp: 0, token: 4)
    #expect(try sink.send(batch, from: 0) == 5)
    try await sink.flush(by: SystemClock().now() + .seconds(20))
    #expect(ends.safe == [0, 1, 2, 3, 4])
    let records = try readAll(servers, topic, 5)
    #expect(records.map(\.key) == [Array("k".utf8), Array("k".utf8), Array("k".utf8), [], nil])
    #expect(records.map(\.value) == [Array("v".utf8), nil, [], [0, 255], nil])
    #expect(records.map(\.headers) == [["a": "1", "b": ""], [:], [:], [:], ["only": "h"]])
    await sink.close()
    await transport.close()
  }

  @Test(.enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
  func aKeyGoesToThePartitionThatJavasProducerChooses() async throws {
    let cluster = try await KafkaCluster.sharedCluster()
    let transport = try transport(cluster.bootstrapServers, partitions: 12)
    let sink = try await transport.makeSink(topic, Ends())
    let keys = (0..<60).map { "key-\($0 * 7919)" } + ["", "é", "日本", String(repeating: "long", count: 50)]
    var batch = DeliveryBatch()
    for (token, key) in keys.enumerated() {
      batch.append(key: Array(key.utf8), value: Array("ours".utf8), timestamp: 0, token: UInt64(token))
    }
    #expect(try sink.send(batch, from: 0) == keys.count)
    try await sink.flush(by: SystemClock().now() + .seconds(20))
    try cluster.tool(
      "kafka-console-producer.sh",
      ["--topic", topic, "--reader-property", "parse.key=true", "--reader-property", "key.separator=|"],
      input: keys.map { "\($0)|java\n" }.joined())
    var ours: [String: Int] = [:]
    var javas: [String: Int] = [:]
    for record in try readAll(cluster.bootstrapServers, topic, 2 * keys.count) {
      let key = String(decoding: record.key ?? [], as: UTF8.self)
      if record.value == Array("java".utf8) { javas[key] = record.partition } else { ours[key] = record.partition }
    }
    #expect(ours.count == keys.count && Set(ours.values).count > 6)
    #expect(ours == javas)
    await sink.close()
    await transport.close()
  }

  @Test func aRecordThatOnlyTheBrokerFindsTooLargeFailsAlone() async throws {
    let servers = try await KafkaCluster.sharedCluster().bootstrapServers
    let transport = try transport(servers, [:], ["max.message.bytes": "2000"])
    let ends = Ends()
    let sink = try await transport.makeSink(topic, ends)
    // One at a time: the broker looks at batches.
    for (token, size) in [(0, 10), (1, 5000), (2, 10)] as [(UInt64, Int)] {
      var batch = DeliveryBatch()
      batch.append(key: nil, value: [UInt8](repeating: 65, count: size), timestamp: 0, token: token)
      #expect(try sink.send(batch, from: 0) == 1)
      #expect(await holds { ends.safe.count + ends.failed.count == Int(token) + 1 })
    }
    #expect(ends.safe == [0, 2])
    #expect(ends.failed.map(\.token) == [1])
    let error = try #require(ends.errors.first)
    #expect(error.class == .record)
    #expect(
      error.message.contains("the record is too large") && error.message.contains("max.message.bytes of the topic"))
    #expect(try readAll(servers, topic, 2).count == 2)
    await sink.close()
    await transport.close()
  }

  @Test func aCompactedTopicRefusesARecordWithoutAKey() async throws {
    let servers = try await KafkaCluster.sharedCluster().bootstrapServers
    let transport = try transport(servers, [:], ["cleanup.policy": "compact"])
    let ends = Ends()
    let sink = try await transport.makeSink(topic, ends)
    for (token, key) in [(0, Array("k".utf8)), (1, nil), (2, Array("k".utf8))] as [(UInt64, [UInt8]?)] {
      var batch = DeliveryBatch()
      batch.append(key: key, value: [65], timestamp: 0, token: token)
      #expect(try sink.send(batch, from: 0) == 1)
      #expect(await holds { ends.safe.count + ends.failed.count == Int(token) + 1 })
    }
    #expect(ends.safe == [0, 2])
    let error = try #require(ends.errors.first)
    #expect(error.class == .record)
    #expect(error.message.contains("a compacted topic needs a key in every record"), "\(error.message)")
    await sink.close()
    await transport.close()
  }
}

/// The writing end while its broker is away.
@Suite(.serialized, .enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
struct SinkOutageTests {
  @Test func closeEndsAWaitForRoom() async throws {
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let transport = try KafkaTransport(
      KafkaOptions(
        bootstrapServers: cluster.bootstrapServers, properties: [("queue.buffering.max.messages", "10")],
        creation: KafkaTopicCreation(isOn: true)), readerName: "r")
    let sink = try await transport.makeSink("t", Ends())
    cluster.pause()
    let texts = (0..<50).map { "\($0)" }
    var accepted = 0
    var start = 0
    repeat {
      accepted = try sink.send(deliveries(texts), from: start)
      start += accepted
    } while accepted > 0
    #expect(start == 10)
    let waiting = Task { await transportError { try await sink.writable() } }
    let flushing = Task { await transportError { try await sink.flush(by: SystemClock().now() + .seconds(60)) } }
    // Nothing ends while the broker is paused: both wait.
    try await Task.sleep(for: .milliseconds(300))
    let begin = ContinuousClock.now
    await sink.close()
    #expect(await waiting.value?.class == .closed)
    #expect(await flushing.value?.class == .closed)
    #expect(ContinuousClock.now - begin < .seconds(10))
    cluster.unpause()
    await transport.close()
  }

  @Test func whatIsInFlightWhenTheBrokerDiesEndsOnceAndStandsOnce() async throws {
    let cluster = try await KafkaCluster.start()
    defer { cluster.remove() }
    let transport = try KafkaTransport(
      KafkaOptions(
        bootstrapServers: cluster.bootstrapServers, creation: KafkaTopicCreation(isOn: true),
        requestTimeout: .seconds(3)),
      readerName: "r")
    let ends = Ends()
    let sink = try await transport.makeSink("t", ends)
    let count = 20_000
    let all = (0..<count).map { "record \($0)" }
    var sent = 0
    func send(upTo end: Int) async throws {
      while sent < end {
        let chunk = Array(all[sent..<min(end, sent + 500)])
        let accepted = try sink.send(deliveries(chunk, from: UInt64(sent)), from: 0)
        sent += accepted
        if accepted == 0 { try await sink.writable() }
      }
    }
    try await send(upTo: count / 2)
    cluster.kill()
    try await send(upTo: count)
    #expect(sink.trouble != nil || ends.safe.count < count)
    #expect(await holds { sink.trouble?.contains("start the broker") == true })
    let trouble = sink.trouble ?? ""
    #expect(trouble.contains("The topic \"t\" cannot be written"), "\(trouble)")
    try await cluster.resume()
    try await sink.flush(by: SystemClock().now() + .seconds(60))
    #expect(sink.trouble == nil)
    #expect(ends.failed.isEmpty)
    #expect(ends.safe.count == count && Set(ends.safe).count == count)
    #expect(try sink.send(deliveries(["after"], from: UInt64(count)), from: 0) == 1)
    try await sink.flush(by: SystemClock().now() + .seconds(20))
    let values = try readAll(cluster.bootstrapServers, "t", count + 1).map {
      String(decoding: $0.value ?? [], as: UTF8.self)
    }
    #expect(values == all + ["after"], "\(values.count) records, \(Set(values).count) of them different")
    await sink.close()
    await transport.close()
  }
}

/// All records of a topic that should have `count` of them: more where it has more, fewer where no more come.
private func readAll(_ servers: String, _ topic: String, _ count: Int) throws -> [RawConsumer.Record] {
  let consumer = try RawConsumer(servers, topic)
  var all: [RawConsumer.Record] = []
  while true {
    let more = try consumer.read(idleMilliseconds: all.count < count ? 10_000 : 500)
    all += more
    if more.isEmpty { return all }
  }
}
