/// Checks what one declaration cannot: references between sections, and what the named transports can do. Then makes the
/// typed configuration.
struct ReferenceCheck {
  var tree: JSONValue
  var registry: ComponentRegistry

  /// Where the pipeline names a transport.
  private enum Role: String, CaseIterable {
    case events, rules, results, deadLetters
    var reads: Bool { self == .events || self == .rules }
  }

  /// The names in the file, whether what stands under them is valid or not: a broken transport exists all the same.
  var transportNames: [String] {
    var names: [String] = []
    for member in tree["transports"]?.members ?? [] where !names.contains(member.name) { names.append(member.name) }
    return names
  }

  func check(_ root: ConfigurationObject?, _ decoder: inout ConfigurationDecoder) {
    let names = transportNames
    guard !names.isEmpty, tree["pipeline"]?.members != nil else { return }
    for role in Role.allCases { checkName(role, names, &decoder) }
    guard let root, decoder.diagnostics.isEmpty else { return }
    for role in Role.allCases { checkCapabilities(role, root, &decoder) }
    checkStreams(root, &decoder)
  }

  private func checkName(_ role: Role, _ names: [String], _ decoder: inout ConfigurationDecoder) {
    let section = tree["pipeline"]?[role.rawValue]
    if let section, section.members == nil { return }  // said already: it is no object
    let pointer = JSONPointer().appending("pipeline").appending(role.rawValue).appending("transport")
    if let value = section?["transport"] {
      guard let name = value.string, !name.isEmpty, !name.utf8.contains(UInt8(ascii: "$")) else { return }
      reportUnknown(name, at: value.offset, pointer, names, &decoder)
    } else if names.count > 1, role != .deadLetters {
      // A misspelt key is the cause, and is reported.
      if section?.members?.contains(where: { Spelling.nearest(to: $0.name, among: ["transport"]) != nil }) == true {
        return
      }
      decoder.report(
        .missing, at: section?.offset ?? tree["pipeline"]?.offset ?? 0, pointer,
        "\"transport\" is missing, and there are several",
        hint: "name one of: " + names.map { "\"\($0)\"" }.joined(separator: ", "))
    }
  }

  private func reportUnknown(
    _ name: String, at offset: Int, _ pointer: JSONPointer, _ names: [String], _ decoder: inout ConfigurationDecoder
  ) {
    guard !names.contains(name) else { return }
    decoder.report(
      .unknownReference, at: offset, pointer, "there is no transport \"\(name)\" in \"transports\"",
      hint: Spelling.hint(for: name, among: names))
  }

  private func checkCapabilities(_ role: Role, _ root: ConfigurationObject, _ decoder: inout ConfigurationDecoder) {
    let section = root.object("pipeline").object(role.rawValue)
    let name = transportName(role, root)
    guard let settings = transportSettings(name, root), let type = settings.type,
      let capabilities = registry.transport(type)?.capabilities(settings)
    else {
      // Only a substituted name comes here unchecked.
      if let value = section["transport"] {
        reportUnknown(name, at: value.offset, value.pointer, transportNames, &decoder)
      }
      return
    }
    let place =
      section["transport"] ?? ConfigurationValue(.string(name), offset: section.offset, pointer: section.pointer)
    if role.reads, capabilities.source == nil {
      decoder.report(
        .unsupported, at: place.offset, place.pointer,
        "\(role.rawValue) cannot be read from \"\(name)\": its type \"\(type)\" only writes")
    }
    if !role.reads, capabilities.sink == nil {
      let what = role == .results ? "results" : "dead letters"
      decoder.report(
        .unsupported, at: place.offset, place.pointer,
        "\(what) cannot be written to \"\(name)\": its type \"\(type)\" only reads")
    }
    if role == .events, let start = section["start"], case .string(let text) = start.content,
      case .time = StartPosition(text), capabilities.source?.seeksByTime == false
    {
      decoder.report(
        .unsupported, at: start.offset, start.pointer,
        "a transport of type \"\(type)\" cannot find a position by time", hint: "use \"earliest\" or \"latest\"")
    }
    if role == .results, section.boolean("headers"), capabilities.sink?.headers == false,
      let headers = section["headers"]
    {
      decoder.report(
        .unsupported, at: headers.offset, headers.pointer, "a transport of type \"\(type)\" has no headers",
        hint: "remove \"headers\": every result carries its metadata in its value too")
    }
  }

  /// What would feed the pipeline with its own output, or mix up records of two kinds.
  private func checkStreams(_ root: ConfigurationObject, _ decoder: inout ConfigurationDecoder) {
    guard let configuration = typed(root, "."), decoder.diagnostics.isEmpty else { return }
    let pipeline = configuration.pipeline
    let events = pipeline.events.stream
    let rules = pipeline.rules.stream
    let sections = root.object("pipeline")
    func report(_ section: ConfigurationObject, _ member: String, _ what: String, _ reference: StreamReference) {
      let value = section[member]
      decoder.report(
        .invalidValue, at: value?.offset ?? section.offset, value?.pointer ?? section.pointer,
        "\(what) the stream \"\(reference.stream)\" of \"\(reference.transport)\"",
        hint: "give each of them a stream of its own")
    }
    if rules == events { report(sections.object("rules"), "stream", "rules and events both come from", rules) }
    for stream in pipeline.results.streams.values.sorted() {
      let reference = StreamReference(transport: pipeline.results.transport, stream: stream)
      if reference == events || reference == rules {
        report(sections.object("results"), "streams", "results would go to what is read here:", reference)
      }
    }
    if pipeline.deadLetters == events || pipeline.deadLetters == rules {
      report(
        sections.object("deadLetters"), "stream", "dead letters would go to what is read here:", pipeline.deadLetters)
    }
  }

  // MARK: The typed configuration

  private func transportSettings(_ name: String, _ root: ConfigurationObject) -> ConfigurationObject? {
    for entry in root.map("transports") where entry.name == name {
      if case .object(let settings) = entry.value.content { return settings }
    }
    return nil
  }

  private func transportName(_ role: Role, _ root: ConfigurationObject) -> String {
    let pipeline = root.object("pipeline")
    if let name = pipeline.object(role.rawValue).optionalString("transport") { return name }
    if role == .deadLetters { return transportName(.events, root) }
    return root.map("transports").first?.name ?? ""
  }

  /// nil where the object was not checked.
  func typed(_ root: ConfigurationObject, _ directory: String) -> DatabusConfiguration? {
    let pipeline = root.object("pipeline")
    let events = pipeline.object("events")
    let rules = pipeline.object("rules")
    let results = pipeline.object("results")
    guard let start = StartPosition(events.string("start")), let onGap = GapPolicy(rawValue: events.string("onGap")),
      let identity = EventIdentityPolicy(rawValue: events.string("identity")),
      let consistency = RulesConsistency(rawValue: rules.string("consistency")),
      let state = root.optionalObject("state"), let stateType = state.type
    else { return nil }
    let transports = root.map("transports").compactMap { entry -> TransportConfiguration? in
      guard case .object(let settings) = entry.value.content, let type = settings.type else { return nil }
      return TransportConfiguration(name: entry.name, type: type, settings: settings)
    }
    let name = pipeline.string("name")
    let limits = root.object("limits")
    let checkpoint = root.object("checkpoint")
    return DatabusConfiguration(
      pipeline: PipelineConfiguration(
        name: name,
        events: EventsConfiguration(
          StreamReference(transport: transportName(.events, root), stream: events.string("stream")), start: start,
          onGap: onGap, identity: identity),
        rules: RulesConfiguration(
          StreamReference(transport: transportName(.rules, root), stream: rules.string("stream")),
          consistency: consistency),
        results: ResultsConfiguration(
          transport: transportName(.results, root), headers: results.boolean("headers"),
          streams: Dictionary(
            results.stringMap("streams").map { ($0.name.lowercased(), $0.value) }, uniquingKeysWith: { a, _ in a })),
        deadLetters: StreamReference(
          transport: transportName(.deadLetters, root),
          stream: pipeline.object("deadLetters").optionalString("stream") ?? "\(name)-dead-letters")),
      transports: transports, state: StateConfiguration(type: stateType, settings: state),
      checkpoint: CheckpointPolicy(
        interval: checkpoint.duration("interval"), records: checkpoint.integer("records")),
      limits: Limits(
        eventBytes: limits.size("eventBytes"), ruleBytes: limits.size("ruleBytes"), depth: limits.integer("depth"),
        rules: limits.integer("rules"), deliveriesPerEvent: limits.integer("deliveriesPerEvent"),
        batchRecords: limits.integer("batchRecords"), inFlightRecords: limits.integer("inFlightRecords"),
        inFlightBytes: limits.size("inFlightBytes")),
      admin: root.optionalObject("admin").map { admin in
        AdminConfiguration(
          address: admin.string("address"), port: admin.integer("port"), connections: admin.integer("connections"),
          headerBytes: admin.size("headerBytes"), timeout: admin.duration("timeout"))
      },
      sections: Dictionary(
        registry.sections.compactMap { section in root.optionalObject(section.name).map { (section.name, $0) } },
        uniquingKeysWith: { first, _ in first }), directory: directory)
  }
}
