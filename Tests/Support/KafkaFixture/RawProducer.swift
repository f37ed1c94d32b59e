import CRdkafka

/// A producer over librdkafka and nothing else: what other programs write.
public final class RawProducer: @unchecked Sendable {
  // Sendable: librdkafka's handles are safe on any thread, and nothing else is kept.
  private let client: OpaquePointer

  /// - Parameters:
  ///   - transactionalID: for records that stand in transactions.
  ///   - linger: milliseconds that a record waits for others.
  public init(_ servers: String, transactionalID: String? = nil, linger: Int = 0) throws {
    let configuration = rd_kafka_conf_new()
    var text = [CChar](repeating: 0, count: 512)
    var properties = ["bootstrap.servers": servers, "linger.ms": "\(linger)", "enable.idempotence": "true"]
    if let transactionalID { properties["transactional.id"] = transactionalID }
    for (name, value) in properties { rd_kafka_conf_set(configuration, name, value, &text, text.count) }
    guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, &text, text.count) else {
      throw KafkaCluster.Failure(
        message:
          "no producer: \(String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self))")
    }
    self.client = client
    if transactionalID != nil { try check(rd_kafka_init_transactions(client, 30_000)) }
  }

  deinit { rd_kafka_destroy(client) }

  /// Sends one record without waiting for its acknowledgement.
  ///
  /// - Parameter partition: nil: by the key.
  public func send(
    _ topic: String, partition: Int? = nil, key: [UInt8]? = nil, value: [UInt8]?, headers: [(String, [UInt8]?)] = []
  ) throws {
    guard let handle = rd_kafka_topic_new(client, topic, nil) else {
      throw KafkaCluster.Failure(message: "no topic \(topic)")
    }
    defer { rd_kafka_topic_destroy(handle) }
    let list = rd_kafka_headers_new(headers.count)
    for (name, value) in headers {
      if let value {
        value.withUnsafeBytes {
          _ = rd_kafka_header_add(list, name, -1, $0.baseAddress ?? UnsafeRawPointer(bitPattern: 1), $0.count)
        }
      } else {
        rd_kafka_header_add(list, name, -1, nil, 0)
      }
    }
    let keyBytes = key ?? []
    let valueBytes = value ?? []
    // An empty value has an address too, or it would be a tombstone.
    let anywhere = UnsafeRawPointer(bitPattern: 1)
    var refreshes = 100
    while true {
      let code = keyBytes.withUnsafeBytes { keyBytes in
        valueBytes.withUnsafeBytes { valueBytes in
          databus_rd_kafka_produce_headers(
            client, handle, Int32(partition ?? -1), value == nil ? nil : valueBytes.baseAddress ?? anywhere,
            valueBytes.count, key == nil ? nil : keyBytes.baseAddress ?? anywhere, keyBytes.count, list, nil)
        }
      }
      if code == RD_KAFKA_RESP_ERR_NO_ERROR { return }
      if code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, refreshes > 0 {
        // A partition that was added a moment ago.
        refreshes -= 1
        var metadata: UnsafePointer<rd_kafka_metadata>?
        if rd_kafka_metadata(client, 0, handle, &metadata, 5000) == RD_KAFKA_RESP_ERR_NO_ERROR {
          rd_kafka_metadata_destroy(metadata)
        }
        rd_kafka_poll(client, 50)
        continue
      }
      guard code == RD_KAFKA_RESP_ERR__QUEUE_FULL else {
        rd_kafka_headers_destroy(list)
        throw KafkaCluster.Failure(message: "\(topic): \(String(cString: rd_kafka_err2str(code)))")
      }
      rd_kafka_poll(client, 10)
    }
  }

  /// Returns once everything that was sent has been acknowledged.
  public func flush(milliseconds: Int32 = 30_000) throws {
    let code = rd_kafka_flush(client, milliseconds)
    guard code == RD_KAFKA_RESP_ERR_NO_ERROR else {
      throw KafkaCluster.Failure(message: "not acknowledged: \(String(cString: rd_kafka_err2str(code)))")
    }
  }

  // MARK: Transactions

  public func begin() throws { try check(rd_kafka_begin_transaction(client)) }
  public func commit() throws { try check(rd_kafka_commit_transaction(client, 30_000)) }
  public func abort() throws { try check(rd_kafka_abort_transaction(client, 30_000)) }

  private func check(_ error: OpaquePointer?) throws {
    guard let error else { return }
    defer { rd_kafka_error_destroy(error) }
    throw KafkaCluster.Failure(message: String(cString: rd_kafka_error_string(error)))
  }
}
