import DatabusCore

/// The section `dispatcher` of a configuration that is valid, as the dispatcher uses it.
public struct DispatcherConfiguration: Sendable {
  /// What the dispatcher goes by. `results` are the streams that are read, each once, on the results' transport.
  public var settings: DispatchSettings
  /// The transport of results and retries.
  public var transport: String
  public var deduplication: DeduplicationConfiguration
  /// The largest payload, in bytes.
  public var payloadBytes: Int
  public var secrets: Secrets
  /// Those that the streams need, and those that the file has settings for.
  public var channels: [ChannelConfiguration]
  public var deadLetters: StreamReference
  /// nil: no log of attempts.
  public var attempts: AttemptsConfiguration?
  public var drain: Duration

  /// How long nobody else may claim a delivery of which an attempt is made: the attempt's deadline, and time to say how it ended. No
  /// setting can make it shorter.
  public static func lease(timeout: Duration) -> Duration { timeout + .seconds(5) }
}

public struct DeduplicationConfiguration: Sendable {
  /// The registered name of its `DeduplicationStoreType`.
  public var type: String
  public var settings: ConfigurationObject
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
