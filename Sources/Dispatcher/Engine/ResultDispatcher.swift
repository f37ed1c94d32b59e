import DatabusCore

/// Reads results and delivers each to its destination, once for as long as its end is remembered.
///
/// It is a pipeline like the router's: the same sources, positions, checkpoints and dead letters; its one sink is the desk, which decides
/// when each delivery is tried and when it has ended.
public final class ResultDispatcher: Sendable {
  /// What a dispatcher runs on.
  public struct Parts: Sendable {
    /// The name of the pipeline whose results these are: of its state, its consumer group and its deduplication keys.
    public var pipeline: String
    public var settings: DispatchSettings
    /// The transport of the results and of the retry streams.
    public var transport: any Transport
    public var deadLetters: StreamReference
    public var deadLetterTransport: any Transport
    /// The transport of the rules, where `settings.rules` names them.
    public var rulesTransport: (any Transport)?
    /// The router's: the dispatcher's lives beside it.
    public var state: any StateBackend
    public var store: any DeduplicationStore
    /// By URL scheme.
    public var channels: [String: any DeliveryChannel]
    public var checkpoint: CheckpointPolicy
    public var limits: Limits
    public var clock: any EngineClock
    public var log: Logger
    public var metrics: MetricRegistry
    public var health: HealthBoard
    public var observer: (any AttemptObserver)?
    public var stopsWhenIdle = false
    public var failsFast = false
    public var drainTime = Duration.seconds(20)

    public init(
      pipeline: String, settings: DispatchSettings, transport: any Transport, deadLetters: StreamReference,
      deadLetterTransport: any Transport, state: any StateBackend, store: any DeduplicationStore,
      channels: [String: any DeliveryChannel], checkpoint: CheckpointPolicy = CheckpointPolicy(),
      limits: Limits = Limits(), clock: any EngineClock = SystemClock(), log: Logger = .off,
      metrics: MetricRegistry = MetricRegistry(), health: HealthBoard = HealthBoard()
    ) {
      self.pipeline = pipeline
      self.settings = settings
      self.transport = transport
      self.deadLetters = deadLetters
      self.deadLetterTransport = deadLetterTransport
      self.state = state
      self.store = store
      self.channels = channels
      self.checkpoint = checkpoint
      self.limits = limits
      self.clock = clock
      self.log = log
      self.metrics = metrics
      self.health = health
    }
  }

  private let parts: Parts
  private let pipeline: Pipeline
  private let desk: DeliveryDesk
  private let writers: CopyWriters
  private let inbox: DeskInbox

  /// The consumer group that results are read as.
  public static func group(of pipeline: String) -> String { "\(pipeline)-dispatcher" }

  /// - Throws: `JSONError` where there is no memory for a parser; `TransportError` where rules are to be read and no transport of theirs was
  ///   given.
  public init(_ parts: Parts) throws {
    if parts.settings.rules != nil, parts.rulesTransport == nil {
      throw TransportError(.fatal, "The dispatcher is to read the rules, and their transport was not opened.")
    }
    self.parts = parts
    let settings = parts.settings
    let inbox = DeskInbox(
      maximumInFlight: settings.maximumInFlight, maximumBytes: settings.maximumInFlightBytes,
      partitionRoom: parts.limits.inFlightRecords)
    self.inbox = inbox
    let thread = WorkerThread(name: "databus-desk")
    writers = CopyWriters(parts, inbox, thread)
    desk = try DeliveryDesk(
      .init(
        settings: settings, store: parts.store, channels: parts.channels, copies: writers,
        metrics: DispatchMetrics(parts.metrics), observer: parts.observer, clock: parts.clock,
        log: parts.log), inbox: inbox, thread: thread)
    let results = settings.results.first?.transport ?? "results"
    let streams = DispatchStreams(base: parts.transport, settings: settings, clock: parts.clock, log: parts.log)
    let configuration = PipelineConfiguration(
      name: ResultDispatcher.group(of: parts.pipeline),
      events: EventsConfiguration(StreamReference(transport: results, stream: DispatchStreams.joined)),
      rules: RulesConfiguration(StreamReference(transport: results, stream: "")),
      results: ResultsConfiguration(transport: results), deadLetters: parts.deadLetters)
    // Where both are the same transport, dead letters are written to what is read from.
    var transports: [String: any Transport] = [parts.deadLetters.transport: parts.deadLetterTransport]
    transports[results] = streams
    var pipelineParts = Pipeline.Parts(
      configuration: configuration, transports: transports, state: DispatchState(base: parts.state),
      limits: parts.limits, checkpoint: parts.checkpoint, clock: parts.clock, log: parts.log, metrics: parts.metrics,
      health: parts.health, workers: 1, stopsWhenIdle: parts.stopsWhenIdle, failsFast: parts.failsFast,
      drainTime: parts.drainTime)
    pipelineParts.work = .relay(DispatchTransport(inbox: inbox, clock: parts.clock), stream: "deliveries")
    pipeline = Pipeline(pipelineParts)
  }

  /// Runs until `stop`.
  ///
  /// - Throws: `Pipeline.Failure` with a sentence for people.
  public func run() async throws {
    let desk = desk
    let working = Task { await desk.run() }
    let following = follow()
    let outcome: Result<Void, any Error>
    do { outcome = .success(try await pipeline.run()) } catch { outcome = .failure(error) }
    following?.cancel()
    await following?.value
    await desk.close()
    await working.value
    for channel in parts.channels.values { await channel.close() }
    await writers.close()
    desk.thread.stop()
    try outcome.get()
  }

  /// Reads the rules, where they matter.
  private func follow() -> Task<Void, Never>? {
    guard let rules = parts.settings.rules, let transport = parts.rulesTransport else { return nil }
    let inbox = inbox
    let follower = RuleFollower(
      transport, stream: rules.stream.stream, schemes: rules.schemes, limits: parts.limits, clock: parts.clock,
      log: parts.log.named("rules"))
    inbox.setTrouble("the rules have not been read yet", of: "rules")
    return Task {
      await follower.run(tell: { inbox.setRules($0) }, tellTrouble: { inbox.setTrouble($0, of: "rules") })
    }
  }

  /// Asks `run` to begin nothing more, to wait for what is under way, and to return. Can be called from anywhere, any number of times.
  public func stop() { pipeline.stop() }

  /// Asks `run` to return once everything that is there has been delivered or set aside.
  public func stopWhenIdle() { pipeline.stopWhenIdle() }

  /// What this process says of itself now.
  public func presence() async -> Presence { await pipeline.presence() }
}

/// One writer for each stream that takes copies, made at its first use.
final class CopyWriters: CopyStreams, @unchecked Sendable {
  // Sendable: `writers` is only touched on the desk's thread, and by `close` after the desk has ended.
  private var writers: [CopyStream: StreamWriter] = [:]
  private let make: (CopyStream) -> StreamWriter

  init(_ parts: ResultDispatcher.Parts, _ inbox: DeskInbox, _ thread: WorkerThread) {
    make = { stream in
      let (transport, name) =
        switch stream {
        case .retry(let results, let tier): (parts.transport, parts.settings.retry.stream(of: results, tier: tier))
        case .deadLetters: (parts.deadLetterTransport, parts.deadLetters.stream)
        }
      return StreamWriter(
        transport, stream: name, thread: thread, clock: parts.clock, log: parts.log, tell: { inbox.copied($0) },
        tellTrouble: { inbox.setTrouble($0, of: name) })
    }
  }

  func write(_ records: [StreamWriter.Outgoing], to stream: CopyStream) {
    let writer = writers[stream] ?? make(stream)
    writers[stream] = writer
    Task { await writer.write(records) }
  }

  func close() async {
    for writer in writers.values { await writer.close() }
  }
}
