/// A configuration that is valid, as the engine uses it.
public struct DatabusConfiguration: Sendable {
  public var pipeline: PipelineConfiguration
  /// In the file's order; names are unique.
  public var transports: [TransportConfiguration]
  public var state: StateConfiguration
  public var checkpoint: CheckpointPolicy
  public var limits: Limits
  /// nil: no HTTP server for operators.
  public var admin: AdminConfiguration?
  /// The registered sections that the file has, by their names.
  public var sections: [String: ConfigurationObject]
  /// Where relative paths begin.
  public var directory: String

  public init(
    pipeline: PipelineConfiguration, transports: [TransportConfiguration], state: StateConfiguration,
    checkpoint: CheckpointPolicy = CheckpointPolicy(), limits: Limits = Limits(), admin: AdminConfiguration? = nil,
    sections: [String: ConfigurationObject] = [:], directory: String = "."
  ) {
    self.pipeline = pipeline
    self.transports = transports
    self.state = state
    self.checkpoint = checkpoint
    self.limits = limits
    self.admin = admin
    self.sections = sections
    self.directory = directory
  }

  public func transport(_ name: String) -> TransportConfiguration? { transports.first { $0.name == name } }

  /// What a maker is told of itself.
  public func context(
    named name: String, clock: any EngineClock = SystemClock(), logger: Logger = .off,
    access: ComponentAccess = .pipeline, state: (any StateBackend)? = nil
  ) -> ComponentContext {
    ComponentContext(
      name: name, pipeline: pipeline.name, directory: directory, limits: limits, clock: clock, logger: logger,
      access: access, state: state)
  }
}

/// A stream on one of the named transports.
public struct StreamReference: Sendable, Hashable {
  public var transport: String
  public var stream: String

  public init(transport: String, stream: String) {
    self.transport = transport
    self.stream = stream
  }
}

/// Where reading begins in partitions that have no position yet.
public enum StartPosition: Sendable, Hashable {
  case earliest
  case latest
  /// Milliseconds since 1970.
  case time(Int64)

  /// - Returns: nil where the text is none of `earliest`, `latest` and an RFC 3339 time.
  public init?(_ text: String) {
    switch text {
    case "earliest": self = .earliest
    case "latest": self = .latest
    default:
      guard let time = TimeText.milliseconds(rfc3339: text) else { return nil }
      self = .time(time)
    }
  }
}

/// What is done about records that the transport no longer has.
public enum GapPolicy: String, Sendable, Hashable {
  case `continue`
  case park
}

/// Which identity events have.
public enum EventIdentityPolicy: String, Sendable, Hashable {
  /// CloudEvents' `source` and `id` where an event has them, else its position.
  case auto
  case position
}

/// When a rule is in force.
public enum RulesConsistency: String, Sendable, Hashable {
  /// Within 100 ms of its acknowledgement.
  case `default`
  /// At once: the end of the rules stream is asked for once per batch of events.
  case strict
}

public struct EventsConfiguration: Sendable, Hashable {
  public var stream: StreamReference
  public var start: StartPosition
  public var onGap: GapPolicy
  public var identity: EventIdentityPolicy

  public init(
    _ stream: StreamReference, start: StartPosition = .earliest, onGap: GapPolicy = .continue,
    identity: EventIdentityPolicy = .auto
  ) {
    self.stream = stream
    self.start = start
    self.onGap = onGap
    self.identity = identity
  }
}

public struct RulesConfiguration: Sendable, Hashable {
  public var stream: StreamReference
  public var consistency: RulesConsistency

  public init(_ stream: StreamReference, consistency: RulesConsistency = .default) {
    self.stream = stream
    self.consistency = consistency
  }
}

public struct ResultsConfiguration: Sendable, Hashable {
  public var transport: String
  /// Metadata as headers too.
  public var headers: Bool
  /// Stream names by URL scheme, in lower case.
  public var streams: [String: String]

  public static let defaultStreams = ["http": "results-http", "https": "results-http"]

  public init(
    transport: String, headers: Bool = false, streams: [String: String] = ResultsConfiguration.defaultStreams
  ) {
    self.transport = transport
    self.headers = headers
    self.streams = streams
  }
}

public struct PipelineConfiguration: Sendable, Hashable {
  /// Prefix of state, deduplication keys and group id.
  public var name: String
  public var events: EventsConfiguration
  public var rules: RulesConfiguration
  public var results: ResultsConfiguration
  public var deadLetters: StreamReference

  /// - Parameter deadLetters: nil for `<name>-dead-letters` on the events' transport.
  public init(
    name: String, events: EventsConfiguration, rules: RulesConfiguration, results: ResultsConfiguration,
    deadLetters: StreamReference? = nil
  ) {
    self.name = name
    self.events = events
    self.rules = rules
    self.results = results
    self.deadLetters =
      deadLetters ?? StreamReference(transport: events.stream.transport, stream: "\(name)-dead-letters")
  }
}

public struct TransportConfiguration: Sendable {
  public var name: String
  /// The registered name of its `TransportType`.
  public var type: String
  public var settings: ConfigurationObject
}

public struct StateConfiguration: Sendable {
  /// The registered name of its `StateBackendType`.
  public var type: String
  public var settings: ConfigurationObject
}

/// The HTTP server for operators.
public struct AdminConfiguration: Sendable, Hashable {
  /// Numbers, or `localhost`.
  public var address: String
  /// 0 takes a free one.
  public var port: Int
  /// Connections at a time.
  public var connections: Int
  /// The largest head of a request.
  public var headerBytes: Int
  /// For a client to send a request, or to read its answer.
  public var timeout: Duration

  public init(
    address: String = "127.0.0.1", port: Int = 9464, connections: Int = 64, headerBytes: Int = 16 << 10,
    timeout: Duration = .seconds(10)
  ) {
    self.address = address
    self.port = port
    self.connections = connections
    self.headerBytes = headerBytes
    self.timeout = timeout
  }
}

/// When a checkpoint is made: at the interval, or after so many records, whichever comes first.
public struct CheckpointPolicy: Sendable, Hashable {
  public var interval: Duration
  public var records: Int

  public init(interval: Duration = .seconds(1), records: Int = 100_000) {
    self.interval = interval
    self.records = records
  }
}

/// Bounds on what hostile or broken input can cost.
public struct Limits: Sendable, Hashable {
  static let maximumDeliveriesPerEvent = 65_000

  /// The largest event, in bytes.
  public var eventBytes: Int
  /// The largest rule, in bytes.
  public var ruleBytes: Int
  /// How deep events and rules may be nested.
  public var depth: Int
  public var rules: Int
  /// Deliveries that one event may make: no more than there are ordinals in a token.
  public var deliveriesPerEvent: Int
  public var batchRecords: Int
  /// Open records of one assignment.
  public var inFlightRecords: Int
  /// Open bytes of the process.
  public var inFlightBytes: Int

  public init(
    eventBytes: Int = 1 << 20, ruleBytes: Int = 1 << 20, depth: Int = 128, rules: Int = 1_000_000,
    deliveriesPerEvent: Int = 10_000, batchRecords: Int = 4096, inFlightRecords: Int = 65_536,
    inFlightBytes: Int = 64 << 20
  ) {
    self.eventBytes = eventBytes
    self.ruleBytes = ruleBytes
    self.depth = depth
    self.rules = rules
    self.deliveriesPerEvent = min(deliveriesPerEvent, Limits.maximumDeliveriesPerEvent)
    self.batchRecords = batchRecords
    self.inFlightRecords = inFlightRecords
    self.inFlightBytes = inFlightBytes
  }
}
