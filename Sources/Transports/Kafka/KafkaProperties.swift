import CRdkafka
import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// librdkafka's properties: which are ours, what they are set to unless the user says otherwise, and whether librdkafka takes them.
public enum KafkaProperties {
  /// What the promises rest on, with the reason.
  public static let reserved: [String: String] = [
    "bootstrap.servers": "it has a setting of its own: \"bootstrapServers\"",
    "metadata.broker.list": "it is another name of bootstrap.servers: write \"bootstrapServers\"",
    "group.id": "it is the pipeline's name, which state and commits carry too",
    "enable.auto.commit": "a position is committed only once every record before it has ended",
    "auto.commit.enable": "a position is committed only once every record before it has ended",
    "enable.auto.offset.store": "a position is committed only once every record before it has ended",
    "auto.offset.reset": "records that are gone are told as a gap and never jumped over; see \"events.start\"",
    "enable.partition.eof": "the end of a partition tells when all rules have been read",
    "partition.assignment.strategy":
      "partitions are drained one by one before they go to another process, which needs cooperative-sticky",
    "group.protocol": "partitions are drained one by one before they go to another process, which needs \"classic\"",
    "enable.idempotence": "a record that is sent again after a lost answer must not stand twice",
    "transactional.id": "exactly-once delivery is not built yet",
    "allow.auto.create.topics": "topics are made by \"topics.create\"",
  ]

  /// Properties whose values are never shown.
  public static let secret: Set<String> = [
    "sasl.password", "ssl.key.password", "ssl.key.pem", "ssl.keystore.password", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.config",
  ]

  enum Role: Hashable {
    case producer
    /// A member of a group, or a reader of everything, with its group's name.
    case consumer(group: String)
    /// Questions and administration only.
    case administration
  }

  /// Set before the user's own.
  private static func defaults(_ role: Role) -> [(String, String)] {
    switch role {
    case .producer:
      return [
        // What waits while a request is under way goes out together with the next: small batches when there is little to do, large
        // ones when there is much, and no waiting for company.
        ("linger.ms", "0"), ("max.in.flight.requests.per.connection", "1"),
        ("partitioner", "murmur2_random"), ("queue.buffering.max.kbytes", "65536"),
        // The engine sends again without limit anyway, and what times out could stand twice.
        ("message.timeout.ms", "0"),
      ]
    case .consumer:
      return [
        // For each partition: enough to go on while the next request is under way.
        ("queued.min.messages", "20000"), ("queued.max.messages.kbytes", "8192"),
        // A member hears of a rebalance by its next heartbeat: what a dead one had is idle for so much longer.
        ("heartbeat.interval.ms", "500"), ("isolation.level", "read_committed"),
        ("topic.metadata.refresh.interval.ms", "30000"),
      ]
    case .administration: return []
    }
  }

  /// Set after the user's own.
  private static func fixed(_ role: Role, _ options: KafkaOptions) -> [(String, String)] {
    var all = [("bootstrap.servers", options.bootstrapServers)]
    switch role {
    case .producer: all.append(("enable.idempotence", "true"))
    case .consumer(let group):
      all += [
        ("group.id", group), ("enable.auto.commit", "false"), ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", "error"), ("enable.partition.eof", "true"),
        ("partition.assignment.strategy", "cooperative-sticky"), ("allow.auto.create.topics", "false"),
      ]
    case .administration: break
    }
    return all
  }

  /// Properties that only newer releases know; older ones do without.
  private static func ifKnown(_ role: Role) -> [(String, String)] {
    switch role {
    // From 2.2 on: look again soon whether a full queue has room.
    case .consumer: [("fetch.queue.backoff.ms", "2")]
    default: []
    }
  }

  /// A configuration of librdkafka for a client, owned by the caller until a client takes it.
  ///
  /// - Throws: `TransportError` for a property that librdkafka refuses.
  static func configuration(_ role: Role, _ options: KafkaOptions) throws -> OpaquePointer {
    guard let configuration = rd_kafka_conf_new() else {
      throw TransportError(.fatal, "librdkafka gives no configuration: there is no memory.")
    }
    do {
      for (name, value) in defaults(role) { try set(name, value, configuration) }
      for (name, value) in ifKnown(role) { try? set(name, value, configuration) }
      for (name, value) in options.properties {
        if let reason = reserved[name] {
          throw TransportError(.fatal, "The property \(name) cannot be set: \(reason).")
        }
        try set(name, value, configuration)
      }
      for (name, value) in fixed(role, options) { try set(name, value, configuration) }
    } catch {
      rd_kafka_conf_destroy(configuration)
      throw error
    }
    return configuration
  }

  /// - Throws: `TransportError` for a property that librdkafka refuses.
  static func check(_ role: Role, _ options: KafkaOptions) throws {
    rd_kafka_conf_destroy(try configuration(role, options))
  }

  private static func set(_ name: String, _ value: String, _ configuration: OpaquePointer) throws {
    if let problem = problem(name, value, configuration) {
      throw TransportError(.fatal, "librdkafka \(KafkaClient.libraryVersion) refuses the property \(name): \(problem).")
    }
  }

  private static func problem(_ name: String, _ value: String, _ configuration: OpaquePointer) -> String? {
    var text = [CChar](repeating: 0, count: 512)
    let result = rd_kafka_conf_set(configuration, name, value, &text, text.count)
    if result == RD_KAFKA_CONF_OK { return nil }
    if result == RD_KAFKA_CONF_UNKNOWN { return "it does not know it" }
    // librdkafka repeats the value.
    if secret.contains(name) { return "its value is not permitted" }
    return text.text
  }

  /// Why no client can be made: where librdkafka names a property that stands for a file, with the file.
  static func refusal(_ text: String, _ options: KafkaOptions) -> String {
    let what = "A Kafka client for \(options.bootstrapServers) cannot be made"
    if let file = options.properties.last(where: { $0.name.hasSuffix(".location") && text.hasPrefix($0.name) }) {
      return
        "\(what): the file of \(file.name), \(file.value), cannot be used (\(text)); check that it is there, may be read, and is in the right format."
    }
    return "\(what): \(text)."
  }

  /// What librdkafka has against a property, as the end of the sentence "librdkafka ...: it ..."; nil: nothing.
  public static func problem(_ name: String, _ value: String) -> String? {
    guard let configuration = rd_kafka_conf_new() else { return nil }
    defer { rd_kafka_conf_destroy(configuration) }
    return problem(name, value, configuration)
  }

  /// All names that librdkafka knows, for a "did you mean".
  public static var names: [String] {
    // A dump of a configuration has only those with a value: this is the table of its documentation.
    var bytes: UnsafeMutablePointer<CChar>?
    var count = 0
    guard let stream = open_memstream(&bytes, &count) else { return [] }
    rd_kafka_conf_properties_show(stream)
    fclose(stream)
    defer { free(bytes) }
    guard let bytes else { return [] }
    let text = String(
      decoding: UnsafeRawBufferPointer(start: UnsafeRawPointer(bytes), count: count), as: UTF8.self)
    var names: Set<String> = []
    for line in text.split(separator: "\n") where line.contains(" | ") {
      let name = line.prefix { $0 != " " && $0 != "|" }
      if name.contains(where: \.isLowercase) && name != "Property" { names.insert(String(name)) }
    }
    return names.sorted()
  }

  /// The value that a client of this role has for a property that is a number.
  static func number(_ name: String, _ role: Role, _ options: KafkaOptions) -> Int? {
    guard let configuration = try? configuration(role, options) else { return nil }
    defer { rd_kafka_conf_destroy(configuration) }
    var size = 0
    guard rd_kafka_conf_get(configuration, name, nil, &size) == RD_KAFKA_CONF_OK, size > 0 else { return nil }
    var text = [CChar](repeating: 0, count: size + 1)
    guard rd_kafka_conf_get(configuration, name, &text, &size) == RD_KAFKA_CONF_OK else { return nil }
    return Int(text.text)
  }

  /// The user's own value of a property.
  static func value(_ name: String, _ options: KafkaOptions) -> String? {
    options.properties.last { $0.name == name }?.value
  }
}

extension [CChar] {
  /// Up to the terminating zero.
  var text: String { String(decoding: prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) }
}
