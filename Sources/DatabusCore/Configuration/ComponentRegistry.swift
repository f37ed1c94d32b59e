/// What a transport type can do as far as that is known without opening one: the configuration is checked against it.
public struct TransportCapabilities: Sendable, Hashable {
  /// nil: it cannot be read from.
  public var source: SourceCapabilities?
  /// nil: it cannot be written to.
  public var sink: SinkCapabilities?

  public init(source: SourceCapabilities? = SourceCapabilities(), sink: SinkCapabilities? = SinkCapabilities()) {
    self.source = source
    self.sink = sink
  }
}

/// Who a component is made for.
public enum ComponentAccess: Sendable, Hashable {
  /// The process that runs the pipeline: state is written.
  case pipeline
  /// A tool beside it (`status`, `rules list`, `tail`): state is only read, and nothing is fenced. State that does not exist
  /// yet, or that lives in the pipeline's process alone, is opened as an empty one.
  case tool
}

/// What a maker is told besides its settings.
public struct ComponentContext: Sendable {
  /// The name under `transports`; `state` for a state backend.
  public var name: String
  public var pipeline: String
  /// Where the configuration file is. Settings of kind `path` are relative to it already.
  public var directory: String
  public var limits: Limits
  public var clock: any EngineClock
  public var logger: Logger
  public var access: ComponentAccess
  /// The pipeline's state, opened: for transports that must remember something across restarts (the file transport's
  /// incarnations). Keys in the scope `.pipeline` begin with `incarnation/`. nil while the state itself is made.
  public var state: (any StateBackend)?

  public init(
    name: String, pipeline: String, directory: String = ".", limits: Limits = Limits(),
    clock: any EngineClock = SystemClock(), logger: Logger = .off, access: ComponentAccess = .pipeline,
    state: (any StateBackend)? = nil
  ) {
    self.name = name
    self.pipeline = pipeline
    self.directory = directory
    self.limits = limits
    self.clock = clock
    self.logger = logger
    self.access = access
    self.state = state
  }
}

/// A kind of transport: its name in the JSON file, its settings, and how one is made.
public struct TransportType: Sendable {
  public typealias Make = @Sendable (ConfigurationObject, ComponentContext) async throws -> any Transport

  public var name: String
  /// Members besides `type`. The summary is the reference page's sentence about this transport.
  public var settings: ObjectDeclaration
  /// What one with these settings can do, without opening it.
  public var capabilities: @Sendable (ConfigurationObject) -> TransportCapabilities
  /// Throws `TransportError`.
  public var make: Make

  public init(
    _ name: String, settings: ObjectDeclaration,
    capabilities: @escaping @Sendable (ConfigurationObject) -> TransportCapabilities, make: @escaping Make
  ) {
    self.name = name
    self.settings = settings
    self.capabilities = capabilities
    self.make = make
  }

  /// A transport that can do the same whatever its settings are.
  public init(
    _ name: String, settings: ObjectDeclaration, capabilities: TransportCapabilities = TransportCapabilities(),
    make: @escaping Make
  ) {
    self.init(name, settings: settings, capabilities: { _ in capabilities }, make: make)
  }
}

/// A kind of state backend: its name in the JSON file, its settings, and how one is made.
public struct StateBackendType: Sendable {
  public typealias Make = @Sendable (ConfigurationObject, ComponentContext) async throws -> any StateBackend

  public var name: String
  public var settings: ObjectDeclaration
  public var capabilities: StateCapabilities
  /// Throws `StateError`.
  public var make: Make

  public init(
    _ name: String, settings: ObjectDeclaration, capabilities: StateCapabilities, make: @escaping Make
  ) {
    self.name = name
    self.settings = settings
    self.capabilities = capabilities
    self.make = make
  }
}

/// The transports, state backends and further sections that a program knows by name. What is registered works in the JSON file, in
/// `validate`, in the schema and in the reference page.
public struct ComponentRegistry: Sendable {
  public private(set) var transports: [TransportType] = []
  public private(set) var stateBackends: [StateBackendType] = []
  public private(set) var sections: [SectionType] = []

  public init(
    transports: [TransportType] = [], stateBackends: [StateBackendType] = [], sections: [SectionType] = []
  ) {
    for type in transports { register(type) }
    for type in stateBackends { register(type) }
    for type in sections { register(type) }
  }

  /// A type of the same name that was registered before is replaced.
  public mutating func register(_ type: TransportType) {
    transports.removeAll { $0.name == type.name }
    transports.append(type)
  }

  /// A type of the same name that was registered before is replaced.
  public mutating func register(_ type: StateBackendType) {
    stateBackends.removeAll { $0.name == type.name }
    stateBackends.append(type)
  }

  /// A section of the same name that was registered before is replaced. The engine's own sections cannot be.
  public mutating func register(_ type: SectionType) {
    precondition(
      !ConfigurationDeclaration.engineSections(self).contains { $0.name == type.name && $0.isBuilt },
      "the section \"\(type.name)\" is the engine's")
    sections.removeAll { $0.name == type.name }
    sections.append(type)
  }

  public func transport(_ name: String) -> TransportType? { transports.first { $0.name == name } }
  public func stateBackend(_ name: String) -> StateBackendType? { stateBackends.first { $0.name == name } }

  var transportUnion: UnionDeclaration {
    UnionDeclaration(noun: "transport", transports.map { .init($0.name, $0.settings) })
  }
  var stateUnion: UnionDeclaration {
    UnionDeclaration(noun: "state backend", stateBackends.map { .init($0.name, $0.settings) })
  }
}
