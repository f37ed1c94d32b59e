import DatabusCore

/// The section `dispatcher` of a configuration that is valid, as the dispatcher uses it.
public struct DispatcherConfiguration: Sendable {
  /// The transport of results and retries.
  public var transport: String
  /// The results streams that are read, each once.
  public var streams: [String]
  public var deduplication: DeduplicationConfiguration
  public var mode: DispatchSettings.Mode
  /// Attempts at a time, to all destinations together.
  public var slots: Int
  /// The largest payload, in bytes.
  public var payloadBytes: Int
  /// For destinations that no entry of `destinations` matches.
  public var defaults: DestinationSettings
  /// The first that matches counts.
  public var destinations: [DestinationConfiguration]
  public var retry: RetryPolicy
  public var breaker: BreakerPolicy
  public var secrets: Secrets
  /// Those that the streams need, and those that the file has settings for.
  public var channels: [ChannelConfiguration]
  public var deadLetters: StreamReference
  /// nil: no log of attempts.
  public var attempts: AttemptsConfiguration?
  /// The rules stream is read too.
  public var readsRules: Bool
  public var drain: Duration

  /// What the dispatcher goes by.
  public var engine: DispatchSettings {
    var settings = DispatchSettings()
    settings.results = streams.map { StreamReference(transport: transport, stream: $0) }
    settings.mode = mode
    settings.defaults = defaults
    settings.destinations = destinations
    settings.slots = slots
    settings.retry = retry
    settings.breaker = breaker
    settings.memory = deduplication.ttl
    return settings
  }
}

/// How deliveries to a destination are made, and how many may wait for it.
public struct DestinationSettings: Sendable, Hashable {
  public var delivery: DeliverySettings
  /// Deliveries that wait in memory.
  public var queue: Int

  public init(_ delivery: DeliverySettings = DeliverySettings(), queue: Int = 1000) {
    self.delivery = delivery
    self.queue = queue
  }
}

/// An entry of `destinations`.
public struct DestinationConfiguration: Sendable, Hashable {
  public var match: DestinationMatch
  /// With what `delivery` says filled in.
  public var settings: DestinationSettings
}

public struct DeduplicationConfiguration: Sendable {
  /// The registered name of its `DeduplicationStoreType`.
  public var type: String
  public var settings: ConfigurationObject
  /// How long a delivery's end is remembered.
  public var ttl: Duration
}

public struct ChannelConfiguration: Sendable {
  /// The registered name of its `DeliveryChannelType`.
  public var name: String
  public var settings: ConfigurationObject
}

public struct AttemptsConfiguration: Sendable, Hashable {
  /// The SQLite file.
  public var path: String
  public var age: Duration
  /// The most attempts that are kept.
  public var records: Int

  public init(path: String, age: Duration = .seconds(7 * 86_400), records: Int = 1_000_000) {
    self.path = path
    self.age = age
    self.records = records
  }
}
