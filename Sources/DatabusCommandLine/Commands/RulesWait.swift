import DatabusCore

/// Waits until every live process has read the rules stream as far as it stands at the call.
struct RulesWait {
  var access: PipelineAccess
  var context: CommandContext

  func run(_ timeout: Duration) async throws {
    let configuration = access.configuration
    let rules = configuration.pipeline.rules.stream
    guard access.isStateVisible else {
      throw CommandFailure(
        .failed, "the rules were acknowledged, but state of type \"\(configuration.state.type)\" shows no process",
        hint: "leave out --wait, or keep the state in a backend that other processes can see")
    }
    if !access.stateCapabilities.isShared {
      try context.errors.write(
        "State of type \"\(configuration.state.type)\" is not shared: one process is seen.\n")
    }
    let target = try await access.withTransport(rules.transport) { transport in
      let ends = try await StreamEnds.read(transport, rules.stream)
      return RulesVector(ends.mapValues { $0.end.next })
    }
    let clock = SystemClock()
    let deadline = clock.now() + timeout
    var progress = ProgressLine(context.errors)
    var live: [Presence] = []
    func behind() -> [Presence] { live.filter { !$0.rules.includes(target) } }
    let isReached = try await PipelineAccess.poll(configuration, context.registry, until: deadline) { access -> Bool? in
      let session = try await access.state.open(.pipeline)
      let now = clock.wallMilliseconds()
      live = try await Presence.all(session).filter { $0.isAlive(at: now) }
      await session.close()
      if !live.isEmpty, behind().isEmpty { return true }
      try progress.update("waiting for \(live.isEmpty ? "a process" : "\(behind().count) of \(live.count) processes")")
      return nil
    }
    try progress.clear()
    if isReached != nil { return }
    let who = behind().map { "process \($0.processID) on \($0.host)" }.joined(separator: ", ")
    throw CommandFailure(
      .failed,
      live.isEmpty
        ? "the rules were acknowledged, but no process runs this pipeline"
        : "the rules were acknowledged, but \(who) has not read them within \(Quantity.text(timeout))",
      hint: live.isEmpty ? "they come into force when one is started: databus run" : "look at 'databus status'")
  }
}

/// Where the partitions of a stream begin and end now.
enum StreamEnds {
  static func read(_ transport: any Transport, _ stream: String) async throws -> [PartitionID: PartitionBounds] {
    let source = try await transport.makeSource(stream, .everything(from: [:]))
    do {
      let partitions = try await source.partitions()
      let bounds = try await source.bounds(of: partitions)
      await source.close()
      return Dictionary(zip(partitions, bounds).map { ($0, $1) }, uniquingKeysWith: { a, _ in a })
    } catch {
      await source.close()
      throw error
    }
  }
}
