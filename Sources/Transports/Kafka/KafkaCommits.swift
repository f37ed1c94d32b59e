import CRdkafka
import DatabusCore

/// What groups have committed.
extension KafkaClient {
  /// What this client's group has committed; nil for partitions without.
  func committed(_ topic: String, _ indices: [Int]) async throws -> [CommittedPosition?] {
    if indices.isEmpty { return [] }
    return try await ask("The commits of \"\(topic)\" cannot be read") { client, timeout in
      let list = PartitionList(topic, indices)
      let code = list.withPointer { rd_kafka_committed(client, $0, timeout) }
      guard code == RD_KAFKA_RESP_ERR_NO_ERROR else { throw KafkaError(code) }
      return try list.entries.map { entry in
        if entry.error != RD_KAFKA_RESP_ERR_NO_ERROR { throw KafkaError(entry.error) }
        guard entry.offset >= 0 else { return nil }
        return CommittedPosition(position: Position(next: UInt64(entry.offset)), metadata: entry.metadata)
      }
    }
  }

  /// Commits positions of this client's group.
  ///
  /// - Returns: false where partitions belong to somebody else by now.
  /// - Throws: `TransportError`; where the answer did not come in time, it may have been committed or not.
  func commit(_ topic: String, _ marks: [CommitMark]) async throws -> Bool {
    try await ask("Positions of \"\(topic)\" cannot be committed") { client, timeout -> Bool in
      var list = PartitionList(
        topic, marks.map { ($0.assignment.partition.index, Int64(clamping: $0.position.next)) })
      for (place, mark) in marks.enumerated() { list.setMetadata(mark.metadata, at: place) }
      // rd_kafka_commit would wait without limit while the group's coordinator is away, and with it whoever closes the client.
      guard let queue = rd_kafka_queue_new(client) else { throw KafkaError(RD_KAFKA_RESP_ERR__FAIL) }
      defer { rd_kafka_queue_destroy(queue) }
      let refusal = list.withPointer { rd_kafka_commit_queue(client, $0, queue, nil, nil) }
      if refusal != RD_KAFKA_RESP_ERR_NO_ERROR {
        if KafkaClient.meansNotOurs(refusal) { return false }
        throw KafkaError(refusal)
      }
      guard let event = rd_kafka_queue_poll(queue, timeout) else { throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT) }
      defer { rd_kafka_event_destroy(event) }
      let entries = rd_kafka_event_topic_partition_list(event).map { PartitionList.entries($0) } ?? []
      let all = [rd_kafka_event_error(event)] + entries.map(\.error)
      if all.contains(where: { KafkaClient.meansNotOurs($0) }) { return false }
      if let failed = all.first(where: { $0 != RD_KAFKA_RESP_ERR_NO_ERROR }) { throw KafkaError(failed) }
      return true
    }
  }

  private static func meansNotOurs(_ code: rd_kafka_resp_err_t) -> Bool {
    switch code {
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
      RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID, RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
      true
    default: false
    }
  }
}
