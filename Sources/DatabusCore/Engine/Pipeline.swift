#if canImport(Glibc)
  import Glibc
#endif

/// A pipeline: events and rules in, results and dead letters out, progress into the state backend.
///
/// Three loops share one thread of their own: *intake* reads rules and events and hands batches to the routing workers; the *sender* takes
/// routed batches in the order in which they were read and sends them; *checkpoints* are made at the interval. Nothing here is done per record.
public actor Pipeline {
  /// What becomes of the records that are read.
  public enum Work: Sendable {
    /// They are events: routed by the rules to the results streams that the configuration names.
    case route
    /// Every record goes as it is to one sink; the configuration's rules and results are not used. Deliveries say where they come from
    /// (`DeliveryBatch.origin`).
    case relay(any Transport, stream: String)
  }

  /// What a pipeline runs on.
  public struct Parts: Sendable {
    public var configuration: PipelineConfiguration
    public var limits: Limits
    public var checkpoint: CheckpointPolicy
    /// Opened transports by their names in the configuration.
    public var transports: [String: any Transport]
    public var state: any StateBackend
    public var clock: any EngineClock
    public var log: Logger
    public var metrics: MetricRegistry
    /// Where the pipeline tells every second whether it does its work.
    public var health: HealthBoard
    /// Threads that route.
    public var workers: Int
    /// Return when every partition is at its end and everything has ended.
    public var stopsWhenIdle: Bool
    /// Throw at start where a transport is away, instead of trying again.
    public var failsFast: Bool
    /// How long `run` goes on sending after `stop`.
    public var drainTime: Duration
    /// The next batch is read only once the one before is checkpointed. With `limits.batchRecords` 1, the record that ends the process is
    /// then the one at the stored position.
    public var checkpointsEachBatch = false
    /// Rules are kept in the state. false for a run that reads them all again at its next start, whatever the state is.
    public var storesRules = true
    public var work = Work.route

    public init(
      configuration: PipelineConfiguration, transports: [String: any Transport], state: any StateBackend,
      limits: Limits = Limits(), checkpoint: CheckpointPolicy = CheckpointPolicy(),
      clock: any EngineClock = SystemClock(), log: Logger = .off, metrics: MetricRegistry = MetricRegistry(),
      health: HealthBoard = HealthBoard(), workers: Int = 1, stopsWhenIdle: Bool = false, failsFast: Bool = false,
      drainTime: Duration = .seconds(20)
    ) {
      self.configuration = configuration
      self.transports = transports
      self.state = state
      self.limits = limits
      self.checkpoint = checkpoint
      self.clock = clock
      self.log = log
      self.metrics = metrics
      self.health = health
      self.workers = workers
      self.stopsWhenIdle = stopsWhenIdle
      self.failsFast = failsFast
      self.drainTime = drainTime
    }

    /// What tells the series of a pipeline that relays from those of a router in the same process.
    var metricLabels: [MetricLabel] {
      if case .relay = work { [MetricLabel("part", HealthBoard.dispatcher)] } else { [] }
    }

    /// Under what the pipeline tells of itself.
    var healthPart: String {
      if case .relay = work { HealthBoard.dispatcher } else { HealthBoard.pipeline }
    }

    /// The streams that records go to, beside the dead letters.
    var resultStreams: [String] {
      switch work {
      case .route: Set(configuration.results.streams.values).sorted()
      case .relay(_, let stream): [stream]
      }
    }
  }

  /// Why a pipeline cannot run.
  public struct Failure: Error, Sendable, CustomStringConvertible {
    public var message: String
    public var description: String { message }
  }

  /// A results stream, or the dead letters, with the sink that is open for it.
  struct Output {
    var stream: StreamReference
    var sink: any EventSink
    var port: SinkPort
    var capabilities: SinkCapabilities
  }

  /// Why a partition is parked, and so what lets it go on.
  enum ParkCause: Hashable {
    /// It cannot be restored: that is tried again.
    case restore
    /// Records are gone, and `events.onGap` is `park`: an operator decides.
    case gap
    /// A dead letter is refused: it goes on once that was taken.
    case deadLetter
    /// A checkpoint is refused: it goes on once one was written.
    case checkpoint

    var remedy: String {
      switch self {
      case .restore: "it is tried again every 5 s: end what the message names"
      case .gap: "decide: \"databus positions set\", or onGap \"continue\", and start again"
      case .deadLetter: "mend the dead-letter stream; then it goes on by itself"
      case .checkpoint: "mend the state; then it goes on by itself"
      }
    }
  }

  /// How long after it was parked a partition is tried again.
  static let parkedRetry = Duration.seconds(5)

  /// An assignment of the events stream.
  struct Partition {
    enum Status: Hashable {
      case restoring
      case running
      case revoking
      case parked(String)
    }
    var assignment: Assignment
    var status = Status.restoring
    var tracker: UInt16?
    var session: (any StateSession)?
    /// The number of the last checkpoint applied.
    var checkpoint: UInt64 = 0
    /// What that checkpoint stored.
    var saved: StoredPosition?
    /// What was committed to the source last.
    var committed: UInt64?
    var isCheckpointing = false
    /// A checkpoint whose answer was lost: the same one is written again, since it may be there already.
    var unconfirmed: StoredPosition?
    /// Intake is paused until more slots have closed.
    var isSaturated = false
    /// What parked it; nil where it is not parked.
    var parkedBy: ParkCause?
    /// The first record that came while it was parked: reading goes on there.
    var resumesAt: UInt64?
    /// The source is paused until restoring has said where to go on: what comes from where it stood before must not be routed.
    var isHeldAtSource = false
    /// When restoring is tried again.
    var restoreAgainAt: Instant?
  }

  let parts: Parts
  let thread = WorkerThread(name: "databus-pipe")
  public nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  let log: Logger
  let clock: any EngineClock
  let metrics: PipelineMetrics
  let progress: Progress
  let queue = WorkQueue()
  let resequencer: Resequencer
  let stopping = StopFlag()
  private let finishing = StopFlag()
  let checkpointSignal = Signal()

  var source: (any EventSource)?
  var feed: RulesFeed?
  var session: (any StateSession)?
  var outputs: [Output] = []
  var sinkOfScheme: [String: Int] = [:]
  var partitions: [PartitionID: Partition] = [:]
  /// Partitions that existed at the pipeline's first start: only there `events.start` holds.
  var firstPartitions: Set<PartitionID> = []
  var counts = PipelineCounts()
  var nextSequence: UInt64 = 0
  /// Batches between intake and the end of their sending.
  var batchesInRouting = 0
  var recordsSinceCheckpoint = 0
  var isSourceAtEnd = false
  var isSourceIdle = false
  var isSenderDone = false
  /// Dead letters on their way, by token.
  var letters: [UInt64: DeadLetterWriter.Letter] = [:]
  var letterBytes = 0
  /// Dead letters that their sink refused, with the time to try again.
  var refusedLetters: [UInt64: Instant] = [:]
  /// When each sink was made anew last.
  var remadeAt: [Int: Instant] = [:]
  /// Sinks that failed deliveries and have confirmed none since, with their count of confirmations then.
  var failingSinks: [Int: UInt64] = [:]
  /// Streams whose sinks have said what keeps them.
  var stuckSinks: Set<String> = []
  /// The rules stream was read to where it stood at the start: events are routed.
  var hasReadRules = false
  /// What is wrong now, by part: readiness is red while there is anything.
  var troubles: [String: String] = [:]
  /// The trouble told last, by part.
  var reported: [String: (message: String, at: Instant)] = [:]
  /// A new table is in force: those who wait for it look at this process's presence.
  let tableChanged = Signal()
  var startedAt: Int64 = 0
  /// The drain time is over: nobody waits for a sink any more.
  var isGivingUp = false
  var fatal: Failure?
  var observed = Observed()

  public init(_ parts: Parts) {
    self.parts = parts
    log = parts.log
    clock = parts.clock
    let streams = parts.resultStreams
    metrics = PipelineMetrics(parts.metrics, labels: parts.metricLabels)
    progress = Progress(outputs: streams.count, latencies: metrics.latencies(parts.clock))
    resequencer = Resequencer(signal: progress.failed)
    guard case .route = parts.work else { return }
    for (index, stream) in streams.enumerated() {
      for (scheme, name) in parts.configuration.results.streams where name == stream { sinkOfScheme[scheme] = index }
    }
  }

  /// Asks `run` to drain, checkpoint and return. Can be called from anywhere, any number of times.
  public nonisolated func stop() {
    stopping.raise()
    progress.changed.notify()
    progress.failed.notify()
    checkpointSignal.notify()
    tableChanged.notify()
  }

  /// Asks `run` to return once every partition is at its end and everything has ended, as `Parts.stopsWhenIdle` does from the start.
  public nonisolated func stopWhenIdle() {
    finishing.raise()
    progress.changed.notify()
  }

  var stopsWhenIdle: Bool { parts.stopsWhenIdle || finishing.isRaised }

  var isStopping: Bool { stopping.isRaised || fatal != nil }

  /// Where dead letters go.
  var deadLetterOutput: Int { outputs.count - 1 }

  /// Runs until `stop` or, where asked for, until everything has been routed.
  ///
  /// - Throws: `Failure` with a sentence for people.
  public func run() async throws {
    startedAt = clock.wallMilliseconds()
    defer { thread.stop() }
    let observation = Task { await self.observeLoop() }
    let ends = watchEnds()
    let outcome: Result<Void, any Error>
    do { outcome = .success(try await work()) } catch { outcome = .failure(error) }
    // Who still waits for a transport there is not waited for.
    for task in ends { task.cancel() }
    await endObservation()
    await observation.value
    try outcome.get()
  }

  private func work() async throws {
    // From the moment on at which there is state: a process that waits for its rules is one that runs.
    let presence = Task { await self.presenceLoop() }
    do {
      try await start()
    } catch {
      isSenderDone = true
      tableChanged.notify()
      await presence.value
      await removePresence()
      await close()
      if isStopping, fatal == nil { return }
      throw failure(error)
    }
    let workers = startWorkers()
    let sender = Task { await self.sendLoop() }
    let checkpoints = Task { await self.checkpointLoop() }
    do { try await intakeLoop() } catch { fatal = fatal ?? failure(error) }
    stop()
    await drain()
    queue.close()
    isSenderDone = true
    progress.failed.notify()
    await sender.value
    for worker in workers { await worker.value }
    checkpointSignal.notify()
    await checkpoints.value
    tableChanged.notify()
    await presence.value
    await leave()
    await close()
    if let fatal { throw fatal }
  }

  private func failure(_ error: any Error) -> Failure {
    (error as? Failure) ?? Failure(message: "\(error)")
  }

  // MARK: Start

  private func start() async throws {
    let eventsTransport = try transport(parts.configuration.events.stream.transport)
    let session = try await retrying("state") { try await self.parts.state.open(.pipeline) }
    self.session = session
    try await retrying("state") { try await StateTransfer.refuseUnfinished(session) }
    try await openOutputs()
    if case .route = parts.work { try await openRules(session) }
    let source = try await retrying("events") {
      try await eventsTransport.makeSource(
        self.parts.configuration.events.stream.stream, .group(self.parts.configuration.name))
    }
    self.source = source
    try await rememberFirstPartitions(session, source)
  }

  private func openRules(_ session: any StateSession) async throws {
    let rulesTransport = try transport(parts.configuration.rules.stream.transport)
    let store = try await retrying("state") { try await RuleStore(session) }
    let rulesSource = try await retrying("rules") {
      try await rulesTransport.makeSource(
        self.parts.configuration.rules.stream.stream,
        .everything(from: store.vector.positions.mapValues { Position(next: $0) }))
    }
    let limits = parts.limits
    let feed = RulesFeed(
      source: rulesSource, store: store,
      settings: .init(
        decoder: RuleDecoder(
          schemes: Set(sinkOfScheme.keys), maximumBytes: limits.ruleBytes, maximumDepth: limits.depth),
        sinks: sinkOfScheme, maximumRules: limits.rules, storesRules: parts.storesRules, clock: clock),
      progress: progress,
      log: log.named("rules"), executor: thread)
    self.feed = feed
    try await feed.load()
  }

  private func transport(_ name: String) throws(Failure) -> any Transport {
    guard let transport = parts.transports[name] else {
      throw Failure(message: "the transport \"\(name)\" was not opened")
    }
    return transport
  }

  private func openOutputs() async throws {
    let streams =
      parts.resultStreams.map {
        StreamReference(transport: parts.configuration.results.transport, stream: $0)
      } + [parts.configuration.deadLetters]
    for (index, stream) in streams.enumerated() {
      outputs.append(try await retrying(stream.stream) { try await self.makeOutput(stream, index) })
    }
  }

  func makeOutput(_ stream: StreamReference, _ index: Int) async throws -> Output {
    let transport: any Transport
    if case .relay(let target, _) = parts.work, index != parts.resultStreams.count {
      transport = target
    } else {
      transport = try self.transport(stream.transport)
    }
    let port = SinkPort(progress, sink: index)
    let sink = try await transport.makeSink(stream.stream, port)
    return Output(stream: stream, sink: sink, port: port, capabilities: sink.capabilities)
  }

  /// Tries again while a transport or the state is away; anything else ends the start.
  func retrying<R: Sendable>(_ part: String, _ body: @Sendable () async throws -> R) async throws -> R {
    var pause = Duration.milliseconds(100)
    while true {
      do {
        let result = try await body()
        troubles[part] = nil
        return result
      } catch let error as TransportError where error.class == .transport && !parts.failsFast && !isStopping {
        await report(part, error.message, pause)
      } catch StateError.unavailable(let reason) where !parts.failsFast && !isStopping {
        await report(part, reason, pause)
      }
      pause = min(pause * 2, .seconds(5))
    }
  }

  /// Says that a part is in trouble, and waits before the next try.
  func report(_ part: String, _ message: String, _ pause: Duration) async {
    troubles[part] = message
    // What fails, works and fails again many times a second (a disk that is almost full) is one line, not a thousand.
    let now = clock.now()
    let isOld = reported[part].map { $0.message != message || $0.at + Pipeline.repeatInterval <= now } ?? true
    if isOld {
      reported[part] = (message, now)
      log.error(message, at: part, remedy: "it is tried again without limit; nothing is lost meanwhile")
    }
    try? await clock.sleep(for: pause)
  }

  /// The same trouble of the same part is told again after this.
  private static let repeatInterval = Duration.seconds(10)

  private static let firstPartitionsKey = Array("first-partitions".utf8)

  /// `events.start` holds for the partitions of the first start; those that appear later start at their beginning.
  private func rememberFirstPartitions(_ session: any StateSession, _ source: any EventSource) async throws {
    let key = Pipeline.firstPartitionsKey
    if let stored = try await retrying("state", { try await session.multiGet([key])[0] }) {
      guard let vector = RulesVector(String(decoding: stored, as: UTF8.self)) else {
        throw Failure(message: "the stored list of first partitions cannot be read; remove the state to start anew")
      }
      firstPartitions = Set(vector.positions.keys)
      return
    }
    let all = try await retrying("events") { try await source.partitions() }
    firstPartitions = Set(all)
    var batch = WriteBatch()
    let list = RulesVector(Dictionary(all.map { ($0, 0) }, uniquingKeysWith: { a, _ in a }))
    batch.put(key, Array(list.description.utf8))
    batch.expect(key, nil)
    do {
      let batch = batch
      try await retrying("state") { try await session.apply(batch, checkpoint: nil) }
    } catch StateError.diverged {
      return try await rememberFirstPartitions(session, source)
    }
    log.info(
      "first start: events are read from \(startDescription)", at: parts.configuration.events.stream.stream,
      [LogField("partitions", all.count)])
  }

  private var startDescription: String {
    switch parts.configuration.events.start {
    case .earliest: "the earliest record"
    case .latest: "the end of each partition"
    case .time(let time): "the time \(time) ms"
    }
  }

  /// Ends the run with a failure.
  func end(_ failure: Failure) {
    fatal = fatal ?? failure
    stop()
  }

  private func startWorkers() -> [Task<Void, Never>] {
    let settings = Router.Settings(
      limits: parts.limits, usesCloudEventsIdentity: parts.configuration.events.identity == .auto,
      writesHeaders: parts.configuration.results.headers)
    let isRelay = if case .relay = parts.work { true } else { false }
    return (0..<max(1, parts.workers)).map { number in
      let thread = WorkerThread(name: "databus-work-\(number)")
      let queue = self.queue
      let resequencer = self.resequencer
      return Task.detached(executorPreference: thread) {
        defer { thread.stop() }
        var router: Router
        do throws(JSONError) {
          router = try Router(settings)
        } catch {
          await self.end(Failure(message: "a routing worker cannot start: \(error.message)"))
          return
        }
        while let batch = await queue.take() {
          if isRelay { Relay.route(batch) } else { router.route(batch) }
          resequencer.put(batch)
        }
      }
    }
  }

  // MARK: End

  /// Waits until all that was read has ended, at most `drainTime`.
  private func drain() async {
    let deadline = clock.now() + parts.drainTime
    for output in outputs { output.sink.retire(nil) }
    while fatal == nil, clock.now() < deadline, !isDrained {
      progress.expectChange()
      if isDrained { break }
      await flushSinks(by: deadline)
      await progress.changed.wait(for: .milliseconds(20), clock)
    }
    if !isDrained, fatal == nil {
      log.warning(
        "some deliveries have not ended within the drain time; they are sent again at the next start",
        at: parts.configuration.events.stream.stream,
        remedy: "look at what kept the sinks, or give them longer (--drain)",
        [LogField("seconds", parts.drainTime.fractionalSeconds)])
    }
    // Whatever still waits for a sink ends now.
    isGivingUp = true
    for output in outputs { await output.sink.close() }
    for partition in partitions.values where partition.tracker != nil {
      await lastCheckpoint(partition.assignment, by: clock.now() + .seconds(10))
    }
    await saveRules()
  }

  private var isDrained: Bool {
    batchesInRouting == 0
      && (outputs.dropLast().allSatisfy { $0.sink.isAtRest(nil) }
        || partitions.values.allSatisfy { $0.tracker.flatMap { progress.mark($0)?.open } ?? 0 == 0 })
  }

  /// Gives everything back.
  private func leave() async {
    if let source { try? await source.release(partitions.values.map(\.assignment)) }
    for partition in partitions.values { await partition.session?.close() }
    await removePresence()
  }

  private func close() async {
    for output in outputs { await output.sink.close() }
    await source?.close()
    await feed?.close()
    await session?.close()
  }
}
