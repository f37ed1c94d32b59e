import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let status = Command(
    "status", summary: "Show the pipeline's processes and how far they are",
    discussion: """
      Processes that have said something of themselves within 5 seconds, whether each is ready and everything that keeps it
      from it, how much of the rules stream it has not read (RULES LAG), the state backend, and for each partition of the
      events stream the checkpointed position, the end, what lies between (LAG), and what is open or parked.

      Where the configuration has a dispatcher, its processes and the partitions of the results and retry streams follow, likewise. A
      retry stream has a lag while something waits in it.

      A stream that is away is told below, and the exit code is 1.

      With --wait-idle it returns when every event that is in the stream at the call has ended: routed, filtered or dead-lettered,
      and checkpointed; the dispatcher is not waited for. Exit code 0: it is so; 1: not within the --timeout.
      """,
    examples: [
      .init("databus status", "A table."),
      .init("databus events send events.jsonl && databus status --wait-idle", "Until everything sent has ended."),
      .init("databus status --json | jq '.partitions[].lag'", "For scripts."),
    ],
    options: [
      .config, .flag("wait-idle", "Return when every event that is there now has ended"),
      .value("timeout", "TIME", kind: .duration, "How long --wait-idle waits at most (60s)"), .json,
    ]
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let clock = SystemClock()
    if arguments.flag("wait-idle") {
      try await StatusWait(configuration: configuration, context: context)
        .run(arguments.duration("timeout") ?? .seconds(60))
    }
    return try await PipelineAccess.withTool(arguments, context) { access in
      let now = clock.wallMilliseconds()
      let section = DispatcherConfiguration(configuration, registry: context.dispatcher)
      let status = try await PipelineStatus.readAll(access, section, now: now)
      let name = configuration.pipeline.name
      try context.output.write(
        arguments.flag("json")
          ? status.json(name).prettyText + "\n"
          : status.text(name, width: context.terminal.width, now: now, seesState: access.isStateVisible))
      return status.problems.isEmpty ? .done : .failed
    }
  }
}

/// Waits until everything that is in the events stream at the call has ended.
private struct StatusWait {
  var configuration: DatabusConfiguration
  var context: CommandContext

  func run(_ timeout: Duration) async throws {
    let access = try await PipelineAccess(configuration, context.registry, for: .tool)
    let events = configuration.pipeline.events.stream
    do {
      guard PipelineStatus.canLook(access) else {
        throw CommandFailure(
          .usage, "the events stream cannot be looked at from beside",
          hint: "use 'databus run --until-idle', which ends when everything has ended")
      }
      try await access.withTransport(events.transport) { try await wait($0, timeout) }
    } catch {
      await access.close()
      throw error
    }
    await access.close()
  }

  private func wait(_ transport: any Transport, _ timeout: Duration) async throws {
    let clock = SystemClock()
    let deadline = clock.now() + timeout
    let ends = try await StreamEnds.read(transport, configuration.pipeline.events.stream.stream)
    var progress = ProgressLine(context.errors)
    var last: (rest: UInt64, status: PipelineStatus)?
    let isIdle = try await PipelineAccess.poll(configuration, context.registry, until: deadline) { access -> Bool? in
      let status = try await PipelineStatus.read(access, transport, now: clock.wallMilliseconds(), bounds: ends)
      let rest = (status.partitions ?? []).reduce(UInt64(0)) { $0 + $1.lag }
      last = (rest, status)
      if rest == 0 { return true }
      try progress.update("\(rest) events to go")
      return nil
    }
    try progress.clear()
    guard isIdle == nil, let last else { return }
    throw CommandFailure(
      .failed, "\(last.rest) event\(last.rest == 1 ? " has" : "s have") not ended within \(Quantity.text(timeout))",
      hint: hint(last.status))
  }

  private func hint(_ status: PipelineStatus) -> String {
    if status.processes.isEmpty { return "no process runs this pipeline: start one with 'databus run'" }
    for process in status.processes {
      if let reason = process.reason { return "process \(process.processID) is not ready: \(reason)" }
    }
    return "look at 'databus status'; wait longer with --timeout"
  }
}
