import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let dlq = Command(
    "dlq", summary: "List, show and replay dead letters: deliveries that were given up",
    discussion: """
      A delivery that cannot be made is set aside in the dispatcher's dead-letter stream, whole and with its reason. --stream looks at
      the pipeline's dead letters instead: events that could not be routed.
      """,
    examples: [
      .init("databus dlq list --since 1h", "What was given up within the last hour."),
      .init("databus dlq replay --reason exhausted --dry-run", "What would be sent once more."),
    ],
    subcommands: [dlqList, dlqShow, dlqReplay])

  private static let dlqList = Command(
    "list", summary: "List dead letters, the latest last",
    discussion: """
      The stream is read from its beginning, or from --since on; dead letters stay in it after they were replayed, for as long as
      its transport keeps them. With --limit it is the latest that are shown.
      """,
    examples: [
      .init("databus dlq list", "The latest 100."),
      .init("databus dlq list --reason exhausted --reason expired --dest https://hooks.example.com/", "Some of them."),
      .init("databus dlq list --limit 1000000 --json | jq -r .reason | sort | uniq -c", "How many of each kind."),
    ],
    options: [.config, DeadLetterStream.option] + DeadLetterSelection.options + [
      .value("limit", "N", kind: .integer(1...1_000_000), "Show at most so many, the latest (100)"), .json,
    ]
  ) { arguments, context in
    let selection = try DeadLetterSelection(arguments, of: "databus dlq list")
    let limit = arguments.integer("limit") ?? 100
    return try await withDeadLetters(arguments, selection, context) { stream, transport in
      var found: [FoundDeadLetter] = []
      var count = 0
      let strange = try await stream.read(transport, since: selection.since) { entry in
        guard selection.matches(entry) else { return true }
        count += 1
        var entry = entry
        // A list needs no values: many of them would not fit into memory.
        entry.letter.value = nil
        entry.letter.headers = []
        entry.letter.response = nil
        found.append(entry)
        if found.count >= 2 * limit { found.removeFirst(found.count - limit) }
        return true
      }
      found = found.suffix(limit)
      if arguments.flag("json") {
        for entry in found { try context.output.write(DeadLetterText.json(entry, isWhole: false)) }
        return .done
      }
      if found.isEmpty {
        let what = selection.isNarrow ? "such dead letters" : "dead letters"
        try context.output.write("There are no \(what)\(strange > 0 ? " with a reason" : "").\n")
        return .done
      }
      try context.output.write(DeadLetterText.table(found, width: context.terminal.width))
      if count > found.count {
        try context.errors.write("the latest \(found.count) of \(count); --limit shows more\n")
      }
      return .done
    }
  }

  private static let dlqShow = Command(
    "show", summary: "Show everything about a dead letter: its value, and what the receiver answered",
    examples: [
      .init(
        "databus dlq show 93a1c5d2e40f4b8697a1c5d2e40f4b86", "By the delivery's id: every time that it was given up."),
      .init("databus dlq show quickstart-dispatcher-dead-letters/0/17 --json", "By its place in the stream."),
    ],
    options: [.config, DeadLetterStream.option, .json],
    operands: [Operand("ID", "The delivery's id, or the dead letter's stream/partition/position")]
  ) { arguments, context in
    let name = arguments.operand("ID") ?? ""
    let selection = DeadLetterSelection(names: [name])
    return try await withDeadLetters(arguments, selection, context) { stream, transport in
      var count = 0
      try await stream.read(transport) { entry in
        guard selection.matches(entry) else { return true }
        count += 1
        if arguments.flag("json") {
          try context.output.write(DeadLetterText.json(entry, isWhole: true))
        } else {
          try context.output.write((count > 1 ? "\n" : "") + DeadLetterText.page(entry))
        }
        return true
      }
      if count > 0 { return .done }
      throw CommandFailure(
        .failed, "\(stream.reference.stream) has no dead letter \"\(Terminal.printable(name))\"",
        hint: "'databus dlq list' shows those that are there")
    }
  }

  /// Runs `body` with the dead-letter stream that the arguments name, and its transport.
  static func withDeadLetters<R>(
    _ arguments: ParsedArguments, _ selection: DeadLetterSelection, _ context: CommandContext,
    _ body: (DeadLetterStream, any Transport) async throws -> R
  ) async throws -> R {
    try await PipelineAccess.withTool(arguments, context) { access in
      let section = DispatcherConfiguration(access.configuration, registry: context.dispatcher)
      let stream = try DeadLetterStream(arguments, access.configuration, section)
      try stream.check(selection)
      return try await access.withTransport(stream.reference.transport) { try await body(stream, $0) }
    }
  }
}
