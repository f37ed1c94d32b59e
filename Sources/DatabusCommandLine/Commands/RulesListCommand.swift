import DatabusCore

extension DatabusCommand {
  static let rulesList = Command(
    "list", summary: "Show all rules: in force, and refused with the reasons",
    discussion: """
      Reads the pipeline's rule store. Where there is none (the pipeline has never run, or keeps its state in memory) the
      rules stream is read instead.
      """,
    examples: [
      .init("databus rules list", "A table."),
      .init(
        "databus rules list --json | jq -r 'select(.status == \"refused\") | .ruleId'",
        "For scripts: one object a line."),
    ], options: [.config, .json]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let rules = try await RuleListing(access).all()
      if arguments.flag("json") {
        for rule in rules { try context.output.write(rule.json + "\n") }
        return .done
      }
      if rules.isEmpty {
        try context.output.write("There are no rules. Put one with 'databus rules put'.\n")
        return .done
      }
      var table = Table(["RULE", "STATUS", "EVENTS", "DESTINATION"])
      for rule in rules {
        table.add([rule.stored.ruleID, rule.statusText, rule.events.joined(separator: " "), rule.destination])
      }
      try context.output.write(table.text(width: context.terminal.width))
      for rule in rules where !rule.reasons.isEmpty {
        try context.output.write("\(Terminal.printable(rule.stored.ruleID)) (\(rule.stored.locator)) is refused:\n")
        for reason in rule.reasons { try context.output.write("    \(Terminal.printable(reason))\n") }
      }
      return .done
    }
  }

  static let rulesGet = Command(
    "get", summary: "Show one rule as it was put",
    discussion: """
      Writes the latest record of the rule. Where that is refused, the reasons and the version in force are shown on
      standard error. Exit code 1: there is no such rule.
      """,
    examples: [
      .init("databus rules get rule_a", "The rule's JSON."),
      .init("databus rules get rule_a --json | jq .status", "With its status, place and reasons."),
    ], options: [.config, .json], operands: [Operand("ID", "The rule's id")]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let id = arguments.operand("ID") ?? ""
      let rules = try await RuleListing(access).all()
      guard let rule = rules.first(where: { $0.stored.ruleID == id }) else {
        throw CommandFailure(
          .failed, "there is no rule \"\(Terminal.printable(id))\"",
          hint: Spelling.hint(for: id, among: rules.map(\.stored.ruleID)) ?? "'databus rules list' shows all")
      }
      if arguments.flag("json") {
        try context.output.write(rule.json + "\n")
        return .done
      }
      try context.output.write(String(decoding: rule.stored.latest, as: UTF8.self) + "\n")
      if !rule.reasons.isEmpty {
        try context.errors.write("This version (\(rule.stored.locator)) is refused:\n")
        for reason in rule.reasons { try context.errors.write("    \(Terminal.printable(reason))\n") }
        if let valid = rule.stored.lastValid {
          try context.errors.write("In force is still: \(String(decoding: valid, as: UTF8.self))\n")
        }
      }
      return .done
    }
  }
}

/// The rules of a pipeline: from its rule store, else from the rules stream.
private struct RuleListing {
  struct Entry {
    var stored: StoredRule
    var events: [String] = []
    var destination = ""
    var isEnabled = true

    var reasons: [String] {
      if case .refused(let reasons) = stored.status { return reasons }
      return []
    }

    var statusText: String {
      if reasons.isEmpty { return isEnabled ? "in force" : "disabled" }
      return stored.lastValid == nil ? "refused" : "refused; an older version is in force"
    }

    var json: String {
      var members: [(String, JSONValue)] = [
        ("ruleId", JSONValue(.string(stored.ruleID))),
        ("status", JSONValue(.string(reasons.isEmpty ? (isEnabled ? "in force" : "disabled") : "refused"))),
        ("record", JSONValue(.string(stored.locator))),
      ]
      if let timestamp = stored.timestamp { members.append(("timestamp", JSONValue(integerLiteral: Int(timestamp)))) }
      if !reasons.isEmpty {
        members.append(("reasons", JSONValue(.array(reasons.map { JSONValue(.string($0)) }))))
        if let valid = stored.lastValid { members.append(("inForce", Entry.value(of: valid))) }
      }
      members.append(("rule", Entry.value(of: stored.latest)))
      return JSONValue(members: members).compactText
    }

    /// The JSON, or its text where it is none.
    private static func value(of bytes: [UInt8]) -> JSONValue {
      (try? JSONDocument.value(of: bytes)) ?? JSONValue(.string(String(decoding: bytes, as: UTF8.self)))
    }
  }

  private let access: PipelineAccess
  private let decoder: RuleDecoder

  init(_ access: PipelineAccess) {
    self.access = access
    let limits = access.configuration.limits
    decoder = RuleDecoder(
      schemes: Set(access.configuration.pipeline.results.streams.keys), maximumBytes: limits.ruleBytes,
      maximumDepth: limits.depth)
  }

  func all() async throws -> [Entry] {
    let session = try await access.state.open(.pipeline)
    let store = try await RuleStore(session)
    let stored = store.vector.isEmpty ? try await readStream() : try await store.rules()
    await session.close()
    return stored.map(entry)
  }

  private func entry(_ stored: StoredRule) -> Entry {
    var entry = Entry(stored: stored)
    let shown = stored.status == .inForce ? stored.latest : stored.lastValid ?? stored.latest
    if case .upsert(let rule) = decoder.decode(shown) {
      entry.events = rule.events
      entry.destination = rule.destination
      entry.isEnabled = rule.isEnabled
    }
    return entry
  }

  private func readStream() async throws -> [StoredRule] {
    let reference = access.configuration.pipeline.rules.stream
    var rules: [String: StoredRule] = [:]
    var keys: [[UInt8]: String] = [:]
    try await access.withTransport(reference.transport) { transport in
      let reader = try await StreamReader(transport, reference.stream, from: .start, isBounded: true)
      while let batch = try await reader.next() {
        for record in batch.records {
          take(record, &rules, &keys)
        }
      }
      await reader.close()
    }
    return rules.values.sorted { Array($0.ruleID.utf8).lexicographicallyPrecedes(Array($1.ruleID.utf8)) }
  }

  private func take(_ record: ReadRecord, _ rules: inout [String: StoredRule], _ keys: inout [[UInt8]: String]) {
    guard let value = record.value else {
      guard let key = record.key else { return }
      rules[keys[key] ?? String(decoding: key, as: UTF8.self)] = nil
      return
    }
    var stored = StoredRule(
      ruleID: "", status: .inForce, latest: value, lastValid: value, key: record.key, locator: record.locator,
      timestamp: record.timestamp)
    switch decoder.decode(value) {
    case .delete(let id):
      rules[id] = nil
      return
    case .upsert(let rule):
      stored.ruleID = rule.id
      if let key = record.key {
        if let former = keys[key], former != rule.id { rules[former] = nil }
        keys[key] = rule.id
      }
    case .refused(let id, let reasons):
      guard let id else { return }
      stored.ruleID = id
      stored.status = .refused(reasons)
      stored.lastValid = rules[id]?.lastValid
    }
    rules[stored.ruleID] = stored
  }
}
