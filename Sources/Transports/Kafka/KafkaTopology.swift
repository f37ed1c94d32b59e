import CRdkafka
import DatabusCore

/// What the cluster says of one topic.
struct KafkaTopology: Sendable, Hashable {
  /// The broker that leads each partition, by the partition's index; -1: none at the moment.
  var leaders: [Int: Int32]

  var indices: [Int] { leaders.keys.sorted() }
}

extension KafkaClient {
  /// The topic's partitions.
  ///
  /// - Throws: `TransportError`; `UnknownTopic` where it does not exist.
  func topology(_ topic: String) async throws -> KafkaTopology {
    let found = try await ask("The topic \"\(topic)\" cannot be used") { client, timeout -> KafkaTopology? in
      guard let handle = rd_kafka_topic_new(client, topic, nil) else { throw KafkaError(rd_kafka_last_error()) }
      defer { rd_kafka_topic_destroy(handle) }
      var metadata: UnsafePointer<rd_kafka_metadata>?
      let code = rd_kafka_metadata(client, 0, handle, &metadata, timeout)
      guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else { throw KafkaError(code) }
      defer { rd_kafka_metadata_destroy(metadata) }
      return try KafkaTopology.all(metadata)[topic]
    }
    guard let found else { throw UnknownTopic(name: topic) }
    condition.noteAnswer()
    return found
  }

  /// All topics but Kafka's own.
  func topologies() async throws -> [String: KafkaTopology] {
    let all = try await ask("The topics cannot be listed") { client, timeout in
      var metadata: UnsafePointer<rd_kafka_metadata>?
      let code = rd_kafka_metadata(client, 1, nil, &metadata, timeout)
      guard code == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata else { throw KafkaError(code) }
      defer { rd_kafka_metadata_destroy(metadata) }
      return try KafkaTopology.all(metadata).filter { !$0.key.hasPrefix("__") }
    }
    condition.noteAnswer()
    return all
  }

  /// The cluster's id: it outlives brokers and addresses.
  func clusterID() async throws -> String {
    let id = try await ask("The cluster does not tell its id") { client, timeout -> String? in
      guard let text = rd_kafka_clusterid(client, timeout) else { throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT) }
      defer { rd_kafka_mem_free(client, text) }
      return String(cString: text)
    }
    condition.noteAnswer()
    return id ?? ""
  }

  /// The first and the next offset of partitions, in their order; as a reader of this client would see them.
  func bounds(_ topic: String, _ indices: [Int]) async throws -> [(first: Int64, end: Int64)] {
    if indices.isEmpty { return [] }
    let result = try await ask("The bounds of \"\(topic)\" cannot be read") { client, timeout in
      let first = try KafkaClient.offsets(
        client, topic, indices.map { ($0, databus_rd_kafka_offset_beginning) }, timeout)
      let end = try KafkaClient.offsets(client, topic, indices.map { ($0, databus_rd_kafka_offset_end) }, timeout)
      return zip(first, end).map { ($0, $1) }
    }
    condition.noteAnswer()
    return result
  }

  /// The first offsets whose records are not older, in milliseconds since 1970; the end where all are.
  func offsets(_ topic: String, _ indices: [Int], at timestamp: Int64) async throws -> [Int64] {
    if indices.isEmpty { return [] }
    return try await ask("Positions of \"\(topic)\" cannot be found by time") { client, timeout in
      let found = try KafkaClient.offsets(client, topic, indices.map { ($0, max(timestamp, 0)) }, timeout)
      let missing = zip(indices, found).filter { $1 < 0 }.map(\.0)
      if missing.isEmpty { return found }
      let ends = try KafkaClient.offsets(
        client, topic, missing.map { ($0, databus_rd_kafka_offset_end) }, timeout)
      let end = Dictionary(zip(missing, ends), uniquingKeysWith: { a, _ in a })
      return zip(indices, found).map { index, offset in offset < 0 ? end[index] ?? offset : offset }
    }
  }

  /// rd_kafka_offsets_for_times: a request to each leader; the logical offsets may stand for a time.
  private static func offsets(
    _ client: OpaquePointer, _ topic: String, _ times: [(index: Int, offset: Int64)], _ timeout: Int32
  ) throws -> [Int64] {
    let list = PartitionList(topic, times)
    let code = list.withPointer { rd_kafka_offsets_for_times(client, $0, timeout) }
    guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code) }
    let entries = list.entries
    if let failed = entries.first(where: { $0.error != RD_KAFKA_RESP_ERR_NO_ERROR }) {
      throw KafkaError(failed.error)
    }
    return entries.map(\.offset)
  }
}

/// The topic does not exist.
struct UnknownTopic: Error {
  var name: String
}

extension KafkaTopology {
  /// - Throws: `KafkaError` for a topic that may not be seen.
  fileprivate static func all(_ metadata: UnsafePointer<rd_kafka_metadata>) throws -> [String: KafkaTopology] {
    var all: [String: KafkaTopology] = [:]
    guard let topics = metadata.pointee.topics else { return all }
    for place in 0..<Int(metadata.pointee.topic_cnt) {
      let topic = topics[place]
      guard let name = topic.topic.map({ String(cString: $0) }) else { continue }
      switch topic.err {
      case RD_KAFKA_RESP_ERR_NO_ERROR: break
      case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART: continue
      default:
        if metadata.pointee.topic_cnt == 1 { throw KafkaError(topic.err) }
        continue
      }
      var leaders: [Int: Int32] = [:]
      for place in 0..<Int(topic.partition_cnt) {
        let partition = topic.partitions[place]
        leaders[Int(partition.id)] = partition.leader
      }
      all[name] = KafkaTopology(leaders: leaders)
    }
    return all
  }
}
