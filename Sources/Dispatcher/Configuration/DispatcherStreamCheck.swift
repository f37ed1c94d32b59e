import DatabusCore

/// Checks the section `dispatcher` against the rest of the file: which streams it reads and writes, and whether their transports
/// can.
struct DispatcherStreamCheck {
  let section: ConfigurationObject
  let configuration: DatabusConfiguration
  let context: SectionContext
  let registry: DispatcherRegistry

  func problems() -> [SectionProblem] {
    let pipeline = configuration.pipeline
    guard let dispatcher = DispatcherConfiguration(section, pipeline, registry) else { return [] }
    return streamProblems(dispatcher) + transportProblems(dispatcher) + collisions(dispatcher)
  }

  // MARK: Streams and channels

  private func streamProblems(_ dispatcher: DispatcherConfiguration) -> [SectionProblem] {
    let results = configuration.pipeline.results.streams
    var problems: [SectionProblem] = []
    if dispatcher.settings.results.isEmpty {
      let schemes = results.keys.sorted().map { "\"\($0)\"" }.joined(separator: ", ")
      return [
        SectionProblem(
          .unsupported, at: section.offset, section.pointer,
          "there is nothing to deliver: the results streams are for \(schemes) URLs, to which no channel delivers",
          hint: "remove \"dispatcher\", or add a stream to \"pipeline.results.streams\"")
      ]
    }
    for (index, stream) in dispatcher.settings.results.map(\.stream).enumerated() {
      // A default has no place of its own.
      let written = section["streams"] == nil ? nil : element(named: stream, index)
      let offset = written?.offset ?? section.offset
      let pointer = written?.pointer ?? section.pointer
      let schemes = results.filter { $0.value == stream }.map(\.key).sorted()
      if schemes.isEmpty {
        problems.append(
          SectionProblem(
            .unknownReference, at: offset, pointer, "no results go to the stream \"\(stream)\"",
            hint: Spelling.hint(for: stream, among: Set(results.values).sorted())))
      }
      for scheme in schemes {
        let channel = registry.channel(forScheme: scheme)
        if let channel, section.object("channels")[channel.name] != nil { continue }
        var problem = DispatcherCheck.noChannel(
          scheme, at: "streams", of: section, channel, registry, ", whose results are in the stream \"\(stream)\"")
        problem.offset = offset
        problem.pointer = pointer
        if channel == nil, schemes.count > 1 {
          problem.hint = "give \"\(scheme)\" a stream of its own in \"pipeline.results.streams\""
        }
        problems.append(problem)
      }
    }
    return problems
  }

  private func element(named stream: String, _ index: Int) -> ConfigurationValue? {
    section.array("streams").first { element in
      if case .string(stream) = element.content { true } else { false }
    }
  }

  // MARK: Transports

  private func transportProblems(_ dispatcher: DispatcherConfiguration) -> [SectionProblem] {
    var problems: [SectionProblem] = []
    let name = dispatcher.transport
    if let lack = lack(name, reads: true) {
      problems.append(
        SectionProblem(
          .unsupported, at: section.offset, section.pointer,
          "results and retries cannot be on \"\(name)\": its type \"\(type(name))\" \(lack)",
          hint: alternative(reads: true, for: "\"pipeline.results.transport\"")))
    }
    let deadLetters = dispatcher.deadLetters.transport
    if deadLetters != name, context.transportNames.contains(deadLetters), let lack = lack(deadLetters, reads: false) {
      problems.append(
        SectionProblem(
          .unsupported, at: "transport", of: section.object("deadLetters"),
          "dead letters cannot be on \"\(deadLetters)\": its type \"\(type(deadLetters))\" \(lack)",
          hint: alternative(reads: false, for: "\"transport\"")))
    }
    return problems
  }

  private func type(_ transport: String) -> String { configuration.transport(transport)?.type ?? "" }

  /// What a transport lacks, as the end of a sentence about its type; nil where it can do all that is needed.
  private func lack(_ transport: String, reads: Bool) -> String? {
    guard let capabilities = context.capabilities(of: transport) else { return nil }
    guard let sink = capabilities.sink else { return "only reads" }
    if !sink.headers || !sink.keys {
      return "has records without keys and headers, which say what a delivery has behind it"
    }
    guard reads else { return nil }
    guard let source = capabilities.source else { return "only writes" }
    if !source.headers || !source.keys {
      return "has records without keys and headers, which say what a delivery has behind it"
    }
    return source.replayable ? nil : "gives each record only once, so that what was in flight at a crash is lost"
  }

  private func alternative(reads: Bool, for member: String) -> String {
    let able = configuration.transports.map(\.name).filter { lack($0, reads: reads) == nil }.map { "\"\($0)\"" }
    return able.isEmpty
      ? "give \(member) one whose records have keys and headers"
      : "\(able.joined(separator: ", ")) can: write \(able.count == 1 ? "it" : "one of them") as \(member)"
  }

  // MARK: Collisions

  /// What would feed the dispatcher with its own output, or mix up records of two kinds.
  private func collisions(_ dispatcher: DispatcherConfiguration) -> [SectionProblem] {
    let pipeline = configuration.pipeline
    var others = [
      pipeline.events.stream: "events", pipeline.rules.stream: "rules",
      pipeline.deadLetters: "the router's dead letters",
    ]
    for stream in pipeline.results.streams.values {
      others[StreamReference(transport: pipeline.results.transport, stream: stream)] = "results"
    }
    var problems: [SectionProblem] = []
    let retry = section.object("retry")
    let retries = dispatcher.settings.retryStreams
    for reference in retries {
      guard let other = others[reference] else { continue }
      problems.append(
        SectionProblem(
          .invalidValue, at: "tiers", of: retry,
          "retries and \(other) would share the stream \"\(reference.stream)\" of \"\(reference.transport)\"",
          hint: "give the other another name: that of a retry stream follows from the results stream and the wait"))
    }
    for reference in retries { others[reference] = "retries" }
    if let other = others[dispatcher.deadLetters] {
      problems.append(
        SectionProblem(
          .invalidValue, at: "stream", of: section.object("deadLetters"),
          "the dispatcher's dead letters and \(other) would share the stream \"\(dispatcher.deadLetters.stream)\" of "
            + "\"\(dispatcher.deadLetters.transport)\"",
          hint: "give each of them a stream of its own"))
    }
    return problems
  }
}
