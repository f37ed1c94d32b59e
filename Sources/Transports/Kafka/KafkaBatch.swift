import CRdkafka
import DatabusCore

typealias KafkaMessage = UnsafeMutablePointer<rd_kafka_message_t>

/// The messages of one batch, in librdkafka's own memory.
final class KafkaBatch: RecordStorage, @unchecked Sendable {
  // Sendable: the messages are written by librdkafka before the batch is made, and destroyed by the one call of `release`.
  private let messages: [KafkaMessage]
  private let client: KafkaClient

  private init(_ messages: [KafkaMessage], _ client: KafkaClient) {
    self.messages = messages
    self.client = client
    client.retain()
  }

  /// - Parameter messages: records, not errors; owned by the batch from now on. Not empty.
  static func make(_ messages: [KafkaMessage], _ assignment: Assignment, _ client: KafkaClient) -> RecordBatch {
    let records = UnsafeMutableBufferPointer<RawRecord>.allocate(capacity: messages.count)
    var bytes = 0
    var kind = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE
    for (place, message) in messages.enumerated() {
      let value = message.pointee.payload
      let key = message.pointee.key
      let timestamp = rd_kafka_message_timestamp(message, &kind)
      let offset = UInt64(bitPattern: message.pointee.offset)
      let valueCount = message.pointee.len
      let keyCount = message.pointee.key_len
      bytes &+= valueCount &+ keyCount
      records.initializeElement(
        at: place,
        to: RawRecord(
          key: UnsafeRawPointer(key), keyCount: keyCount, value: UnsafeRawPointer(value), valueCount: valueCount,
          timestamp: kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? RawRecord.noTimestamp : timestamp,
          position: offset, next: offset &+ 1))
    }
    // What stands behind a value in librdkafka's buffer is not known: the parser looks whether its page goes on.
    return RecordBatch(
      assignment: assignment, storage: KafkaBatch(messages, client), records: records, byteCount: bytes, padding: 0)
  }

  func release(_ records: UnsafeMutableBufferPointer<RawRecord>) {
    records.deallocate()
    for message in messages { rd_kafka_message_destroy(message) }
    client.release()
  }

  func headers(at index: Int) -> [Header] {
    var headers: OpaquePointer?
    guard index >= 0, index < messages.count,
      rd_kafka_message_headers(messages[index], &headers) == RD_KAFKA_RESP_ERR_NO_ERROR, let headers
    else { return [] }
    var all: [Header] = []
    var name: UnsafePointer<CChar>?
    var value: UnsafeRawPointer?
    var count = 0
    while rd_kafka_header_get_all(headers, all.count, &name, &value, &count) == RD_KAFKA_RESP_ERR_NO_ERROR {
      all.append(
        Header(
          name: name.map { String(cString: $0) } ?? "",
          value: value.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: count)) }))
    }
    return all
  }
}
