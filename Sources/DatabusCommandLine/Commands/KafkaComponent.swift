import DatabusCore
import KafkaTransport

extension BuiltInComponents {
  private static let topicProperties = FieldDeclaration(
    "properties", .map(of: .string(), MapRule(nameMeaning: "a topic's configuration, by Kafka's names")), default: [:],
    example: ["retention.ms": "604800000"], "Kafka's configuration of topics that are made.")

  private static func topicSettings(_ summary: String, _ more: [FieldDeclaration] = []) -> ObjectDeclaration {
    ObjectDeclaration(
      summary,
      more + [
        FieldDeclaration(
          "partitions", .integer(1...100_000), defaultMeaning: "1",
          "Partitions of topics that are made; rules always have one unless their topic is named."),
        FieldDeclaration(
          "replication", .integer(1...100), defaultMeaning: "the broker's default",
          "Replicas of each partition of topics that are made."), topicProperties,
      ])
  }

  private static let kafkaTopics = topicSettings(
    "What becomes of topics that do not exist.",
    [
      FieldDeclaration(
        "create", .boolean, default: false, "Make topics that do not exist; otherwise a missing one is an error."),
      FieldDeclaration(
        "named", .map(of: .object(topicSettings("How one topic is made.")), MapRule(nameMeaning: "a topic")),
        default: [:], example: ["events": ["partitions": 12]], "Settings of single topics."),
    ])

  static let kafka = TransportType(
    "kafka",
    settings: ObjectDeclaration(
      "Topics of an Apache Kafka cluster; several processes share the partitions of the events as one consumer group.",
      [
        FieldDeclaration(
          "bootstrapServers", .string(.notEmpty), required: true,
          example: "${KAFKA_BOOTSTRAP_SERVERS:-localhost:9092}",
          "Brokers to begin with: `host:port`, separated by commas."),
        FieldDeclaration(
          "properties",
          .map(
            of: .string(),
            MapRule(
              reserved: KafkaProperties.reserved, secret: KafkaProperties.secret,
              nameMeaning: "a property of librdkafka",
              check: { name, value in
                guard let problem = KafkaProperties.problem(name, value) else { return nil }
                return (
                  "librdkafka refuses \"\(name)\": \(problem)", Spelling.hint(for: name, among: KafkaProperties.names)
                )
              })), default: [:], example: ["security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN"],
          "librdkafka's properties, for consumers and producers alike."),
        FieldDeclaration("topics", .object(kafkaTopics), default: [:], "What becomes of topics that do not exist."),
        FieldDeclaration(
          "revocationWindow", .duration(.milliseconds(100)...(.seconds(300))), default: "10s",
          "How long a partition that goes to another process may take to finish what is in flight."),
        FieldDeclaration(
          "requestTimeout", .duration(.milliseconds(100)...(.seconds(300))), default: "10s",
          "How long a question to the cluster may take."),
      ]), capabilities: TransportCapabilities(source: SourceCapabilities(seeksByTime: true))
  ) { settings, context in
    func topic(_ object: ConfigurationObject) -> KafkaTopicCreation.Settings {
      KafkaTopicCreation.Settings(
        partitions: object.optionalInteger("partitions"), replication: object.optionalInteger("replication"),
        properties: Dictionary(
          object.stringMap("properties").map { ($0.name, $0.value) }, uniquingKeysWith: { _, last in last }))
    }
    let topics = settings.object("topics")
    var named: [String: KafkaTopicCreation.Settings] = [:]
    for (name, value) in topics.map("named") {
      if case .object(let object) = value.content { named[name] = topic(object) }
    }
    var options = KafkaOptions(
      bootstrapServers: settings.string("bootstrapServers"), properties: settings.stringMap("properties"),
      creation: KafkaTopicCreation(isOn: topics.boolean("create"), settings: topic(topics), topics: named))
    options.revocationWindow = settings.duration("revocationWindow")
    options.requestTimeout = settings.duration("requestTimeout")
    return try KafkaTransport(options, readerName: context.pipeline, log: context.logger)
  }
}
