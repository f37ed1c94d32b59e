/// The declaration of the whole configuration file: what decoding, validation, schema and reference page are made from.
public enum ConfigurationDeclaration {
  public static func root(_ registry: ComponentRegistry) -> ObjectDeclaration {
    // A section that is known by its name stands in the place of what is not built, others behind all.
    let registered = registry.sections.map(\.field)
    let own = engineSections(registry)
    let fields = own.map { field in registered.first { $0.name == field.name } ?? field }
    return ObjectDeclaration(
      "The configuration of Databus: one JSON file, read at start.",
      fields + registered.filter { field in !own.contains { $0.name == field.name } })
  }

  /// What the engine reads, and what is known and belongs to parts that this program may not have.
  static func engineSections(_ registry: ComponentRegistry) -> [FieldDeclaration] {
    [
      FieldDeclaration(
        "$schema", .string(), example: "databus.schema.json", "Where editors find the JSON Schema; not used here."),
      FieldDeclaration("pipeline", .object(pipeline), required: true, "What is routed, from where to where."),
      FieldDeclaration(
        "transports",
        .map(of: .union(registry.transportUnion), MapRule(count: 1...Int.max)), required: true,
        example: ["local": ["type": "sqlite-log", "path": "databus-log.db"]],
        "The carriers of streams, under names that the pipeline refers to."),
      FieldDeclaration(
        "state", .union(registry.stateUnion), required: true,
        example: ["type": "sqlite", "path": "databus-state.db"],
        "Where rules, positions and checkpoints survive a restart."),
      FieldDeclaration("checkpoint", .object(checkpoint), default: [:], "How often positions are made durable."),
      FieldDeclaration("limits", .object(limits), default: [:], "Bounds on what one input can cost."),
      FieldDeclaration("lookups", .json, isBuilt: false, "Reference data for enrichment."),
      FieldDeclaration("dispatcher", .json, isBuilt: false, "The dispatcher of results over HTTP."),
      FieldDeclaration(
        "admin", .object(admin), defaultMeaning: "no server", example: ["port": 9464],
        "The HTTP server for operators: `/live`, `/ready` and `/metrics`. Where this section stands, `databus run` starts it."
      ),
    ]
  }

  private static let onlyTransport = "the only one in `transports`, where there is just one"

  private static func transport(_ summary: String) -> FieldDeclaration {
    FieldDeclaration(
      "transport", .string(.notEmpty), defaultMeaning: onlyTransport, example: "local", summary)
  }

  /// What the names of streams may be, wherever one stands in the file.
  public static let streamName = StringRule(
    length: 1...1024, form: "a stream's name without control characters", pattern: "^[^\\u0000-\\u001F\\u007F]+$",
    check: { $0.utf8.contains { $0 < 0x20 || $0 == 0x7F } ? "contains a control character" : nil })

  private static let pipeline = ObjectDeclaration(
    "One pipeline.",
    [
      FieldDeclaration(
        "name",
        .string(
          StringRule(
            length: 1...100, form: "letters, digits, `.`, `_` and `-`", pattern: "^[A-Za-z0-9._-]+$",
            check: { text in
              text.utf8.allSatisfy {
                (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == 0x2D
                  || $0 == 0x2E || $0 == 0x5F
              } ? nil : "contains other characters than letters, digits, \".\", \"_\" and \"-\""
            })), required: true, example: "quickstart",
        "Prefix of state, deduplication keys and consumer group: two pipelines with different names never meet."),
      FieldDeclaration("events", .object(events), default: [:], "The stream of events."),
      FieldDeclaration("rules", .object(rules), default: [:], "The stream of rules."),
      FieldDeclaration("results", .object(results), default: [:], "Where results go."),
      FieldDeclaration(
        "deadLetters", .object(deadLetters), default: [:], "Where records go that cannot be routed, with the reason."),
      FieldDeclaration(
        "delivery",
        .enumeration([
          EnumerationCase("at-least-once", "Repeats are possible after a failure and have the same delivery id."),
          EnumerationCase("exactly-once", "Kafka to Kafka, by transactions.", isBuilt: false),
        ]), default: "at-least-once", "What is promised of each delivery."),
    ])

  private static let events = ObjectDeclaration(
    "The stream of events.",
    [
      transport("The transport that events are read from."),
      FieldDeclaration("stream", .string(streamName), default: "events", "The stream that events are read from."),
      FieldDeclaration(
        "start",
        .string(
          StringRule(
            form: "`earliest`, `latest` or an RFC 3339 time", pattern: "^(earliest|latest|[0-9]{4}-.*)$",
            check: { StartPosition($0) == nil ? "is no place to start at" : nil })), default: "earliest",
        example: "2026-11-23T08:00:00Z", "Where partitions begin that existed at the first start."),
      FieldDeclaration(
        "onGap",
        .enumeration([
          EnumerationCase("continue", "Count, log and dead-letter the gap, and go on behind it."),
          EnumerationCase("park", "Stop the partition until an operator decides."),
        ]), default: "continue", "What is done when the transport no longer has records that were not read yet."),
      FieldDeclaration(
        "identity",
        .enumeration([
          EnumerationCase("auto", "CloudEvents' `source` and `id` where an event has them, else its position."),
          EnumerationCase("position", "Always the position: for producers that are not trusted."),
        ]), default: "auto", "What makes an event that event, for delivery ids."),
    ])

  private static let rules = ObjectDeclaration(
    "The stream of rules.",
    [
      transport("The transport that rules are read from."),
      FieldDeclaration("stream", .string(streamName), default: "rules", "The stream that rules are read from."),
      FieldDeclaration(
        "consistency",
        .enumeration([
          EnumerationCase("default", "A rule is in force 100 ms after its acknowledgement at the latest."),
          EnumerationCase("strict", "A rule is in force at once, for one question to the transport a batch."),
        ]), default: "default", "When a rule is in force."),
    ])

  private static let results = ObjectDeclaration(
    "Where results go.",
    [
      transport("The transport that results are written to."),
      FieldDeclaration("headers", .boolean, default: false, "Write the metadata of a result as headers too."),
      FieldDeclaration(
        "streams",
        .map(
          of: .string(streamName), MapRule(count: 1...Int.max, nameMeaning: "the scheme of a destination's URL")),
        default: ["https": "results-http", "http": "results-http"],
        "Streams by the scheme of the destination's URL; a rule with another scheme is refused."),
    ])

  private static let deadLetters = ObjectDeclaration(
    "Where dead letters go.",
    [
      FieldDeclaration(
        "transport", .string(.notEmpty), defaultMeaning: "the events' transport", example: "local",
        "The transport that dead letters are written to."),
      FieldDeclaration(
        "stream", .string(streamName), defaultMeaning: "`<pipeline>-dead-letters`", example: "quickstart-dead-letters",
        "The stream that dead letters are written to."),
    ])

  private static let checkpoint = ObjectDeclaration(
    "When positions and state are made durable.",
    [
      FieldDeclaration(
        "interval", .duration(.milliseconds(10)...(.seconds(3600))), default: "1s",
        "The time between two checkpoints of a partition."),
      FieldDeclaration(
        "records", .integer(1...1_000_000_000), default: 100_000,
        "The records after which one is made before its time."),
    ])

  private static let admin = ObjectDeclaration(
    "The HTTP server for operators. It answers everybody who can reach it and shows no secret: listen where only they can.",
    [
      FieldDeclaration(
        "address",
        .string(
          StringRule(
            length: 1...64, form: "an IPv4 or IPv6 address of this machine, or `localhost`",
            check: { IPAddress.isValid($0) || $0 == "localhost" ? nil : "is no IP address" })), default: "127.0.0.1",
        example: "0.0.0.0", "Where to listen; `0.0.0.0` or `::` for all addresses of this machine."),
      FieldDeclaration(
        "port", .integer(0...65_535), default: 9464, "The TCP port; 0 takes a free one, which the log names."),
      FieldDeclaration(
        "connections", .integer(1...10_000), default: 64, "Connections at a time; further ones wait until one ends."),
      FieldDeclaration(
        "headerBytes", .size(1024...(1 << 20)), default: "16KiB",
        "The largest head of a request; a larger one is refused."
      ),
      FieldDeclaration(
        "timeout", .duration(.milliseconds(100)...(.seconds(3600))), default: "10s",
        "How long a client may take to send a request, or to read its answer."),
    ])

  private static let limits = ObjectDeclaration(
    "Bounds on what one input can cost.",
    [
      FieldDeclaration(
        "eventBytes", .size(1024...(1 << 30)), default: "1MiB", "The largest event; a larger one is a dead letter."),
      FieldDeclaration(
        "ruleBytes", .size(1024...(1 << 30)), default: "1MiB", "The largest rule; a larger one is refused."),
      FieldDeclaration(
        "depth", .integer(1...1024), default: 128, "How deep the JSON of events and rules may be nested."),
      FieldDeclaration("rules", .integer(1...100_000_000), default: 1_000_000, "The number of rules in force."),
      FieldDeclaration(
        "deliveriesPerEvent", .integer(1...65_000), default: 10_000,
        "Deliveries that one event may make; above, it is a dead letter and nothing is sent."),
      FieldDeclaration("batchRecords", .integer(1...1_000_000), default: 4096, "Records that are read at a time."),
      FieldDeclaration(
        "inFlightRecords", .integer(1...100_000_000), default: 65_536,
        "Records of one partition that are read and not finished."),
      FieldDeclaration(
        "inFlightBytes", .size((1 << 20)...(1 << 40)), default: "64MiB",
        "Bytes of all partitions that are read and not finished."),
    ])
}
