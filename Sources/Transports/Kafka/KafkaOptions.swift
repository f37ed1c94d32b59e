import DatabusCore

/// How a Kafka transport is set up.
public struct KafkaOptions: Sendable {
  /// librdkafka's `bootstrap.servers`.
  public var bootstrapServers: String
  /// librdkafka's properties, in order; those in `KafkaProperties.reserved` are refused.
  public var properties: [(name: String, value: String)]
  /// What becomes of streams that do not exist.
  public var creation: KafkaTopicCreation
  /// How long a partition that is taken away may take to drain, checkpoint and commit.
  public var revocationWindow: Duration
  /// How long a question to the cluster may take.
  public var requestTimeout: Duration
  /// How often partitions are counted again, for sources without a group.
  public var partitionInterval: Duration
  /// How often the broker that feeds a partition is woken while that partition's queue has been full: librdkafka 2.0 looks only
  /// once a second by itself. zero: never.
  public var wakeInterval: Duration

  public init(
    bootstrapServers: String, properties: [(name: String, value: String)] = [],
    creation: KafkaTopicCreation = KafkaTopicCreation(), revocationWindow: Duration = .seconds(10),
    requestTimeout: Duration = .seconds(10), partitionInterval: Duration = .seconds(30),
    wakeInterval: Duration = .milliseconds(2)
  ) {
    self.bootstrapServers = bootstrapServers
    self.properties = properties
    self.creation = creation
    self.revocationWindow = revocationWindow
    self.requestTimeout = requestTimeout
    self.partitionInterval = partitionInterval
    self.wakeInterval = wakeInterval
  }
}

/// Whether and how topics are made that do not exist.
public struct KafkaTopicCreation: Sendable, Hashable {
  /// How one topic is made.
  public struct Settings: Sendable, Hashable {
    /// nil: 1.
    public var partitions: Int?
    /// nil: the broker's default.
    public var replication: Int?
    /// Kafka's configuration of the topic.
    public var properties: [String: String]

    public init(partitions: Int? = nil, replication: Int? = nil, properties: [String: String] = [:]) {
      self.partitions = partitions
      self.replication = replication
      self.properties = properties
    }
  }

  /// Otherwise a missing topic is an error.
  public var isOn: Bool
  public var settings: Settings
  /// Settings of single topics; what is absent there comes from `settings`.
  public var topics: [String: Settings]

  public init(isOn: Bool = false, settings: Settings = Settings(), topics: [String: Settings] = [:]) {
    self.isOn = isOn
    self.settings = settings
    self.topics = topics
  }

  /// - Parameter isTable: it is read whole by everybody (rules): kept for ever, in one partition.
  func settings(of topic: String, isTable: Bool) -> Settings {
    let own = topics[topic]
    var result = Settings(
      partitions: own?.partitions, replication: own?.replication ?? settings.replication,
      properties: settings.properties.merging(own?.properties ?? [:]) { _, own in own })
    if isTable {
      // Compaction would refuse the records without a key that a console producer sends: who wants it says so.
      if result.properties["cleanup.policy"] == nil { result.properties["cleanup.policy"] = "delete" }
      if result.properties["retention.ms"] == nil { result.properties["retention.ms"] = "-1" }
    } else if result.partitions == nil {
      result.partitions = settings.partitions
    }
    return result
  }
}
