import DatabusCore

/// The section `dispatcher` of a configuration that is valid, as the dispatcher uses it.
public struct DispatcherConfiguration: Sendable {
  /// The transport of results and retries.
  public var transport: String
  /// The results streams that are read, each once.
  public var streams: [String]
  public var deduplication: DeduplicationConfiguration
  public var mode: DeliveryMode
  /// Attempts at a time, to all destinations together.
  public var slots: Int
  /// The largest payload, in bytes.
  public var payloadBytes: Int
  /// For destinations that no entry of `destinations` matches.
  public var defaults: DestinationSettings
  /// The first that matches counts.
  public var destinations: [DestinationConfiguration]
  public var retry: RetryConfiguration
  public var breaker: BreakerConfiguration
  public var secrets: Secrets
  /// Those that the streams need, and those that the file has settings for.
  public var channels: [ChannelConfiguration]
  public var deadLetters: StreamReference
  /// nil: no log of attempts.
  public var attempts: AttemptsConfiguration?
  /// The rules stream is read too.
  public var readsRules: Bool
  public var drain: Duration

  /// What holds for a destination.
  ///
  /// - Parameter url: a target's.
  public func settings(for url: String) -> DestinationSettings {
    destinations.first { $0.match.matches(url) }?.settings ?? defaults
  }

  /// How long nobody else may claim a delivery of which an attempt is made: the attempt's deadline, and time to say how it ended.
  public static func lease(timeout: Duration) -> Duration { timeout + .seconds(5) }
}

public enum DeliveryMode: String, Sendable, Hashable, CaseIterable {
  /// An attempt whose end is not known is made again.
  case atLeastOnce = "at-least-once"
  /// It becomes a dead letter.
  case atMostOnce = "at-most-once"
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

public struct RetryConfiguration: Sendable, Hashable {
  /// Attempts of a delivery.
  public var attempts = 12
  /// From the first attempt on.
  public var age = Duration.seconds(72 * 3600)
  /// The longest wait before the second attempt, doubled with each further one.
  public var base = Duration.seconds(1)
  public var cap = Duration.seconds(6 * 3600)
  /// The longest wait that a receiver may ask for.
  public var retryAfterCap = Duration.seconds(24 * 3600)
  /// Waits up to this pass in memory.
  public var inMemory = Duration.seconds(30)
  /// The waits of the retry streams, ascending.
  public var tiers: [Duration] = [.seconds(60), .seconds(600), .seconds(3600), .seconds(6 * 3600)]

  public init() {}

  /// The retry stream of a results stream for one of the tiers.
  public static func stream(of results: String, tier: Duration) -> String {
    "\(results)-retry-\(Quantity.text(tier))"
  }
}

public struct BreakerConfiguration: Sendable, Hashable {
  /// Failures in a row that open it.
  public var failures = 10
  /// Percent of the attempts within `window` that open it.
  public var share = 50
  public var window = Duration.seconds(60)
  /// Attempts within `window` below which `share` says nothing.
  public var minimum = 20
  /// How long it stays open at first.
  public var open = Duration.seconds(30)
  public var maximumOpen = Duration.seconds(600)
  /// Successes in a row that close it.
  public var successes = 3

  public init() {}
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
