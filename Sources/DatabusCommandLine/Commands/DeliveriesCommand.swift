import AttemptLog
import DatabusCore
import Dispatcher

#if canImport(Glibc)
  import Glibc
#endif

extension DatabusCommand {
  static let deliveries = Command(
    "deliveries", summary: "Show what happened to deliveries",
    discussion:
      "Reads the log of attempts (dispatcher.attempts in the configuration), beside the dispatcher or without it.",
    examples: [
      .init("databus deliveries list --failed", "What has not arrived."),
      .init("databus deliveries show 4ce5cd1a9e4ee07eca4d0b6bb1b83f3a", "The whole story of one delivery."),
    ],
    subcommands: [deliveriesList, deliveriesShow])

  private static let deliveriesList = Command(
    "list", summary: "Show the latest deliveries and what they have come to",
    discussion: """
      The delivery that something happened to last comes first. Options narrow the list together. What is older than the log
      keeps (dispatcher.attempts.age and .records) is gone.
      """,
    examples: [
      .init("databus deliveries list --destination https://hooks.example.com/", "To one host."),
      .init("databus deliveries list --event events/0/17", "What became of one event."),
      .init("databus deliveries list --failed --since 1h --json | jq -r .id", "For scripts: one object a line."),
    ],
    options: [
      .config, .value("destination", "PREFIX", "Only to destinations that begin so"),
      .value("rule", "ID", "Only those that this rule made"),
      .value("event", "LOCATOR", "Only those of this event: stream/partition/position"),
      .flag("failed", "Only those that have not arrived: given up, waiting or being tried again"),
      .value("since", "TIME", kind: .duration, "Only those that something happened to within this time: 1h"),
      .value("limit", "N", kind: .integer(1...100_000), "The latest so many (50)"), .json,
    ]
  ) { arguments, context in
    var query = StoryQuery()
    query.destination = arguments.value("destination")
    query.rule = arguments.value("rule")
    query.event = arguments.value("event")
    query.onlyFailed = arguments.flag("failed")
    query.since = arguments.duration("since").map {
      SystemClock().wallMilliseconds() - Int64(clamping: $0.wholeNanoseconds / 1_000_000)
    }
    query.limit = arguments.integer("limit") ?? query.limit
    let wanted = query
    let stories = try await withAttempts(arguments, context) { try await $0.stories(wanted) }
    if arguments.flag("json") {
      for story in stories { try context.output.write(story.json(isWhole: false).compactText + "\n") }
      return .done
    }
    if stories.isEmpty {
      let isNarrow = wanted != StoryQuery()
      try context.output.write(
        isNarrow
          ? "There are no such deliveries in the log. Without options 'databus deliveries list' shows the latest.\n"
          : "There are no deliveries in the log yet.\n")
      return .done
    }
    var table = Table([
      ("DELIVERY", .left), ("LAST", .left), ("STATE", .left), ("ATTEMPTS", .right), ("STATUS", .right),
      ("DESTINATION", .left), ("RULE", .left), ("EVENT", .left),
    ])
    for story in stories {
      table.add([
        story.id, TimeText.rfc3339(milliseconds: story.end.at), story.stateText, String(story.attempts),
        story.lastStatus.map { String($0) } ?? "-", story.destination, story.rule ?? "-", story.event ?? "-",
      ])
    }
    try context.output.write(table.text(width: context.terminal.width))
    return .done
  }

  private static let deliveriesShow = Command(
    "show", summary: "Show the whole story of one delivery, from its event to its last attempt",
    discussion: """
      ID is what 'databus deliveries list' shows and what the receiver sees as webhook-id; for a result that could not be read
      it is the result's locator. Exit code 1: the log has nothing of it.
      """,
    examples: [
      .init("databus deliveries show 4ce5cd1a9e4ee07eca4d0b6bb1b83f3a", "Text for people."),
      .init("databus deliveries show 4ce5cd1a9e4ee07eca4d0b6bb1b83f3a --json | jq .history", "For scripts."),
    ],
    options: [.config, .json], operands: [Operand("ID", "The delivery's id")]
  ) { arguments, context in
    let id = arguments.operand("ID") ?? ""
    guard let story = try await withAttempts(arguments, context, { try await $0.story(of: id) }) else {
      throw CommandFailure(
        .failed, "the log of attempts has nothing of a delivery \"\(Terminal.printable(id))\"",
        hint:
          "it is older than the log keeps, or has not come to the dispatcher; 'databus deliveries list' shows the latest"
      )
    }
    try context.output.write(
      arguments.flag("json") ? story.json(isWhole: true).prettyText + "\n" : story.text(width: context.terminal.width))
    return .done
  }

  /// Runs the body with the log of the configuration.
  private static func withAttempts<R: Sendable>(
    _ arguments: ParsedArguments, _ context: CommandContext, _ body: (AttemptReader) async throws -> R
  ) async throws -> R {
    let configuration = try context.configuration(arguments)
    let section = try DispatcherConfiguration.required(configuration, context)
    guard let attempts = section.attempts else {
      throw CommandFailure(
        .usage, "the dispatcher of this configuration keeps no log of attempts",
        hint:
          "add \"attempts\": {\"path\": \"databus-attempts.db\"} to \"dispatcher\" and start it again: deliveries are "
          + "noted from then on")
    }
    if access(attempts.path, F_OK) != 0, errno == ENOENT {
      throw CommandFailure(
        .failed, "there is no log of attempts at \(attempts.path) yet",
        hint: "the dispatcher makes it when it starts: 'databus run --with-dispatcher' or 'databus dispatch'")
    }
    let reader = try await AttemptReader(path: attempts.path)
    do {
      let result = try await body(reader)
      await reader.close()
      return result
    } catch {
      await reader.close()
      throw error
    }
  }
}
