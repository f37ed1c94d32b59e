import DatabusCore

extension DatabusCommand {
  static let state = Command(
    "state", summary: "Move the pipeline's state from one backend to another",
    discussion: """
      The state is the rule store, each partition's position, and what transports have to remember. Results, events and rules are
      in their streams and not in it.
      """,
    examples: [
      .init("databus state export > state.jsonl", "Write all of it to a file."),
      .init(
        "databus state import state.jsonl --config redis.json", "Put it into the backend of another configuration."),
    ], subcommands: [stateExport, stateImport])

  private static let stateExport = Command(
    "export", summary: "Write the pipeline's whole state as JSON lines",
    discussion: """
      A line for the head, one for each scope (the pipeline, and each partition), one for each entry with key and value in base64,
      and one at the end with the numbers of both, by which an import knows that nothing is missing. It holds rules as they were
      sent, and so whatever secret stands in one.

      It can be taken while the pipeline runs; to move to another backend, stop the pipeline first.
      """,
    examples: [
      .init("databus state export > state.jsonl", "To a file."),
      .init("databus state export | gzip > state.jsonl.gz", "Smaller."),
    ], options: [.config]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let configuration = access.configuration
      guard access.isStateVisible else { throw endsWithItsProcess(configuration) }
      let scopes = try await StateTransfer.read(access.state)
      let file = StateFile(
        pipeline: configuration.pipeline.name, stateType: configuration.state.type, stateID: access.state.id,
        exportedAt: SystemClock().wallMilliseconds(), scopes: scopes)
      try file.write { try context.output.write($0) }
      try context.output.flush()
      try context.errors.write("\(StateSummary.text(file)) written\n")
      return .done
    }
  }

  private static let stateImport = Command(
    "import", summary: "Put a state that was exported into the configuration's backend",
    discussion: """
      Stop the pipeline first: it is refused while a process runs. The file is read to its end and checked before anything is
      written. A state that is not empty is refused without --force, which replaces all of it.

      The next start goes on exactly where it would have gone on with the old state: where the transport's commit stands
      elsewhere, it is moved there.
      """,
    examples: [
      .init("databus state import state.jsonl", "Into an empty state."),
      .init("gunzip < state.jsonl.gz | databus state import - --force", "In place of what is there."),
    ], options: [.config, .flag("force", "Replace a state that is not empty")],
    operands: [Operand("FILE", kind: .file, "What 'databus state export' wrote; - is standard input")]
  ) { arguments, context in
    let configuration = try context.configuration(arguments)
    let name = arguments.operand("FILE") ?? "-"
    let file = try await readStateFile(name)
    guard file.pipeline == configuration.pipeline.name else {
      throw CommandFailure(
        .usage,
        "\(name) holds the state of the pipeline \"\(Terminal.printable(file.pipeline))\", and the configuration's is "
          + "\"\(configuration.pipeline.name)\"", hint: "the pipeline keeps its name: set it in the configuration")
    }
    try await RunningProcesses.refuse(configuration, context, "its state cannot be replaced")
    let access = try await PipelineAccess(configuration, context.registry, for: .pipeline)
    do {
      let text = try await StateImport(access: access, file: file, isForced: arguments.flag("force")).run()
      try context.output.write(text)
    } catch {
      await access.close()
      throw error
    }
    await access.close()
    return .done
  }

  private static func readStateFile(_ name: String) async throws -> StateFile {
    let lines = try InputLines(name == "-" ? .standardInput : .file(name))
    var reader = StateFileReader()
    do {
      while true {
        let some = try await lines.next()
        if some.isEmpty { return try reader.finish() }
        for line in some { try reader.take(line.bytes, line: line.number) }
      }
    } catch let problem as StateFile.Problem {
      let place = problem.line.map { "\(name):\($0)" } ?? name
      throw CommandFailure(
        .failed, "\(place): \(problem.message)", hint: "nothing was changed; export the state again")
    }
  }

  fileprivate static func endsWithItsProcess(_ configuration: DatabusConfiguration) -> CommandFailure {
    CommandFailure(
      .usage, "state of type \"\(configuration.state.type)\" ends with its process",
      hint: "name a \"state\" in the configuration that lasts")
  }
}

/// Writes a file into the configuration's state.
private struct StateImport {
  let access: PipelineAccess
  let file: StateFile
  let isForced: Bool

  /// - Returns: what was done, for people.
  func run() async throws -> String {
    let configuration = access.configuration
    guard access.isStateVisible else { throw DatabusCommand.endsWithItsProcess(configuration) }
    let isEmpty = try await StateTransfer.isEmpty(access.state)
    guard isEmpty || isForced else {
      throw CommandFailure(
        .failed, "the state is not empty", hint: "--force replaces all of it; 'databus state export' saves it first")
    }
    let events = configuration.pipeline.events.stream
    guard access.capabilities(of: events.transport).source?.commits == true else {
      try await write(isEmpty)
      return "\(StateSummary.text(file)) imported\n"
    }
    // The transport is asked before anything is written: one that is away leaves all as it is.
    return try await access.withTransport(events.transport) { transport in
      let group = configuration.pipeline.name
      let positions = try await transport.groupPositions(group, stream: events.stream)
      let committed = Dictionary(positions.map { ($0.partition, $0.committed) }, uniquingKeysWith: { a, _ in a })
      let (moves, problems) = StateTransfer.commits(file, committed: committed, newID: access.state.id)
      try await write(isEmpty)
      var text = "\(StateSummary.text(file)) imported\n"
      for (partition, position) in moves {
        try await transport.setGroupPosition(group, partition, to: position)
        text += "\(partition): the commit was moved to \(position), where the old state would have gone on\n"
      }
      for problem in problems { text += "\(problem)\n" }
      return text
    }
  }

  private func write(_ isEmpty: Bool) async throws {
    if !isEmpty { try await StateTransfer.clear(access.state) }
    try await StateTransfer.write(file, to: access.state)
  }
}

private enum StateSummary {
  static func text(_ file: StateFile) -> String {
    func count(_ number: Int, _ noun: String, _ plural: String) -> String { "\(number) \(number == 1 ? noun : plural)" }
    return count(file.entryCount, "entry", "entries") + " of the pipeline and "
      + count(file.partitions.count, "partition", "partitions")
  }
}
