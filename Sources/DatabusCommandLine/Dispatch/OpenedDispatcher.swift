import AttemptLog
import DatabusCore
import Dispatcher

/// The dispatcher that a configuration describes, with everything that it runs on.
struct OpenedDispatcher: Sendable {
  let dispatcher: ResultDispatcher
  private let store: any DeduplicationStore
  /// What the process has open beside the connections of attempts: streams, state, the store.
  private static let otherFiles = 256
  private let attempts: AttemptLog?

  /// What a run may ask for.
  struct Options: Sendable {
    var stopsWhenIdle = false
    var failsFast = false
    /// nil: the configuration's.
    var drain: Duration?
  }

  /// Opens the store, the log of attempts and the channels. The state and the transports are the caller's, and stay his.
  ///
  /// - Throws: `DeduplicationError`, `SQLiteError` of the log, and what a channel throws that cannot be made.
  init(
    _ section: DispatcherConfiguration, _ access: PipelineAccess, _ registry: DispatcherRegistry,
    transports: [String: any Transport], metrics: MetricRegistry, health: HealthBoard, options: Options
  ) async throws {
    let configuration = access.configuration
    let log = access.log.named("dispatcher")
    guard let results = transports[section.transport], let letters = transports[section.deadLetters.transport] else {
      throw CommandFailure(.failed, "a transport that the dispatcher names was not opened")
    }
    // Every attempt has a connection, and connections that are kept wait for the next one.
    let slots = section.settings.slots
    let connections = OpenFiles.allow(connections: slots + OpenedDispatcher.otherFiles)
    if connections < slots + OpenedDispatcher.otherFiles {
      log.warning(
        "there may be fewer connections than attempts at a time", at: "dispatcher.delivery.slots",
        remedy: "raise the limit of open files (ulimit -Hn, LimitNOFILE), or set fewer slots",
        [LogField("slots", slots), LogField("connections", connections)])
    }
    let store = try await OpenedDispatcher.openStore(section, configuration, registry, .pipeline, log)
    self.store = store
    var attempts: AttemptLog?
    do {
      if let configured = section.attempts {
        attempts = try await AttemptLog(configured, metrics: metrics, log: log.named("attempts"))
      }
      self.attempts = attempts
      for risk in (try? await store.risks()) ?? [] {
        log.warning(risk, at: "deduplication", remedy: "what is forgotten there is sent again")
      }
      var parts = ResultDispatcher.Parts(
        pipeline: configuration.pipeline.name, settings: section.settings, transport: results,
        deadLetters: section.deadLetters, deadLetterTransport: letters, state: access.state, store: store,
        channels: try await OpenedDispatcher.openChannels(section, configuration, registry, log),
        checkpoint: configuration.checkpoint, limits: configuration.limits, log: log, metrics: metrics, health: health)
      parts.rulesTransport = section.settings.rules.flatMap { transports[$0.stream.transport] }
      parts.stopsWhenIdle = options.stopsWhenIdle
      parts.failsFast = options.failsFast
      parts.drainTime = options.drain ?? section.drain
      parts.observer = attempts
      dispatcher = try ResultDispatcher(parts)
    } catch {
      await attempts?.close()
      await store.close()
      throw error
    }
  }

  /// Opens the deduplication store of a configuration.
  static func openStore(
    _ section: DispatcherConfiguration, _ configuration: DatabusConfiguration, _ registry: DispatcherRegistry,
    _ access: ComponentAccess, _ log: Logger
  ) async throws -> any DeduplicationStore {
    guard let type = registry.store(section.deduplication.type) else {
      throw CommandFailure(.usage, "this program has no deduplication store \"\(section.deduplication.type)\"")
    }
    let context = DeduplicationStoreContext(
      pipeline: configuration.pipeline.name, limits: configuration.limits, logger: log.named("deduplication"),
      access: access)
    return try await type.make(section.deduplication.settings, context)
  }

  /// Opens the delivery channels of a configuration, by scheme.
  static func openChannels(
    _ section: DispatcherConfiguration, _ configuration: DatabusConfiguration, _ registry: DispatcherRegistry,
    _ log: Logger
  ) async throws -> [String: any DeliveryChannel] {
    let context = DeliveryChannelContext(
      pipeline: configuration.pipeline.name, secrets: section.secrets, payloadBytes: section.payloadBytes,
      slots: section.settings.slots, limits: configuration.limits, logger: log)
    var channels: [String: any DeliveryChannel] = [:]
    for entry in section.channels {
      guard let type = registry.channel(entry.name) else {
        throw CommandFailure(.usage, "this program has no delivery channel \"\(entry.name)\"")
      }
      let channel = try await type.make(entry.settings, context)
      for scheme in type.schemes where registry.channel(forScheme: scheme)?.name == type.name {
        channels[scheme] = channel
      }
    }
    return channels
  }

  /// Gives back what was opened here, after the dispatcher has ended.
  func close() async {
    await attempts?.close()
    await store.close()
  }
}

extension DispatcherConfiguration {
  /// What the dispatchers of a configuration read.
  func streams(of configuration: DatabusConfiguration) -> [DispatchStream] {
    settings.streams(group: ResultDispatcher.group(of: configuration.pipeline.name))
  }

  /// The transports that the dispatcher uses.
  var transports: Set<String> {
    var names: Set = [transport, deadLetters.transport]
    if let rules = settings.rules { names.insert(rules.stream.transport) }
    return names
  }

  /// The section of a configuration, for commands that need it.
  ///
  /// - Throws: `CommandFailure` where the file has none.
  static func required(
    _ configuration: DatabusConfiguration, _ context: CommandContext
  ) throws(CommandFailure) -> DispatcherConfiguration {
    guard let section = DispatcherConfiguration(configuration, registry: context.dispatcher) else {
      throw CommandFailure(
        .usage, "the configuration has no section \"dispatcher\"",
        hint:
          "add one: \"dispatcher\": {\"deduplication\": {\"type\": \"sqlite\", \"path\": \"databus-deduplication.db\"}}"
      )
    }
    return section
  }
}
