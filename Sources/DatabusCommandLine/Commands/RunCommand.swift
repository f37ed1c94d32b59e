import DatabusCore
import Dispatcher

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
      .flag("with-dispatcher", "Deliver the results too: the section \"dispatcher\" says how"),
      .flag("fail-fast", "End with exit code 1 where a transport is away at start"),
      .value("workers", "N", kind: .integer(1...1024), "Threads that route; without it one for each core"),
      .value("drain", "TIME", kind: .duration, "How long to go on sending after a signal (20s)"), .logLevel,
    ], handlesSignals: true
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let log = context.logger(arguments, part: "databus")
    let failsFast = arguments.flag("fail-fast")
    let withDispatcher = arguments.flag("with-dispatcher")
    let section = withDispatcher ? try DispatcherConfiguration.required(configuration, context) : nil
    let admin = try AdminServer(
      configuration, log, parts: [HealthBoard.pipeline] + (withDispatcher ? [HealthBoard.dispatcher] : []))
    let opening = Task {
      try await Opening.retrying(HealthBoard.pipeline, log, admin.health, failsFast: failsFast) {
        let access = try await PipelineAccess(configuration, context.registry, for: .pipeline, log: log)
        var transports: [String: any Transport] = [:]
        do {
          transports = try await access.transports(access.pipelineTransports.union(section?.transports ?? []))
          var opened: OpenedDispatcher?
          if let section {
            opened = try await OpenedDispatcher(
              section, access, context.dispatcher, transports: transports, metrics: admin.metrics,
              health: admin.health, options: .init(failsFast: failsFast, drain: arguments.duration("drain")))
          }
          return (access, transports, opened)
        } catch {
          for transport in transports.values { await transport.close() }
          await access.close()
          throw error
        }
      }
    }
    let stops = StopOnSignal()
    let interruption = stops.watch(context, log) { opening.cancel() }
    defer { interruption.cancel() }
    let (access, transports, opened): (PipelineAccess, [String: any Transport], OpenedDispatcher?)
    do {
      (access, transports, opened) = try await opening.value
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
    await stops.add { pipeline.stop() }
    log.info(
      "the pipeline \"\(configuration.pipeline.name)\" starts", at: configuration.pipeline.events.stream.stream,
      [LogField("pid", Int(getpid())), LogField("state", configuration.state.type)])
    var failure: (any Error)?
    do {
      if let opened {
        try await runBoth(pipeline, opened.dispatcher, stops)
      } else {
        try await pipeline.run()
      }
    } catch { failure = error }
    let counts = await pipeline.presence().counts
    for transport in transports.values { await transport.close() }
    await opened?.close()
    await access.close()
    await admin.stop()
    if let failure { throw failure }
    log.info("the pipeline has ended", counts.all.map { LogField($0.name, $0.value) })
    return .done
  }

  /// Routes and delivers until both have ended. Where one fails, the other ends too: half of it is no service.
  private static func runBoth(
    _ pipeline: Pipeline, _ dispatcher: ResultDispatcher, _ stops: StopOnSignal
  ) async throws {
    await stops.add { dispatcher.stop() }
    let delivering = Task {
      do { try await dispatcher.run() } catch {
        pipeline.stop()
        throw error
      }
    }
    let routing: Result<Void, any Error>
    do { routing = .success(try await pipeline.run()) } catch { routing = .failure(error) }
    // At a signal it was stopped already; a router that has routed everything leaves it to deliver that.
    if case .failure = routing { dispatcher.stop() } else { dispatcher.stopWhenIdle() }
    try await delivering.value
    try routing.get()
  }
}
