import DatabusCore

extension DatabusCommand {
  static let events = Command(
    "events", summary: "Send events to the events stream",
    examples: [.init(#"databus events send '{"type":"user:signup","data":{"userId":123}}'"#, "One event.")],
    subcommands: [eventsSend])

  private static let eventsSend = Command(
    "send", summary: "Send events, one a line",
    discussion: """
      Takes a file with an event a line, JSON text, or standard input line by line: typed on a terminal, every line is sent
      and acknowledged at once; piped, they are sent in batches. Blank lines are skipped. Lines are sent as they are: one
      that is no event becomes a dead letter of the pipeline.

      Exit code 0: every event was acknowledged; 1: one was not.
      """,
    examples: [
      .init(#"databus events send '{"type":"user:signup","data":{"userId":123}}'"#, "One event."),
      .init("databus events send", "Type events, one a line; Ctrl-D ends."),
      .init("databus events send events.jsonl --key customer-17", "A file; all with one key, in order."),
      .init("generate-events | databus events send --json", "{\"stream\":…,\"acknowledged\":…} for scripts."),
    ],
    options: [
      .config, .value("key", "TEXT", "The key of every event: events of one key stay in order"), .json,
    ], operands: [Operand("FILE|JSON|-", kind: .file, count: .optional, "A file, JSON text, or - for standard input")]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let input = try InputLines(InputLines.Source(arguments.operand("FILE|JSON|-")), prompts: context.errors)
      let stream = access.configuration.pipeline.events.stream
      return try await access.withTransport(stream.transport) { transport in
        let send = EventsSend(
          writer: try await StreamWriter(transport, stream.stream), input: input, context: context,
          key: arguments.value("key").map { Array($0.utf8) }, json: arguments.flag("json"))
        do {
          let code = try await send.run()
          await send.writer.close()
          return code
        } catch {
          await send.writer.close()
          throw error
        }
      }
    }
  }
}

/// Sends lines as they come.
private struct EventsSend {
  var writer: StreamWriter
  var input: InputLines
  var context: CommandContext
  var key: [UInt8]?
  var json: Bool

  private struct Refusal {
    var line: Int
    var reason: String
  }

  func run() async throws -> ExitCode {
    if key != nil, !writer.capabilities.keys {
      throw CommandFailure(.usage, "the stream \"\(writer.stream)\" has no keys", hint: "leave out --key")
    }
    var progress = ProgressLine(context.errors)
    var refused: [Refusal] = []
    var sent = 0
    /// Line numbers of what is not acknowledged yet, behind the first `settled` records.
    var lines: [Int] = []
    var settled = 0
    func settle() {
      for failure in writer.takeFailures() {
        refused.append(Refusal(line: lines[Int(failure.token) - settled], reason: failure.error.message))
      }
      settled += lines.count
      lines = []
    }
    if input.isTerminal { try context.errors.write("One event a line; Ctrl-D ends.\n") }
    try input.prompt()
    if case .text = input.source {
      // JSON text may be spread over lines, and is one event.
      let whole = try await input.whole()
      try await writer.append(key: key, value: whole.bytes.map { $0 == 10 || $0 == 13 ? 32 : $0 })
      lines = [1]
      sent = 1
    }
    while true {
      let next = try await input.next()
      if next.isEmpty { break }
      for line in next {
        try await writer.append(key: key, value: line.bytes)
        lines.append(line.number)
        // So that a failure's line is known without remembering every line of a long input.
        if lines.count >= 50_000 {
          try await writer.confirm()
          settle()
        }
      }
      sent += next.count
      try await writer.send()
      if input.isTerminal {
        try await writer.confirm()
        let before = refused.count
        settle()
        try context.errors.write(refused.count == before ? "acknowledged\n" : "refused: \(refused[before].reason)\n")
        try input.prompt()
      } else {
        try progress.update("\(writer.ended) events acknowledged")
      }
    }
    if input.isTerminal { try context.errors.write("\n") }
    try await writer.confirm()
    settle()
    try progress.clear()
    return try report(sent, refused)
  }

  private func report(_ sent: Int, _ refused: [Refusal]) throws -> ExitCode {
    let acknowledged = sent - refused.count
    if json {
      let result = JSONValue(members: [
        ("stream", JSONValue(.string(writer.stream))), ("acknowledged", JSONValue(integerLiteral: acknowledged)),
        (
          "refused",
          JSONValue(
            .array(
              refused.map { refusal in
                ["line": JSONValue(integerLiteral: refusal.line), "reason": JSONValue(.string(refusal.reason))]
              }))
        ),
      ])
      try context.output.write(result.compactText + "\n")
    } else {
      for refusal in refused {
        try context.errors.write(
          "\(input.source.name):\(refusal.line): refused: \(Terminal.printable(refusal.reason))\n")
      }
      try context.output.write(
        "\(acknowledged) event\(acknowledged == 1 ? "" : "s") acknowledged by \(Terminal.printable(writer.stream))\n")
    }
    return refused.isEmpty ? .done : .failed
  }
}
