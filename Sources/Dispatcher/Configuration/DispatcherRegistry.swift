import DatabusCore

/// What the maker of a delivery channel is told besides its settings.
public struct DeliveryChannelContext: Sendable {
  public var pipeline: String
  /// The secrets of the configuration, each with where it may be sent to.
  public var secrets: Secrets
  /// The largest payload, in bytes: a larger one is never given to a channel.
  public var payloadBytes: Int
  /// Attempts at a time, to all destinations together.
  public var slots: Int
  public var limits: Limits
  public var clock: any EngineClock
  public var logger: Logger

  public init(
    pipeline: String, secrets: Secrets, payloadBytes: Int, slots: Int, limits: Limits = Limits(),
    clock: any EngineClock = SystemClock(), logger: Logger = .off
  ) {
    self.pipeline = pipeline
    self.secrets = secrets
    self.payloadBytes = payloadBytes
    self.slots = slots
    self.limits = limits
    self.clock = clock
    self.logger = logger
  }
}

/// What the maker of a deduplication store is told besides its settings.
public struct DeduplicationStoreContext: Sendable {
  /// The prefix of everything that the store keeps.
  public var pipeline: String
  public var limits: Limits
  public var clock: any EngineClock
  public var logger: Logger
  /// Who it is made for: the dispatcher, or a tool beside it (`destinations`, `dlq`, `deliveries`).
  public var access: ComponentAccess

  public init(
    pipeline: String, limits: Limits = Limits(), clock: any EngineClock = SystemClock(), logger: Logger = .off,
    access: ComponentAccess = .pipeline
  ) {
    self.pipeline = pipeline
    self.limits = limits
    self.clock = clock
    self.logger = logger
    self.access = access
  }
}

/// A kind of delivery channel: its name in the JSON file, the schemes of the URLs that it delivers to, its settings, and how one is
/// made.
public struct DeliveryChannelType: Sendable {
  public typealias Make = @Sendable (ConfigurationObject, DeliveryChannelContext) async throws -> any DeliveryChannel

  /// The name of its settings under `dispatcher.channels`.
  public var name: String
  /// In lower case, without ":".
  public var schemes: [String]
  /// Where one of them is required, only a file that has them has the channel.
  public var settings: ObjectDeclaration
  public var make: Make

  public init(_ name: String, schemes: [String], settings: ObjectDeclaration, make: @escaping Make) {
    self.name = name
    self.schemes = schemes
    self.settings = settings
    self.make = make
  }

  /// It works without settings.
  var isAlwaysThere: Bool { !settings.fields.contains(where: \.isRequired) }
}

/// A kind of deduplication store: its name in the JSON file, its settings, and how one is made.
public struct DeduplicationStoreType: Sendable {
  public typealias Make =
    @Sendable (ConfigurationObject, DeduplicationStoreContext) async throws -> any DeduplicationStore

  public var name: String
  /// Members besides `type` and those that every store has (`ttl`, `onUnavailable`).
  public var settings: ObjectDeclaration
  /// Throws `DeduplicationError`.
  public var make: Make

  public init(_ name: String, settings: ObjectDeclaration, make: @escaping Make) {
    self.name = name
    self.settings = settings
    self.make = make
  }
}

/// The delivery channels and deduplication stores that a program knows by name. What is registered works in the section `dispatcher`
/// of the JSON file, in `validate`, in the schema and in the reference page.
public struct DispatcherRegistry: Sendable {
  public private(set) var channels: [DeliveryChannelType] = []
  public private(set) var stores: [DeduplicationStoreType] = []

  public init(channels: [DeliveryChannelType] = [], stores: [DeduplicationStoreType] = []) {
    for type in channels { register(type) }
    for type in stores { register(type) }
  }

  /// A type of the same name that was registered before is replaced.
  public mutating func register(_ type: DeliveryChannelType) {
    channels.removeAll { $0.name == type.name }
    channels.append(type)
  }

  /// A type of the same name that was registered before is replaced.
  public mutating func register(_ type: DeduplicationStoreType) {
    for field in DispatcherDeclaration.deduplicationFields {
      precondition(type.settings.field(field.name) == nil, "the setting \"\(field.name)\" is that of every store")
    }
    stores.removeAll { $0.name == type.name }
    stores.append(type)
  }

  public func channel(_ name: String) -> DeliveryChannelType? { channels.first { $0.name == name } }
  public func store(_ name: String) -> DeduplicationStoreType? { stores.first { $0.name == name } }

  /// Who delivers to the URLs of a scheme: of several, the one that was registered last.
  public func channel(forScheme scheme: String) -> DeliveryChannelType? {
    channels.last { $0.schemes.contains(scheme) }
  }

  /// The section `dispatcher` of the configuration file, to be registered with the program's components.
  public var section: SectionType {
    let registry = self
    return SectionType(
      "dispatcher", DispatcherDeclaration.section(self), defaultMeaning: "no dispatcher",
      example: ["deduplication": ["type": "sqlite", "path": "databus-deduplication.db"]],
      "The dispatcher, which sends the results to their destinations: `databus dispatch`, or `databus run --with-dispatcher`."
    ) { section, context in
      DispatcherCheck(section: section, context: context, registry: registry).problems()
    }
  }
}
