import DatabusCore
import Dispatcher

/// A stream of dead letters, and where its records can go back to.
struct DeadLetterStream: Sendable {
  let reference: StreamReference
  /// By the name that the dead letters have in `dx-topic`: the stream that a record came from.
  let origins: [String: StreamReference]
  /// The dispatcher's, whose deliveries the deduplication store knows.
  let isDispatchers: Bool

  static let option = Option.value(
    "stream", "STREAM", "The dead-letter stream: the dispatcher's (without this option) or the pipeline's")

  /// Those that dead letters of the stream can have.
  private var reasons: [String] {
    isDispatchers ? DispatchReason.allCases.map(\.rawValue) : DeadLetterReason.allCases.map(\.rawValue)
  }

  /// - Throws: `CommandFailure` where the option names a stream without dead letters, and where there is no dispatcher and no option.
  init(_ arguments: ParsedArguments, _ configuration: DatabusConfiguration, _ section: DispatcherConfiguration?)
    throws(CommandFailure)
  {
    let pipeline = configuration.pipeline
    guard let name = arguments.value("stream") ?? section?.deadLetters.stream else {
      throw CommandFailure(
        .usage, "the configuration has no section \"dispatcher\", and so no deliveries that were given up",
        hint:
          "--stream \(pipeline.deadLetters.stream) looks at the pipeline's dead letters: events that could not be routed"
      )
    }
    if let section, section.deadLetters.stream == name {
      reference = section.deadLetters
      origins = Dictionary(section.settings.results.map { ($0.stream, $0) }, uniquingKeysWith: { a, _ in a })
      isDispatchers = true
      return
    }
    guard pipeline.deadLetters.stream == name else {
      let known = [section?.deadLetters.stream, pipeline.deadLetters.stream].compactMap { $0 }
      throw CommandFailure(
        .usage, "the stream \"\(Terminal.printable(name))\" has no dead letters of this configuration",
        hint: Spelling.hint(for: name, among: known) ?? "there are: \(known.joined(separator: ", "))")
    }
    reference = pipeline.deadLetters
    origins = [pipeline.events.stream.stream: pipeline.events.stream]
    isDispatchers = false
  }

  /// - Throws: `CommandFailure` where a reason is asked for that no dead letter of the stream can have.
  func check(_ selection: DeadLetterSelection) throws(CommandFailure) {
    for reason in selection.reasons.sorted() where !reasons.contains(reason) {
      let known = "there are: \(reasons.sorted().joined(separator: ", "))"
      throw CommandFailure(
        .usage, "--reason: no dead letter of \(reference.stream) has the reason \"\(Terminal.printable(reason))\"",
        hint: Spelling.hint(for: reason, among: reasons).map { "\($0) \(known)" } ?? known)
    }
  }
}

/// Which dead letters of a stream are meant.
struct DeadLetterSelection: Sendable {
  var reasons: Set<String> = []
  /// What the destination begins with. Without its query, as dead letters have it.
  var destination: String?
  /// Milliseconds since 1970, from and up to, and not.
  var since: Int64?
  var until: Int64?
  /// Ids or locators; empty: all.
  var names: Set<String> = []

  static let options: [Option] = [
    .value("reason", "REASON", repeatable: true, "Only those with this reason, as dx-reason says it"),
    .value("dest", "URL", "Only those whose destination begins so"),
    .value("since", "TIME", "Only those from then on: 2026-11-23T01:59:12Z, or how long ago: 2h"),
    .value("until", "TIME", "Only those from before then"),
  ]

  /// - Throws: `UsageError`.
  init(_ arguments: ParsedArguments, of command: String, names: [String] = []) throws(UsageError) {
    let now = SystemClock().wallMilliseconds()
    reasons = Set(arguments.values("reason"))
    destination = arguments.value("dest").map(DispatchText.redacted)
    since = try MomentArgument.value(arguments, "since", of: command, now: now)
    until = try MomentArgument.value(arguments, "until", of: command, now: now)
    self.names = Set(names)
  }

  init(names: Set<String>) { self.names = names }

  /// Not all of them.
  var isNarrow: Bool {
    !reasons.isEmpty || destination != nil || since != nil || until != nil || !names.isEmpty
  }

  func matches(_ found: FoundDeadLetter) -> Bool {
    let letter = found.letter
    if !names.isEmpty, !names.contains(found.locator), !(letter.id.map(names.contains) ?? false) { return false }
    if !reasons.isEmpty, !reasons.contains(letter.reason) { return false }
    if let destination, !(letter.destination ?? "").hasPrefix(destination) { return false }
    if let since, letter.time < since { return false }
    if let until, letter.time >= until { return false }
    return true
  }
}

/// A dead letter and where it stands.
struct FoundDeadLetter: Sendable {
  var letter: DeadLetter
  /// `stream/partition/position`.
  var locator: String
}

extension DeadLetterStream {
  /// Reads the stream from its beginning (from `since` on, where the transport finds that) to where it stands at the call.
  ///
  /// - Parameter body: is given every dead letter, in the order of its partition; returns false to read no further.
  /// - Returns: how many records are no dead letters.
  @discardableResult
  func read(
    _ transport: any Transport, since: Int64? = nil, _ body: (FoundDeadLetter) async throws -> Bool
  ) async throws -> Int {
    let reader = try await StreamReader(
      transport, reference.stream, from: since.map { .time($0) } ?? .start, isBounded: true)
    var strange = 0
    do {
      reading: while let batch = try await reader.next() {
        for record in batch.records {
          let letter = DeadLetter(
            key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp)
          guard let letter else {
            strange += 1
            continue
          }
          if try await !body(FoundDeadLetter(letter: letter, locator: record.locator)) { break reading }
        }
      }
    } catch {
      await reader.close()
      throw error
    }
    await reader.close()
    return strange
  }
}
