import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

extension DatabusCommand {
  static let run = Command(
    "run", summary: "Run the pipeline that the configuration describes",
    discussion: """
      Reads the rules stream up to where it stands, then routes events until it is told to stop. Rules may change at any
      time. SIGTERM and SIGINT (Ctrl-C) stop reading, send what is in flight, write a checkpoint and end with exit code 0;
      a second signal ends at once. A restart goes on where the last checkpoint was. With a section "admin" in the
      configuration it answers /live, /ready and /metrics over HTTP.

      The first start says where reading begins (events.start). A transport that is away is tried again without limit,
      unless --fail-fast is given. Log lines go to standard error: text on a terminal, else JSON.

      --one-by-one finds a record that ends the process each time it is routed: one record is read at a time, and checkpointed
      before the next, so that the position shown by 'databus positions show' afterwards is that record's. It is slow.
      """,
    examples: [
      .init("databus run --config Configs/quickstart.json", "Run until Ctrl-C."),
      .init("databus run --until-idle", "Route what is there and end: for batches and tests."),
      .init("databus run --one-by-one --until-idle", "Up to the record that ends the process, in small steps."),
      .init("databus run --log-level warning 2>> databus.log", "Only what needs somebody's attention."),
    ],
    options: [
      .config,
      .flag("until-idle", "End when everything that is there has been routed and checkpointed"),
      .flag("one-by-one", "Read and checkpoint one record at a time: finds one that ends the process"),
      .flag("fail-fast", "End with exit code 1 where a transport is away at start"),
      .value("workers", "N", kind: .integer(1...1024), "Threads that route; without it one for each core"),
      .value("drain", "TIME", kind: .duration, "How long to go on sending after a signal (20s)"), .logLevel,
    ], handlesSignals: true
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let log = context.logger(arguments, part: "databus")
    let failsFast = arguments.flag("fail-fast")
    let admin = try AdminServer(configuration, log)
    let opening = Task {
      try await openPipeline(configuration, context.registry, log, admin.health, failsFast: failsFast)
    }
    let pipelineOnSignal = PipelineStop()
    let interruption = Task {
      for await signal in context.signals.stream {
        log.info("\(signal == SIGINT ? "SIGINT" : "SIGTERM"): draining", remedy: "a second signal ends at once")
        opening.cancel()
        await pipelineOnSignal.stop()
      }
    }
    defer { interruption.cancel() }
    let access: PipelineAccess
    let transports: [String: any Transport]
    do {
      (access, transports) = try await opening.value
    } catch {
      await admin.stop()
      if error is CancellationError { return .done }
      throw error
    }
    var parts = Pipeline.Parts(
      configuration: configuration.pipeline, transports: transports, state: access.state,
      limits: configuration.limits, checkpoint: configuration.checkpoint, log: log,
      metrics: admin.metrics, health: admin.health, workers: arguments.integer("workers") ?? Processors.available,
      stopsWhenIdle: arguments.flag("until-idle"), failsFast: failsFast,
      drainTime: arguments.duration("drain") ?? .seconds(20))
    if arguments.flag("one-by-one") {
      parts.checkpointsEachBatch = true
      parts.limits.batchRecords = 1
      log.info("one record is read at a time, and checkpointed before the next: this is slow")
    }
    let pipeline = Pipeline(parts)
    await pipelineOnSignal.set(pipeline)
    log.info(
      "the pipeline \"\(configuration.pipeline.name)\" starts", at: configuration.pipeline.events.stream.stream,
      [LogField("pid", Int(getpid())), LogField("state", configuration.state.type)])
    var failure: (any Error)?
    do { try await pipeline.run() } catch { failure = error }
    let counts = await pipeline.presence().counts
    for transport in transports.values { await transport.close() }
    await access.close()
    await admin.stop()
    if let failure { throw failure }
    log.info("the pipeline has ended", counts.all.map { LogField($0.name, $0.value) })
    return .done
  }

  /// Opens state and transports, and tries again while one is away.
  private static func openPipeline(
    _ configuration: DatabusConfiguration, _ registry: ComponentRegistry, _ log: Logger, _ health: HealthBoard,
    failsFast: Bool
  ) async throws -> (PipelineAccess, [String: any Transport]) {
    var pause = Duration.milliseconds(100)
    var told = ""
    func wait(_ message: String) async throws {
      health.tell(Health(reasons: [.init(part: "start", message: message)]), at: SystemClock().now())
      if message != told {
        log.error(message, at: "start", remedy: "it is tried again without limit")
        told = message
      }
      try await SystemClock().sleep(for: pause)
      pause = min(pause * 2, .seconds(5))
    }
    while true {
      do {
        let access = try await PipelineAccess(configuration, registry, for: .pipeline, log: log)
        do {
          return (access, try await access.transports(access.pipelineTransports))
        } catch {
          await access.close()
          throw error
        }
      } catch let error as TransportError where error.class == .transport && !failsFast {
        try await wait(error.message)
      } catch StateError.unavailable(let reason) where !failsFast {
        try await wait(reason)
      }
    }
  }
}

/// Stops a pipeline that may not be there yet.
private actor PipelineStop {
  private var pipeline: Pipeline?
  private var isStopped = false

  func set(_ pipeline: Pipeline) {
    self.pipeline = pipeline
    if isStopped { pipeline.stop() }
  }

  func stop() {
    isStopped = true
    pipeline?.stop()
  }
}
