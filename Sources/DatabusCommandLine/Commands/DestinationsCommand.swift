import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let destinations = Command(
    "destinations", summary: "Show and change what the dispatcher may send to",
    discussion: """
      A mark on a destination holds for its URL exactly as it stands in results, for all dispatchers of the pipeline, and until it
      is removed. Dispatchers look at marks every 2 seconds. The query of a URL may be secret and is never shown: "?…" stands in
      its place, and 'show', 'enable' and 'resume' take a URL as 'list' shows it.
      """,
    examples: [
      .init("databus destinations list", "All marks, of destinations and rules."),
      .init("databus destinations pause https://hooks.example.com/a", "Send nothing there for now; nothing is lost."),
      .init("databus destinations enable https://hooks.example.com/a", "Send again to one that answered 410."),
    ],
    subcommands: [
      destinationsList, destinationsShow, destinationsEnable, destinationsDisable, destinationsPause,
      destinationsResume,
    ])

  private static let destinationsList = Command(
    "list", summary: "List the marks of destinations and rules, with their reasons",
    discussion: """
      disabled: nothing is sent; deliveries become dead letters (the receiver answered 410, or an operator said so).
      paused: nothing is sent for now; deliveries wait in the retry streams.
      cancelled: deliveries that were routed before become dead letters ('databus dispatch cancel').
      """,
    examples: [
      .init("databus destinations list", "A table."),
      .init("databus destinations list --json | jq -r 'select(.mark == \"disabled\") | .destination'", "For scripts."),
    ], options: [.config, .json]
  ) { arguments, context in
    try await DispatcherTool.with(try context.configuration(arguments), context) { tool in
      let marks = try await tool.store.marks().sorted(by: MarkText.inOrder)
      if !arguments.flag("json"), marks.isEmpty {
        try context.output.write("There are no marks: everything is delivered.\n")
        return .done
      }
      try context.output.write(MarkText.text(marks, arguments, context))
      return .done
    }
  }

  private static let destinationsShow = Command(
    "show", summary: "Show the marks of one destination",
    examples: [.init("databus destinations show https://hooks.example.com/a", "Why nothing arrives there.")],
    options: [.config, .json], operands: [destinationOperand]
  ) { arguments, context in
    let url = try (arguments.operand("URL") ?? "").checkedDestination(context, isShown: true)
    return try await DispatcherTool.with(try context.configuration(arguments), context) { tool in
      let marks = try await tool.store.marks().filter { $0.subject.isMeant(by: url) }.sorted(by: MarkText.inOrder)
      if !arguments.flag("json"), marks.isEmpty {
        let shown = DispatchText.redacted(url)
        try context.output.write("\(shown) has no marks: everything is delivered.\n")
        return .done
      }
      try context.output.write(MarkText.text(marks, arguments, context))
      return .done
    }
  }

  private static let destinationsEnable = removal(
    .disabled, "enable", summary: "Let deliveries go to a disabled destination again",
    discussion: """
      Deliveries that arrive from now on are sent. Those that came meanwhile are dead letters with the reason "disabled" (or "gone", the
      one that was answered 410): 'databus dlq replay --reason gone --reason disabled --dest URL' puts them back.
      """
  ) { "enabled; what came meanwhile: databus dlq replay --reason gone --reason disabled --dest \"\($0)\"" }

  private static let destinationsResume = removal(
    .paused, "resume", summary: "Send to a paused destination again",
    discussion: """
      What came meanwhile waits in the retry streams and is sent as it comes out of them: after the shortest of the waits
      (retry.tiers) where it has not waited long, after the longest at most. No attempt was counted meanwhile; the age
      (retry.age) went on.
      """
  ) { _ in "resumed; what waits comes out of the retry streams by and by" }

  private static let destinationsDisable = setting(
    .disabled, "disable", summary: "Send nothing to a destination any more; deliveries become dead letters",
    discussion: """
      What is under way ends as it ends; what waits and what comes becomes a dead letter with the reason "disabled", until
      'databus destinations enable'.
      """, done: "disabled; deliveries become dead letters")

  private static let destinationsPause = setting(
    .paused, "pause", summary: "Send nothing to a destination for now; deliveries wait",
    discussion: """
      What is under way ends as it ends; what waits and what comes goes to the retry streams, where it waits without an attempt
      being counted, until 'databus destinations resume'. One that grows older than retry.age (72h) becomes a dead letter.
      """, done: "paused; deliveries wait in the retry streams")

  // MARK: Shapes that two have in common

  private static let destinationOperand = Operand("URL", "The destination, exactly as it stands in results")

  private static func setting(
    _ kind: DispatchMark.Kind, _ name: String, summary: String, discussion: String, done: String
  ) -> Command {
    Command(
      name, summary: summary, discussion: discussion,
      examples: [
        .init("databus destinations \(name) https://hooks.example.com/a --detail \"moving house\"", "With the reason.")
      ],
      options: [.config, .value("detail", "TEXT", "Why, for whoever looks at it later")],
      operands: [destinationOperand]
    ) { arguments, context in
      let url = try (arguments.operand("URL") ?? "").checkedDestination(context)
      return try await DispatcherTool.with(try context.configuration(arguments), context) { tool in
        let mark = DispatchMark(
          .destination(url), kind, at: SystemClock().wallMilliseconds(),
          detail: MarkText.detail(arguments, "by an operator"))
        try await tool.store.set(mark)
        try context.output.write("\(mark.subject.text): \(done)\n")
        return .done
      }
    }
  }

  private static func removal(
    _ kind: DispatchMark.Kind, _ name: String, summary: String, discussion: String,
    done: @escaping @Sendable (String) -> String
  ) -> Command {
    Command(
      name, summary: summary, discussion: discussion,
      examples: [.init("databus destinations \(name) https://hooks.example.com/a", "Within 2 seconds.")],
      options: [.config], operands: [destinationOperand]
    ) { arguments, context in
      let url = try (arguments.operand("URL") ?? "").checkedDestination(context, isShown: true)
      return try await DispatcherTool.with(try context.configuration(arguments), context) { tool in
        let subject = try DispatchMark.Subject(
          meantBy: url, among: try await tool.store.marks().filter { $0.kind == kind }.map(\.subject), kind)
        try await tool.store.remove(subject, kind)
        try context.output.write("\(subject.text): \(done(subject.text))\n")
        return .done
      }
    }
  }
}

extension DispatchMark.Subject {
  /// Whether it is the destination of this URL, as it stands in results or as it is shown.
  fileprivate func isMeant(by url: String) -> Bool {
    switch self {
    case .destination(let own): own == url || text == url
    case .rule: false
    }
  }

  /// The one that an operator means, who may have its URL from a list.
  ///
  /// - Throws: `CommandFailure` where it has no such mark, or where several are shown so.
  fileprivate init(
    meantBy url: String, among marked: [DispatchMark.Subject], _ kind: DispatchMark.Kind
  ) throws(CommandFailure) {
    let meant = marked.filter { $0.isMeant(by: url) }
    if let only = meant.first, meant.count == 1 {
      self = only
      return
    }
    let shown = DispatchText.redacted(url)
    if meant.count > 1 {
      throw CommandFailure(
        .usage, "\(meant.count) destinations are shown as \(shown)",
        hint: "write the whole URL as it stands in results; 'databus rules list' shows the rules that have it")
    }
    throw CommandFailure(
      .failed, "\(shown) is not \(kind.rawValue)",
      hint: Spelling.hint(for: shown, among: marked.map(\.text)) ?? "'databus destinations list' shows all marks")
  }
}

/// Marks for people and scripts.
enum MarkText {
  static func inOrder(_ a: DispatchMark, _ b: DispatchMark) -> Bool {
    (a.subject.text, a.kind.rawValue) < (b.subject.text, b.kind.rawValue)
  }

  /// The reason that an operator gives, bounded.
  static func detail(_ arguments: ParsedArguments, _ otherwise: String) -> String {
    let text = arguments.value("detail").map(Terminal.printable) ?? otherwise
    return String(text.prefix(500))
  }

  static func text(_ marks: [DispatchMark], _ arguments: ParsedArguments, _ context: CommandContext) -> String {
    if arguments.flag("json") { return marks.map { json($0).compactText + "\n" }.joined() }
    var table = Table(["MARK", "SINCE", "OF", "WHY"])
    for mark in marks {
      table.add([mark.kind.rawValue, TimeText.rfc3339(milliseconds: mark.at), mark.subject.text, mark.detail])
    }
    return table.text(width: context.terminal.width)
  }

  private static func json(_ mark: DispatchMark) -> JSONValue {
    let subject: (String, JSONValue) =
      switch mark.subject {
      case .destination: ("destination", JSONValue(.string(mark.subject.text)))
      case .rule(let id): ("rule", JSONValue(.string(id)))
      }
    return JSONValue(members: [
      ("mark", JSONValue(.string(mark.kind.rawValue))), subject,
      ("since", JSONValue(.string(TimeText.rfc3339(milliseconds: mark.at)))), ("why", JSONValue(.string(mark.detail))),
    ])
  }
}
