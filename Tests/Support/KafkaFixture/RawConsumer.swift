import CRdkafka

/// Reads a topic over librdkafka and nothing else: what other programs see.
public final class RawConsumer: @unchecked Sendable {
  // Sendable: one caller at a time, wherever that is.

  public struct Record {
    public var partition: Int
    public var offset: Int64
    public var timestamp: Int64
    public var key: [UInt8]?
    public var value: [UInt8]?
    public var headers: [String: String]
  }

  private let client: OpaquePointer
  private let topic: String
  private var atEnd: Set<Int32> = []
  private var partitions: Set<Int32> = []

  /// Reads all partitions from their beginning.
  public init(_ servers: String, _ topic: String) throws {
    let configuration = rd_kafka_conf_new()
    var text = [CChar](repeating: 0, count: 512)
    let properties = [
      "bootstrap.servers": servers, "group.id": "raw-consumer", "enable.partition.eof": "true",
      "auto.offset.reset": "earliest", "enable.auto.commit": "false", "isolation.level": "read_committed",
    ]
    for (name, value) in properties { rd_kafka_conf_set(configuration, name, value, &text, text.count) }
    guard let client = rd_kafka_new(RD_KAFKA_CONSUMER, configuration, &text, text.count) else {
      throw KafkaCluster.Failure(message: "no consumer")
    }
    self.client = client
    self.topic = topic
    rd_kafka_poll_set_consumer(client)
    let handle = rd_kafka_topic_new(client, topic, nil)
    defer { rd_kafka_topic_destroy(handle) }
    var metadata: UnsafePointer<rd_kafka_metadata>?
    guard rd_kafka_metadata(client, 0, handle, &metadata, 10_000) == RD_KAFKA_RESP_ERR_NO_ERROR, let metadata,
      metadata.pointee.topic_cnt == 1
    else { throw KafkaCluster.Failure(message: "\(topic) cannot be looked at") }
    defer { rd_kafka_metadata_destroy(metadata) }
    let list = rd_kafka_topic_partition_list_new(8)
    defer { rd_kafka_topic_partition_list_destroy(list) }
    for partition in 0..<metadata.pointee.topics[0].partition_cnt {
      rd_kafka_topic_partition_list_add(list, topic, partition).pointee.offset = databus_rd_kafka_offset_beginning
      partitions.insert(partition)
    }
    rd_kafka_assign(client, list)
  }

  deinit {
    rd_kafka_consumer_close(client)
    rd_kafka_destroy(client)
  }

  /// What is there and was not read yet: returns when the end of every partition was met, or nothing came for a while. On a stream that
  /// grows all the time it returns what came within half a second of the first record.
  public func read(idleMilliseconds: Int32 = 5000) throws -> [Record] {
    var records: [Record] = []
    // From the first record on: how long a broker takes to give that one says nothing about the stream.
    var limit: ContinuousClock.Instant?
    while true {
      if let limit, ContinuousClock.now > limit { return records }
      let wait = atEnd == partitions ? 0 : idleMilliseconds
      guard let message = rd_kafka_consumer_poll(client, wait) else { return records }
      defer { rd_kafka_message_destroy(message) }
      if message.pointee.err == RD_KAFKA_RESP_ERR__PARTITION_EOF {
        atEnd.insert(message.pointee.partition)
        continue
      }
      guard message.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR else {
        throw KafkaCluster.Failure(message: "\(topic): \(String(cString: rd_kafka_message_errstr(message)))")
      }
      atEnd.remove(message.pointee.partition)
      records.append(RawConsumer.record(message))
      if limit == nil { limit = .now + .milliseconds(500) }
    }
  }

  /// The value of the next record, waiting so long for one; nil where none came, or it is a tombstone.
  public func next(milliseconds: Int32) throws -> [UInt8]? {
    while let message = rd_kafka_consumer_poll(client, milliseconds) {
      defer { rd_kafka_message_destroy(message) }
      if message.pointee.err == RD_KAFKA_RESP_ERR__PARTITION_EOF { continue }
      guard message.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR else {
        throw KafkaCluster.Failure(message: "\(topic): \(String(cString: rd_kafka_message_errstr(message)))")
      }
      return RawConsumer.record(message).value
    }
    return nil
  }

  private static func record(_ message: UnsafeMutablePointer<rd_kafka_message_t>) -> Record {
    func copy(_ start: UnsafeMutableRawPointer?, _ count: Int) -> [UInt8]? {
      start.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: count)) }
    }
    var headers: [String: String] = [:]
    var list: OpaquePointer?
    if rd_kafka_message_headers(message, &list) == RD_KAFKA_RESP_ERR_NO_ERROR, let list {
      var name: UnsafePointer<CChar>?
      var value: UnsafeRawPointer?
      var count = 0
      var index = 0
      while rd_kafka_header_get_all(list, index, &name, &value, &count) == RD_KAFKA_RESP_ERR_NO_ERROR {
        if let name, let value {
          headers[String(cString: name)] = String(
            decoding: UnsafeRawBufferPointer(start: value, count: count), as: UTF8.self)
        }
        index += 1
      }
    }
    var kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
    return Record(
      partition: Int(message.pointee.partition), offset: message.pointee.offset,
      timestamp: rd_kafka_message_timestamp(message, &kind), key: copy(message.pointee.key, message.pointee.key_len),
      value: copy(message.pointee.payload, message.pointee.len), headers: headers)
  }
}
