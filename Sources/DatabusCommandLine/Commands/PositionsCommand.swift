import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let positions = Command(
    "positions", summary: "Show and set where the pipeline goes on, and skip a record",
    examples: [
      .init("databus positions show", "Each partition's position."),
      .init("databus positions set 0 earliest", "Route everything again: results have the same ids as before."),
      .init("databus positions skip --dead-letter", "Past a record that ends the process each time."),
    ], subcommands: [positionsShow, positionsSet, positionsSkip])

  private static let positionsShow = Command(
    "show", summary: "Show where the pipeline goes on in each partition of its events, and its dispatcher",
    discussion: """
      The position is the record to be read next after a restart. It comes from the last checkpoint (STATE) and, where the
      transport keeps commits, from what was committed there (COMMITTED). Where the configuration has a dispatcher, the partitions
      of the results and of the retry streams follow.
      """,
    examples: [.init("databus positions show --json | jq '.[].position'", "For scripts.")],
    options: [.config, .json]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let section = DispatcherConfiguration(access.configuration, registry: context.dispatcher)
      guard section != nil || PipelineStatus.canLook(access) else { throw notReplayable(access) }
      let now = SystemClock().wallMilliseconds()
      let status = try await PipelineStatus.read(access, now: now)
      let dispatchers = try await PipelineStatus.readDispatchers(access, section, now: now)
      let partitions = (status.partitions ?? []) + (dispatchers?.partitions ?? [])
      func number(_ position: Position?) -> JSONValue {
        position.map { JSONValue(.number(String($0.next))) } ?? JSONValue(.null)
      }
      if arguments.flag("json") {
        let list = partitions.map { entry in
          JSONValue(members: [
            ("stream", JSONValue(.string(entry.partition.stream))),
            ("partition", JSONValue(integerLiteral: entry.partition.index)),
            ("position", number(entry.resume.position)),
            ("state", number(entry.resume.stored)), ("committed", number(entry.resume.committed)),
            ("first", number(entry.bounds.first)), ("end", number(entry.bounds.end)),
          ])
        }
        try context.output.write(JSONValue(.array(list)).prettyText + "\n")
        return .done
      }
      var table = Table([
        ("PARTITION", .left), ("POSITION", .right), ("STATE", .right), ("COMMITTED", .right), ("FIRST", .right),
        ("END", .right), ("", .left),
      ])
      func text(_ position: Position?) -> String { position.map { String($0.next) } ?? "-" }
      for entry in partitions {
        table.add([
          "\(entry.partition)", text(entry.resume.position), text(entry.resume.stored), text(entry.resume.committed),
          text(entry.bounds.first), text(entry.bounds.end), entry.resume.problem ?? "",
        ])
      }
      try context.output.write(table.text(width: context.terminal.width))
      return .done
    }
  }

  private static let positionsSet = Command(
    "set", summary: "Set where the pipeline, or its dispatcher, goes on in a partition",
    discussion: """
      Stop the pipeline first: it is refused while a process runs. POSITION is a record's number, "earliest" or "latest".
      Events before it that had not ended are not routed; events behind it that were routed are routed again and give the
      same delivery ids.

      With --stream it is set where the dispatchers go on, which have to be stopped. Results before it that had not been delivered
      are left out; those behind it that had are recognised, and not sent again, for as long as the deduplication store remembers
      them (deduplication.ttl). Going back over older ones is refused without --force.
      """,
    examples: [
      .init("databus positions set 0 12345", "Go on with the record 12345 of partition 0."),
      .init("databus positions set 0 latest", "Skip what is there."),
      .init("databus positions set 0 latest --stream results-http", "Deliver nothing of what is there."),
    ],
    options: [
      .config,
      .value("stream", "STREAM", "A stream that the dispatcher reads (results or retries), and not the events"),
      .flag("force", "Also back over what was delivered so long ago that it is sent again"),
    ],
    operands: [
      Operand("PARTITION", kind: .integer(0...Int(Int32.max)), "The partition's number"),
      Operand("POSITION", "A number, earliest or latest"),
    ]
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let word = arguments.operand("POSITION") ?? ""
    if UInt64(word) == nil, word != "earliest", word != "latest" {
      throw UsageError(
        command: "databus positions set",
        problems: [.init(message: "POSITION: \"\(word)\" is no position", hint: "write a number, earliest or latest")])
    }
    let section = DispatcherConfiguration(configuration, registry: context.dispatcher)
    let stream = try dispatchStream(arguments, configuration, section)
    try await RunningProcesses.refuse(
      configuration, context, areDispatchers: stream != nil, "its positions cannot be set")
    let index = arguments.operand("PARTITION").flatMap { Int($0) } ?? 0
    let reference = stream?.reference ?? configuration.pipeline.events.stream
    let group = stream?.group ?? configuration.pipeline.name
    let (partition, position, commits) = try await PipelineAccess.withTool(arguments, context) { access in
      let now = SystemClock().wallMilliseconds()
      var partitions: [PipelineStatus.Partition]?
      if let stream {
        partitions = try await PipelineStatus.readDispatchers(access, section, now: now)?.partitions
          .filter { $0.partition.stream == stream.reference.stream }
      } else {
        guard PipelineStatus.canLook(access) else { throw notReplayable(access) }
        partitions = try await PipelineStatus.read(access, now: now).partitions
      }
      let entry = try PipelineStatus.partition(index, of: reference.stream, among: partitions ?? [])
      let position = Position(
        next: UInt64(word) ?? (word == "latest" ? entry.bounds.end.next : entry.bounds.first.next))
      guard (entry.bounds.first.next...entry.bounds.end.next).contains(position.next) else {
        throw CommandFailure(
          .usage, "\(entry.partition) has no position \(position)",
          hint: "it begins at \(entry.bounds.first) and ends before \(entry.bounds.end)")
      }
      let commits = access.capabilities(of: reference.transport).source?.commits == true
      try await access.withTransport(reference.transport) { transport in
        if let stream, let section, !arguments.flag("force") {
          try await refuseForgotten(position, entry, stream, section.settings.memory, transport, now: now)
        }
        if commits { try await transport.setGroupPosition(group, entry.partition, to: position) }
      }
      return (entry.partition, position, commits)
    }
    if !commits {
      // The transport keeps no commits: the state alone knows, and its writer's lock refuses us while a process runs.
      let access = try await PipelineAccess(configuration, context.registry, for: .pipeline)
      do {
        try await ResumePosition.set(position, of: partition, in: access.state)
      } catch {
        await access.close()
        throw error
      }
      await access.close()
    }
    try context.output.write("\(partition): the \(stream == nil ? "pipeline" : "dispatcher") goes on at \(position)\n")
    return .done
  }

  /// The dispatcher's stream that the arguments name; nil where they name none, or the events.
  private static func dispatchStream(
    _ arguments: ParsedArguments, _ configuration: DatabusConfiguration, _ section: DispatcherConfiguration?
  ) throws(CommandFailure) -> DispatchStream? {
    let events = configuration.pipeline.events.stream.stream
    guard let name = arguments.value("stream"), name != events else { return nil }
    let streams = section?.streams(of: configuration) ?? []
    if let found = streams.first(where: { $0.reference.stream == name }) { return found }
    let known = [events] + streams.map(\.reference.stream)
    throw CommandFailure(
      .usage, "nothing of this configuration goes on anywhere in a stream \"\(Terminal.printable(name))\"",
      hint: Spelling.hint(for: name, among: known) ?? "there are: \(known.joined(separator: ", "))")
  }

  /// Refuses to go back over records that are older than the deduplication store remembers.
  private static func refuseForgotten(
    _ position: Position, _ entry: PipelineStatus.Partition, _ stream: DispatchStream, _ memory: Duration,
    _ transport: any Transport, now: Int64
  ) async throws {
    // A partition that cannot say where it goes on may have been read to its end.
    let current = entry.resume.problem == nil ? entry.position : entry.bounds.end.next
    guard position.next < current else { return }
    let source = try await transport.makeSource(stream.reference.stream, .everything(from: [:]))
    var remembered = entry.bounds.end
    do {
      if source.capabilities.seeksByTime {
        let since = now - (memory + stream.delay).storedMilliseconds
        remembered = try await source.positions(of: [entry.partition], at: since).first ?? remembered
      }
    } catch {
      await source.close()
      throw error
    }
    await source.close()
    if position.next >= remembered.next { return }
    throw CommandFailure(
      .failed,
      "the records of \(entry.partition) before \(remembered) are older than deduplication.ttl (\(Quantity.text(memory))): "
        + "that they were delivered may be forgotten, and they would be sent again",
      hint: "set it to \(remembered) or later, or send them again with --force")
  }

  static func notReplayable(_ access: PipelineAccess) -> CommandFailure {
    let events = access.configuration.pipeline.events.stream
    return CommandFailure(
      .usage, "the stream \"\(events.stream)\" of \"\(events.transport)\" has no positions that last: it is read once")
  }
}
