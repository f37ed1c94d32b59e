import CRdkafka
import DatabusCore

/// Topics and groups: questions and changes that belong to no single source or sink.
final class KafkaAdministration: Sendable {
  let client: KafkaClient
  let options: KafkaOptions
  /// The group's name of readers that join none.
  let readerName: String

  init(_ options: KafkaOptions, readerName: String, _ log: Logger) throws {
    self.options = options
    self.readerName = readerName
    // A consumer, because a producer's questions make brokers create topics.
    client = try KafkaClient(.consumer(group: readerName), options, log, keepsErrors: true)
  }

  func close() async { await client.close() }

  /// A name for this life of a topic, from the cluster's id: the same for every process, for ever.
  ///
  /// Topics that are made anew keep it; their records are told apart by their times.
  func incarnation(of topic: String) async throws -> String {
    let cluster = try await client.clusterID()
    return Incarnation.derived(from: ["kafka", cluster, topic])
  }

  // MARK: Topics

  /// The topic, which is made where it does not exist and may be.
  ///
  /// - Parameter isTable: it is read whole by everybody (rules).
  func topology(_ topic: String, isTable: Bool) async throws -> KafkaTopology {
    do {
      return try await client.topology(topic)
    } catch let unknown as UnknownTopic {
      guard options.creation.isOn else { throw missing(unknown) }
    }
    let settings = options.creation.settings(of: topic, isTable: isTable)
    try await create(topic, settings)
    return try await existing(topic)
  }

  func missing(_ unknown: UnknownTopic) -> TransportError {
    let what = "The topic \"\(unknown.name)\" cannot be used"
    return TransportError(
      .transport, client.condition.sentence(KafkaError(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), what))
  }

  /// A topic that was just made: every broker hears of it a little later.
  func existing(_ topic: String) async throws -> KafkaTopology {
    let clock = SystemClock()
    let deadline = clock.now() + options.requestTimeout
    while true {
      do {
        let topology = try await client.topology(topic)
        if !topology.leaders.isEmpty, topology.leaders.values.allSatisfy({ $0 >= 0 }) { return topology }
      } catch let unknown as UnknownTopic {
        if clock.now() >= deadline { throw missing(unknown) }
      }
      if clock.now() >= deadline {
        throw TransportError(
          .transport,
          "The topic \"\(topic)\" has a partition without a leader; look at the brokers (kafka-topics.sh --describe).")
      }
      try await clock.sleep(for: .milliseconds(50))
    }
  }

  func create(_ topic: String, _ settings: KafkaTopicCreation.Settings) async throws {
    let what = "The topic \"\(topic)\" cannot be created"
    try await client.ask(what) { client, timeout in
      var text = [CChar](repeating: 0, count: 512)
      guard
        let new = rd_kafka_NewTopic_new(
          topic, Int32(clamping: settings.partitions ?? 1), Int32(clamping: settings.replication ?? -1), &text,
          text.count)
      else { throw KafkaError(RD_KAFKA_RESP_ERR__INVALID_ARG, text.text) }
      defer { rd_kafka_NewTopic_destroy(new) }
      for (name, value) in settings.properties.sorted(by: { $0.key < $1.key }) {
        rd_kafka_NewTopic_set_config(new, name, value)
      }
      var topics: [OpaquePointer?] = [new]
      let event = try KafkaAdministration.result(client, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout) { options, queue in
        rd_kafka_CreateTopics(client, &topics, 1, options, queue)
      }
      defer { rd_kafka_event_destroy(event) }
      var count = 0
      guard let result = rd_kafka_event_CreateTopics_result(event),
        let list = rd_kafka_CreateTopics_result_topics(result, &count)
      else { return }
      try KafkaAdministration.check(
        list, count, except: RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, needs: "CREATE on the topic or on the cluster")
    }
    client.log.info(
      "the topic was created", at: topic, [LogField("partitions", settings.partitions ?? 1)])
  }

  func delete(_ topic: String) async throws {
    try await client.ask("The topic \"\(topic)\" cannot be deleted") { client, timeout in
      guard let doomed = rd_kafka_DeleteTopic_new(topic) else { return }
      defer { rd_kafka_DeleteTopic_destroy(doomed) }
      var topics: [OpaquePointer?] = [doomed]
      let event = try KafkaAdministration.result(client, RD_KAFKA_ADMIN_OP_DELETETOPICS, timeout) { options, queue in
        rd_kafka_DeleteTopics(client, &topics, 1, options, queue)
      }
      defer { rd_kafka_event_destroy(event) }
      var count = 0
      guard let result = rd_kafka_event_DeleteTopics_result(event),
        let list = rd_kafka_DeleteTopics_result_topics(result, &count)
      else { return }
      try KafkaAdministration.check(
        list, count, except: RD_KAFKA_RESP_ERR_NO_ERROR, needs: "DELETE and DESCRIBE on it")
    }
  }

  private static func check(
    _ list: UnsafeMutablePointer<OpaquePointer?>, _ count: Int, except permitted: rd_kafka_resp_err_t,
    needs: String
  ) throws {
    for place in 0..<count {
      guard let result = list[place] else { continue }
      let code = rd_kafka_topic_result_error(result)
      if code == RD_KAFKA_RESP_ERR_NO_ERROR || code == permitted { continue }
      throw KafkaError(code, rd_kafka_topic_result_error_string(result).map { String(cString: $0) }, needs: needs)
    }
  }

  /// A topic's configuration, by name; nil where we may not see it.
  func configuration(of topic: String) async throws -> [String: String]? {
    try await client.ask("The configuration of \"\(topic)\" cannot be read") { client, timeout -> [String: String]? in
      guard let resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic) else { return [:] }
      defer { rd_kafka_ConfigResource_destroy(resource) }
      var resources: [OpaquePointer?] = [resource]
      let event = try KafkaAdministration.result(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, timeout) { options, queue in
        rd_kafka_DescribeConfigs(client, &resources, 1, options, queue)
      }
      defer { rd_kafka_event_destroy(event) }
      var all: [String: String] = [:]
      var count = 0
      guard let result = rd_kafka_event_DescribeConfigs_result(event),
        let list = rd_kafka_DescribeConfigs_result_resources(result, &count)
      else { return all }
      for place in 0..<count {
        let code = rd_kafka_ConfigResource_error(list[place])
        if KafkaError(code).isDenied { return nil }
        if code != RD_KAFKA_RESP_ERR_NO_ERROR { throw KafkaError(code) }
        var entryCount = 0
        guard let entries = rd_kafka_ConfigResource_configs(list[place], &entryCount) else { continue }
        for place in 0..<entryCount {
          guard let name = rd_kafka_ConfigEntry_name(entries[place]),
            let value = rd_kafka_ConfigEntry_value(entries[place])
          else { continue }
          all[String(cString: name)] = String(cString: value)
        }
      }
      return all
    }
  }

  // MARK: Groups

  /// What a group has committed; nil for partitions without.
  func committed(_ group: String, _ topic: String, _ indices: [Int]) async throws -> [CommittedPosition?] {
    let member = try KafkaClient(.consumer(group: group), options, client.log, keepsErrors: true)
    do {
      let result = try await member.committed(topic, indices)
      await member.close()
      return result
    } catch {
      await member.close()
      throw error
    }
  }

  /// Sets what a group has committed, as kafka-consumer-groups.sh does: refused while it has members.
  func setCommitted(_ group: String, _ topic: String, _ index: Int, _ offset: Int64) async throws {
    try await client.ask("The position of the group \"\(group)\" cannot be set") { client, timeout in
      let partitions = PartitionList(topic, [index], offset: offset)
      guard let change = partitions.withPointer({ rd_kafka_AlterConsumerGroupOffsets_new(group, $0) }) else { return }
      defer { rd_kafka_AlterConsumerGroupOffsets_destroy(change) }
      var changes: [OpaquePointer?] = [change]
      let event = try KafkaAdministration.result(
        client, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, timeout
      ) { options, queue in
        rd_kafka_AlterConsumerGroupOffsets(client, &changes, 1, options, queue)
      }
      defer { rd_kafka_event_destroy(event) }
      var count = 0
      guard let result = rd_kafka_event_AlterConsumerGroupOffsets_result(event),
        let groups = rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &count)
      else { return }
      for place in 0..<count {
        if let error = rd_kafka_group_result_error(groups[place]) {
          let code = rd_kafka_error_code(error)
          if code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || code == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP {
            throw KafkaError(
              code,
              "a member of the group is alive: stop every process of the pipeline first (after a crash, wait for the session timeout)"
            )
          }
          throw KafkaError(
            code, String(cString: rd_kafka_error_string(error)), needs: "READ on it, and READ on the topic")
        }
        if let list = rd_kafka_group_result_partitions(groups[place]),
          let failed = PartitionList.entries(list).first(where: { $0.error != RD_KAFKA_RESP_ERR_NO_ERROR })
        {
          if failed.error == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID {
            throw KafkaError(
              failed.error,
              "a member of the group is alive: stop every process of the pipeline first (after a crash, wait for the session timeout)"
            )
          }
          throw KafkaError(failed.error)
        }
      }
    }
  }

  // MARK: librdkafka's admin calls

  /// Runs one admin call and waits for its result, which the caller destroys.
  private static func result(
    _ client: OpaquePointer, _ operation: rd_kafka_admin_op_t, _ timeout: Int32,
    _ call: (OpaquePointer, OpaquePointer) -> Void
  ) throws(KafkaError) -> OpaquePointer {
    guard let options = rd_kafka_AdminOptions_new(client, operation), let queue = rd_kafka_queue_new(client) else {
      throw KafkaError(RD_KAFKA_RESP_ERR__FAIL)
    }
    defer {
      rd_kafka_queue_destroy(queue)
      rd_kafka_AdminOptions_destroy(options)
    }
    var text = [CChar](repeating: 0, count: 256)
    rd_kafka_AdminOptions_set_request_timeout(options, timeout, &text, text.count)
    call(options, queue)
    guard let event = rd_kafka_queue_poll(queue, timeout + 1000) else { throw KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT) }
    let code = rd_kafka_event_error(event)
    if code != RD_KAFKA_RESP_ERR_NO_ERROR {
      let error = KafkaError(code, rd_kafka_event_error_string(event).map { String(cString: $0) })
      rd_kafka_event_destroy(event)
      throw error
    }
    return event
  }
}
