import DatabusCore

extension DatabusCommand {
  static let positions = Command(
    "positions", summary: "Show and set where the pipeline goes on, and skip a record",
    examples: [
      .init("databus positions show", "Each partition's position."),
      .init("databus positions set 0 earliest", "Route everything again: results have the same ids as before."),
      .init("databus positions skip --dead-letter", "Past a record that ends the process each time."),
    ], subcommands: [positionsShow, positionsSet, positionsSkip])

  private static let positionsShow = Command(
    "show", summary: "Show where the pipeline goes on in each partition of its events",
    discussion: """
      The position is the record to be read next after a restart. It comes from the last checkpoint (STATE) and, where the
      transport keeps commits, from what was committed there (COMMITTED).
      """,
    examples: [.init("databus positions show --json | jq '.[].position'", "For scripts.")],
    options: [.config, .json]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      guard PipelineStatus.canLook(access) else { throw notReplayable(access) }
      let status = try await PipelineStatus.read(access, now: SystemClock().wallMilliseconds())
      let partitions = status.partitions ?? []
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
    "set", summary: "Set where the pipeline goes on in a partition of its events",
    discussion: """
      Stop the pipeline first: it is refused while a process runs. POSITION is a record's number, "earliest" or "latest".
      Events before it that had not ended are not routed; events behind it that were routed are routed again and give the
      same delivery ids.
      """,
    examples: [
      .init("databus positions set 0 12345", "Go on with the record 12345 of partition 0."),
      .init("databus positions set 0 latest", "Skip what is there."),
    ], options: [.config],
    operands: [
      Operand("PARTITION", kind: .integer(0...Int(Int32.max)), "The partition's number"),
      Operand("POSITION", "A number, earliest or latest"),
    ]
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let events = configuration.pipeline.events.stream
    let index = arguments.operand("PARTITION").flatMap { Int($0) } ?? 0
    let word = arguments.operand("POSITION") ?? ""
    let number = UInt64(word)
    if number == nil, word != "earliest", word != "latest" {
      throw UsageError(
        command: "databus positions set",
        problems: [.init(message: "POSITION: \"\(word)\" is no position", hint: "write a number, earliest or latest")])
    }
    try await RunningProcesses.refuse(configuration, context, "its positions cannot be set")
    let (partition, position, commits) = try await PipelineAccess.withTool(arguments, context) { access in
      guard PipelineStatus.canLook(access) else { throw notReplayable(access) }
      let status = try await PipelineStatus.read(access, now: SystemClock().wallMilliseconds())
      let entry = try status.partition(index, of: events.stream)
      let position = Position(next: number ?? (word == "latest" ? entry.bounds.end.next : entry.bounds.first.next))
      guard (entry.bounds.first.next...entry.bounds.end.next).contains(position.next) else {
        throw CommandFailure(
          .usage, "\(entry.partition) has no position \(position)",
          hint: "it begins at \(entry.bounds.first) and ends before \(entry.bounds.end)")
      }
      let commits = access.capabilities(of: events.transport).source?.commits == true
      if commits {
        try await access.withTransport(events.transport) {
          try await $0.setGroupPosition(configuration.pipeline.name, entry.partition, to: position)
        }
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
    try context.output.write("\(partition): the pipeline goes on at \(position)\n")
    return .done
  }

  static func notReplayable(_ access: PipelineAccess) -> CommandFailure {
    let events = access.configuration.pipeline.events.stream
    return CommandFailure(
      .usage, "the stream \"\(events.stream)\" of \"\(events.transport)\" has no positions that last: it is read once")
  }
}
