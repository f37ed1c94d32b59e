import DatabusCore
import DatabusTestKit
import Foundation
import KafkaFixture
import Synchronization
import Testing

@testable import KafkaTransport

@Suite(.enabled(if: KafkaCluster.isAvailable, Comment(rawValue: KafkaCluster.requirement)))
struct ConformanceTests {
  @Test(arguments: TransportSuite.cases)
  func conforms(_ one: ConformanceCase<TransportUnderTest>) async throws {
    let cluster = try await KafkaCluster.sharedCluster()
    var transport = TransportUnderTest("kafka") { try await subject(cluster, partitions: $0) }
    transport.quiet = .milliseconds(300)
    let outcome = await one.run(transport, timeout: .seconds(40))
    #expect(outcome == .passed, "\(outcome)")
  }

  private func subject(_ cluster: KafkaCluster, partitions: Int) async throws -> TransportSubject {
    let stream = "conformance-\(UUID().uuidString)"
    let options = KafkaOptions(
      bootstrapServers: cluster.bootstrapServers,
      properties: [
        ("queue.buffering.max.messages", "64"), ("message.max.bytes", "65536"),
        ("topic.metadata.refresh.interval.ms", "500"), ("session.timeout.ms", "3000"),
        ("heartbeat.interval.ms", "300"), ("max.poll.interval.ms", "3000"),
      ], partitionInterval: .milliseconds(500))
    let transport = try SpiedTransport(KafkaTransport(options, readerName: "conformance-reader"))
    try await transport.createTopic(stream, partitions: partitions)
    let producer = try RawProducer(cluster.bootstrapServers)
    var subject = TransportSubject(transport: transport, stream: stream) { partition, record in
      try producer.send(
        stream, partition: partition, key: record.key, value: record.value,
        headers: record.headers.map { ($0.name, $0.value) })
      try producer.flush()
    }
    subject.restart = {
      await transport.close()
      return try SpiedTransport(KafkaTransport(options, readerName: "conformance-reader"))
    }
    subject.addPartition = {
      try cluster.tool("kafka-topics.sh", ["--alter", "--topic", stream, "--partitions", "\(partitions + 1)"])
    }
    subject.recreate = {
      try await transport.deleteTopic(stream)
      let deadline = SystemClock().now() + .seconds(20)
      while try await transport.topics().contains(where: { $0.name == stream }), SystemClock().now() < deadline {
        try await Task.sleep(for: .milliseconds(50))
      }
      try await transport.createTopic(stream, partitions: partitions)
    }
    subject.truncate = { partition, before in
      let file = FileManager.default.temporaryDirectory.appendingPathComponent("\(stream).json")
      defer { try? FileManager.default.removeItem(at: file) }
      let text =
        #"{"partitions":[{"topic":"\#(stream)","partition":\#(partition.index),"offset":\#(before)}],"version":1}"#
      try text.write(to: file, atomically: true, encoding: .utf8)
      try cluster.tool("kafka-delete-records.sh", ["--offset-json-file", file.path])
    }
    subject.skip = { partition in
      func end() async throws -> UInt64 {
        try await transport.topics().first { $0.name == stream }?.bounds[partition].end.next ?? 0
      }
      let before = try await end()
      let aborted = try RawProducer(cluster.bootstrapServers, transactionalID: "conformance-\(UUID().uuidString)")
      try aborted.begin()
      try aborted.send(stream, partition: partition, value: Array("never".utf8))
      try aborted.flush()
      try aborted.abort()
      // The answer comes before the marker that ends the transaction stands there: the record, and the marker.
      guard try await holds({ try await end() == before + 2 }) else {
        throw KafkaCluster.Failure(message: "an aborted transaction does not end")
      }
    }
    subject.revoke = { _, _ in transport.sources.first?.poller.leaveInGoodOrder() }
    subject.lose = { _, _ in
      // Silent for longer than max.poll.interval.ms: librdkafka leaves the group.
      let poller = transport.sources.first?.poller
      poller?.isSuspended.store(true, ordering: .relaxed)
      try await Task.sleep(for: .seconds(5))
      poller?.isSuspended.store(false, ordering: .relaxed)
    }
    subject.tearDown = { await transport.close() }
    return subject
  }
}

/// A transport whose sources a test can get at. Each stream has groups of its own: cases run side by side.
private final class SpiedTransport: Transport {
  private let base: KafkaTransport
  private let opened = Mutex<[KafkaSource]>([])
  var sources: [KafkaSource] { opened.withLock { $0 } }

  init(_ base: KafkaTransport) { self.base = base }

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    var mode = mode
    if case .group(let name) = mode { mode = .group("\(name)-\(stream)") }
    let source = try await base.openSource(stream, mode)
    opened.withLock { $0.append(source) }
    return source
  }

  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    try await base.makeSink(stream, completions)
  }
  func topics() async throws -> [TopicDescription] { try await base.topics() }
  func createTopic(_ name: String, partitions: Int) async throws {
    try await base.createTopic(name, partitions: partitions)
  }
  func deleteTopic(_ name: String) async throws { try await base.deleteTopic(name) }
  func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  { try await base.groupPositions("\(group)-\(stream)", stream: stream) }
  func setGroupPosition(_ group: String, _ partition: PartitionID, to position: Position) async throws {
    try await base.setGroupPosition("\(group)-\(partition.stream)", partition, to: position)
  }
  func close() async { await base.close() }
}
