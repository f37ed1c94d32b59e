import DatabusCore
import Synchronization

extension DatabusCommand {
  static let tail = Command(
    "tail", summary: "Show records of a stream as they come",
    discussion: """
      STREAM is events, rules, results (all results streams), dead-letters, or the name of any stream of the configuration's
      transports. Without options it shows what comes from now on, until Ctrl-C. Nothing is taken from any reader.

      On a terminal: a line a record, cut to fit, with the time (UTC) of today's records and the date of others. --json: one object a line with stream, partition, position, key, headers, timestamp
      (milliseconds since 1970) and value; a value that is not UTF-8 stands in "valueBase64", a key in "keyBase64".
      """,
    examples: [
      .init("databus tail results-http", "Results as they come."),
      .init("databus tail events --from-start --limit 10", "The first ten events."),
      .init("databus tail dead-letters --from-start --until-end --json", "Everything that is there, for scripts."),
    ],
    options: [
      .config, .flag("from-start", "Begin at the first record"),
      .flag("until-end", "End where the stream stands at the call"),
      .value("limit", "N", short: "n", kind: .integer(1...Int.max), "End after so many records"),
      .value("transport", "NAME", "The stream's transport, where several have one of this name"), .json,
    ], operands: [Operand("STREAM", "events, rules, results, dead-letters, or a stream's name")], handlesSignals: true
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let streams = try await TailStreams(access).find(arguments.operand("STREAM") ?? "", arguments.value("transport"))
      let stop = TailStop()
      let interruption = Task {
        for await _ in context.signals.stream { stop.raise() }
      }
      defer { interruption.cancel() }
      let limit = TailLimit(arguments.integer("limit"))
      let heading = TailHeading(isShown: !arguments.flag("json") && context.output.isTerminal)
      try await withThrowingTaskGroup(of: Void.self) { group in
        for stream in streams {
          let format = RecordFormat(
            kind: TailStreams.kind(of: stream, access.configuration.pipeline), isJSON: arguments.flag("json"),
            showsStream: streams.count > 1, width: context.terminal.width, color: context.terminal.allowsColor,
            today: SystemClock().wallMilliseconds())
          let start: StreamReader.Start = arguments.flag("from-start") ? .start : .end
          let isBounded = arguments.flag("until-end")
          group.addTask {
            try await access.withTransport(stream.transport) { transport in
              let reader = try await StreamReader(transport, stream.stream, from: start, isBounded: isBounded)
              do {
                try await follow(reader, format, limit, heading, stop, context)
              } catch {
                await reader.close()
                throw error
              }
              await reader.close()
            }
          }
        }
        for try await _ in group {}
      }
      return .done
    }
  }

  private static func follow(
    _ reader: StreamReader, _ format: RecordFormat, _ limit: TailLimit, _ heading: TailHeading, _ stop: TailStop,
    _ context: CommandContext
  ) async throws {
    while !stop.isRaised, let batch = try await reader.next() {
      if let gap = batch.gap {
        try context.errors.write("\(gap.partition): records from \(gap.from) up to \(gap.to) are gone\n")
      }
      var text = ""
      for record in batch.records {
        guard limit.take() else {
          stop.raise()
          break
        }
        if heading.take() { text += format.heading(record) }
        text += format.text(record)
      }
      if limit.isReached { stop.raise() }
      guard !text.isEmpty else { continue }
      try context.output.write(text)
      try context.output.flush()
    }
  }
}

private final class TailStop: Sendable {
  private let flag = Atomic(false)
  func raise() { flag.store(true, ordering: .relaxed) }
  var isRaised: Bool { flag.load(ordering: .relaxed) }
}

/// The columns' titles stand above the first record, of whichever stream it is.
private final class TailHeading: Sendable {
  private let isDue: Atomic<Bool>

  init(isShown: Bool) { isDue = Atomic(isShown) }

  func take() -> Bool { isDue.exchange(false, ordering: .relaxed) }
}

/// How many records may still be shown, over all streams.
private final class TailLimit: Sendable {
  private let rest: Atomic<Int>

  init(_ limit: Int?) { rest = Atomic(limit ?? .max) }

  func take() -> Bool { rest.subtract(1, ordering: .relaxed).oldValue > 0 }
  var isReached: Bool { rest.load(ordering: .relaxed) <= 0 }
}

/// Which streams a word names.
private struct TailStreams {
  private let access: PipelineAccess

  init(_ access: PipelineAccess) { self.access = access }

  func find(_ name: String, _ transport: String?) async throws -> [StreamReference] {
    let pipeline = access.configuration.pipeline
    if transport == nil {
      switch name {
      case "events": return [pipeline.events.stream]
      case "rules": return [pipeline.rules.stream]
      case "dead-letters": return [pipeline.deadLetters]
      case "results":
        return Set(pipeline.results.streams.values).sorted().map {
          StreamReference(transport: pipeline.results.transport, stream: $0)
        }
      default: break
      }
    }
    let known = TailStreams.known(pipeline).filter { $0.stream == name && (transport ?? $0.transport) == $0.transport }
    if let first = known.first, Set(known).count == 1 { return [first] }
    if let transport { return [try await existing(name, transport)] }
    return [try await search(name)]
  }

  private static func known(_ pipeline: PipelineConfiguration) -> [StreamReference] {
    [pipeline.events.stream, pipeline.rules.stream, pipeline.deadLetters]
      + pipeline.results.streams.values.map {
        StreamReference(transport: pipeline.results.transport, stream: $0)
      }
  }

  /// Reading a stream may make it: one that nobody has is not to come into being by a slip of the pen.
  private func existing(_ name: String, _ transport: String) async throws -> StreamReference {
    let topics = try await access.withTransport(transport) { try? await $0.topics() }
    if let topics, !topics.contains(where: { $0.name == name }) { throw missing(name, topics.map(\.name)) }
    return StreamReference(transport: transport, stream: name)
  }

  private func search(_ name: String) async throws -> StreamReference {
    var found: [StreamReference] = []
    var names = ["events", "rules", "results", "dead-letters"]
    var silent: [String] = []
    for transport in access.configuration.transports.map(\.name) {
      guard let topics = try await access.withTransport(transport, { try? await $0.topics() }) else {
        silent.append(transport)
        continue
      }
      names += topics.map(\.name).filter { !names.contains($0) }
      if topics.contains(where: { $0.name == name }) {
        found.append(StreamReference(transport: transport, stream: name))
      }
    }
    if let only = found.first, found.count == 1 { return only }
    if found.isEmpty {
      if silent.count == 1, access.configuration.transports.count == 1 {
        return StreamReference(transport: silent[0], stream: name)
      }
      throw missing(name, names)
    }
    throw CommandFailure(
      .usage, "several transports have a stream \"\(Terminal.printable(name))\"",
      hint: "choose one: " + found.map { "--transport \($0.transport)" }.joined(separator: ", "))
  }

  private func missing(_ name: String, _ names: [String]) -> CommandFailure {
    CommandFailure(
      .usage, "there is no stream \"\(Terminal.printable(name))\"",
      hint: Spelling.hint(for: name, among: names) ?? "'databus topics list' shows all")
  }

  static func kind(of stream: StreamReference, _ pipeline: PipelineConfiguration) -> RecordFormat.Kind {
    if stream == pipeline.deadLetters { return .deadLetters }
    if stream.transport == pipeline.results.transport, pipeline.results.streams.values.contains(stream.stream) {
      return .results
    }
    return .other
  }
}
