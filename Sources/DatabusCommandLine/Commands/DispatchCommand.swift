import DatabusCore
import Dispatcher

#if canImport(Glibc)
  import Glibc
#endif

extension DatabusCommand {
  static let dispatch = Command(
    "dispatch", summary: "Deliver the results that the configuration's dispatcher reads",
    discussion: """
      Reads the results streams, sends each delivery to its destination once for as long as its end is remembered
      (dispatcher.deduplication), tries again what fails, and sets aside with its reason what cannot be delivered. SIGTERM
      and SIGINT (Ctrl-C) begin nothing more, wait for what is under way, write a checkpoint and end with exit code 0; a
      second signal ends at once. With a section "admin" in the configuration it answers /live, /ready and /metrics.

      One process of a configuration whose state is in SQLite runs at a time: there, 'databus run --with-dispatcher' routes
      and delivers in one.
      """,
    examples: [
      .init("databus dispatch --config Configs/dispatcher.json", "Deliver until Ctrl-C."),
      .init("databus dispatch --until-idle", "Deliver what is there and end: for batches and tests."),
    ],
    options: [
      .config, .flag("until-idle", "End when everything that is there has been delivered or set aside"),
      .flag("fail-fast", "End with exit code 1 where a transport, the state or the store is away at start"),
      .value("drain", "TIME", kind: .duration, "How long to wait for attempts after a signal (dispatcher.drain)"),
      .logLevel,
    ], subcommands: [dispatchCancel], handlesSignals: true
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let section = try DispatcherConfiguration.required(configuration, context)
    let log = context.logger(arguments, part: "databus")
    let failsFast = arguments.flag("fail-fast")
    let admin = try AdminServer(configuration, log, parts: [HealthBoard.dispatcher])
    let options = OpenedDispatcher.Options(
      stopsWhenIdle: arguments.flag("until-idle"), failsFast: failsFast, drain: arguments.duration("drain"))
    let opening = Task {
      try await Opening.retrying(HealthBoard.dispatcher, log, admin.health, failsFast: failsFast) {
        let access = try await PipelineAccess(configuration, context.registry, for: .pipeline, log: log)
        var transports: [String: any Transport] = [:]
        do {
          transports = try await access.transports(section.transports)
          let opened = try await OpenedDispatcher(
            section, access, context.dispatcher, transports: transports, metrics: admin.metrics, health: admin.health,
            options: options)
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
    let (access, transports, opened): (PipelineAccess, [String: any Transport], OpenedDispatcher)
    do {
      (access, transports, opened) = try await opening.value
    } catch {
      await admin.stop()
      if error is CancellationError { return .done }
      throw error
    }
    let dispatcher = opened.dispatcher
    await stops.add { dispatcher.stop() }
    log.info(
      "the dispatcher of \"\(configuration.pipeline.name)\" starts",
      at: section.settings.results.map(\.stream).joined(separator: ", "),
      [LogField("pid", Int(getpid())), LogField("deduplication", section.deduplication.type)])
    var failure: (any Error)?
    do { try await dispatcher.run() } catch { failure = error }
    let counts = await dispatcher.presence().counts
    for transport in transports.values { await transport.close() }
    await opened.close()
    await access.close()
    await admin.stop()
    if let failure { throw failure }
    log.info("the dispatcher has ended", counts.all.map { LogField($0.name, $0.value) })
    return .done
  }
}
