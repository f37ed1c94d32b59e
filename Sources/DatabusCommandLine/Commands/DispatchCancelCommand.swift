import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let dispatchCancel = Command(
    "cancel", summary: "Cancel the deliveries of a rule or to a destination that were routed before now",
    discussion: """
      Deliveries whose results were written before this moment become dead letters with the reason "rule_gone", wherever they
      wait; attempts that are under way end as they end. What is routed from now on is delivered: delete or change the rule first,
      or disable the destination. 'databus dlq replay --reason rule_gone' brings them back.

      It works beside running dispatchers, which look at it every 2 seconds.
      """,
    examples: [
      .init("databus dispatch cancel --rule order-created", "After the rule was deleted."),
      .init(
        "databus dispatch cancel --destination https://hooks.example.com/a --detail \"wrong payload\"",
        "What waits for one destination."),
    ],
    options: [
      .config, .value("rule", "ID", "The deliveries of this rule"),
      .value("destination", "URL", "The deliveries to this destination, exactly as it stands in results"),
      .value("detail", "TEXT", "Why, for the dead letters"),
    ]
  ) { arguments, context in
    let subject: DispatchMark.Subject
    switch (arguments.value("rule"), arguments.value("destination")) {
    case (let rule?, nil) where !rule.isEmpty && rule.utf8.count <= 1024: subject = .rule(rule)
    case (nil, let url?): subject = .destination(try url.checkedDestination(context))
    default:
      throw UsageError(
        command: "databus dispatch cancel",
        problems: [.init(message: "what is cancelled is missing: one of --rule ID and --destination URL")])
    }
    return try await DispatcherTool.with(try context.configuration(arguments), context) { tool in
      let now = SystemClock().wallMilliseconds()
      try await tool.store.set(
        DispatchMark(subject, .cancelled, at: now, detail: MarkText.detail(arguments, "by an operator")))
      let moment = TimeText.rfc3339(milliseconds: now)
      try context.output.write(
        "\(subject.text): deliveries routed before \(moment) become dead letters with the reason rule_gone\n")
      return .done
    }
  }
}
