import DatabusCore
import FileTransport
import MemoryState

#if canImport(Glibc)
  import Glibc
#endif

extension DatabusCommand {
  static let route = Command(
    "route", summary: "Route events from standard input or files to standard output, without a configuration",
    discussion: """
      Reads all rules first, then the events: the given files in their order, or standard input. Events and rules are JSON,
      one a line. Results go to standard output, one a line, in the order of their events. Whatever cannot be routed, a
      refused rule too, is a dead letter: one JSON line with its reason and place on standard error, or in the file that
      --dead-letters names (lines are added at its end). The last line on standard error is the summary: text on a terminal,
      else {"summary":{...}}.

      The results are the same whatever the number of workers. With --run-id their ids are the same in every run.

      Exit code 0: it ran to its end; 1: it could not; 2: the command line is wrong; 3: --strict, and there was a dead letter.
      """,
    examples: [
      .init("databus route --rules rules.jsonl < events.jsonl > results.jsonl", "Route a file."),
      .init("tail -F app.log | databus route --rules rules.jsonl | jq .payload", "Route a stream as it comes."),
      .init(
        "databus route --rules rules.jsonl --strict --dead-letters bad.jsonl monday.jsonl tuesday.jsonl",
        "Several files, in this order; exit code 3 if anything was set aside."),
      .init("databus route --rules rules.jsonl --run-id 42 events.jsonl", "The same ids again in every run."),
    ],
    options: [
      .value("rules", "RULES", kind: .file, required: true, "The rules, one JSON object a line"),
      .value("dead-letters", "FILE", kind: .file, "Where dead letters go instead of standard error"),
      .value("run-id", "TEXT", "What delivery ids are made from instead of a random number"),
      .flag("strict", "End with exit code 3 if there was any dead letter"),
      .value("workers", "N", kind: .integer(1...1024), "Threads that route; without it one for each core"),
    ],
    operands: [Operand("EVENTS", kind: .file, count: .any, "Files of events; without any, standard input")],
    handlesSignals: true
  ) { arguments, context in
    let rules = arguments.value("rules") ?? ""
    let events = arguments.operands("EVENTS").isEmpty ? ["-"] : arguments.operands("EVENTS")
    if rules == "-", events.contains("-") {
      throw UsageError(
        command: "databus route",
        problems: [
          .init(message: "rules and events both come from standard input", hint: "name a file for one of them")
        ])
    }
    // Whoever types events, or sees the results pass, needs no other sign of life.
    let isWatched =
      context.errors.isTerminal && !context.output.isTerminal && !(events == ["-"] && isatty(STDIN_FILENO) == 1)
    let run = RouteRun(
      rules: rules, events: events, deadLetters: arguments.value("dead-letters") ?? "/dev/stderr",
      runID: arguments.value("run-id"), workers: arguments.integer("workers") ?? Processors.available,
      log: Logger(part: "route", minimum: .error, sink: context.logSink),
      progress: isWatched ? context.errors : nil)
    let summary: RouteSummary
    switch try await run.run(context.signals) {
    case .readerGone: return .done
    case .finished(let result): summary = result
    }
    try context.errors.write(context.errors.isTerminal ? summary.text : summary.json)
    return arguments.flag("strict") && summary.counts.deadLetters > 0 ? .strict : .done
  }
}

/// What a run of `route` has done.
struct RouteSummary: Sendable {
  var counts: PipelineCounts
  var rules: Int
  var elapsed: Duration

  private var seconds: Double { elapsed.fractionalSeconds }
  /// Events a second.
  private var rate: Int { seconds > 0 ? Int(Double(counts.events) / seconds) : 0 }

  var text: String {
    func counted(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
    let milliseconds = Int(seconds * 1000)
    var text = "\(counted(counts.events, "event")) by \(counted(rules, "rule")): \(counted(counts.results, "result")), "
    text += "\(counts.filtered) that no rule wanted, \(counted(counts.deadLetters, "dead letter"))"
    return text + "; \(milliseconds) ms, \(rate) events/s\n"
  }

  var json: String {
    var members: [(String, JSONValue)] = [("rules", JSONValue(integerLiteral: rules))]
    members += counts.all.filter { $0.name != "fenced" && $0.name != "gaps" }.map {
      ($0.name, JSONValue(integerLiteral: $0.value))
    }
    members.append(("milliseconds", JSONValue(integerLiteral: Int(seconds * 1000))))
    return JSONValue(members: [("summary", JSONValue(members: members))]).compactText + "\n"
  }
}
