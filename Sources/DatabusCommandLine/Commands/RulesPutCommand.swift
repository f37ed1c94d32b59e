import DatabusCore

extension DatabusCommand {
  static let rules = Command(
    "rules", summary: "Put, show and delete rules while the pipeline runs",
    discussion: """
      A rule is a JSON object: {"ruleId": "a", "events": ["user:signup", "order:*"], "destinationUrl": "https://foo.bar/baz"}.
      Its events are exact types or prefixes that end in "*". A rule that is put again replaces the one before.
      """,
    examples: [
      .init(
        #"databus rules put '{"ruleId":"a","events":["user:*"],"destinationUrl":"https://foo.bar/baz"}'"#, "One rule."),
      .init("databus rules list", "What is in force, and what is refused and why."),
      .init("databus rules delete a", "Take a rule out of force."),
    ], subcommands: [rulesPut, rulesGet, rulesList, rulesDelete])

  static let wait = Option.flag("wait", "Return when every live process routes by it")
  static let timeout = Option.value("timeout", "TIME", kind: .duration, "How long to wait at most (60s)")

  private static let rulesPut = Command(
    "put", summary: "Put rules on the rules stream",
    discussion: """
      Takes a file with a rule a line, JSON text, or standard input line by line. Rules are checked before they are sent, and
      a refused one is shown with every reason. Of a file or JSON text nothing is sent where a rule is refused; lines of
      standard input are taken one by one. Every rule is acknowledged: it then survives whatever the rules' transport
      survives, and is in force within 100 ms. With --wait the command returns when every live process routes by it.

      Exit code 0: every rule was acknowledged; 1: one was refused, or did not come into force in time.
      """,
    examples: [
      .init("databus rules put rules.jsonl --wait", "A file of rules; return when they are in force."),
      .init(#"databus rules put '{"ruleId":"a","deleted":true}'"#, "The other way to delete a rule."),
      .init("jq -c .rules[] export.json | databus rules put", "From standard input."),
    ], options: [.config, wait, timeout, .json],
    operands: [Operand("FILE|JSON|-", kind: .file, count: .optional, "A file, JSON text, or - for standard input")]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let input = try InputLines(InputLines.Source(arguments.operand("FILE|JSON|-")), prompts: context.errors)
      let put = RulesPut(access: access, context: context, json: arguments.flag("json"), input: input)
      let isComplete = try await put.run()
      if arguments.flag("wait") {
        try await RulesWait(access: access, context: context).run(arguments.duration("timeout") ?? .seconds(60))
      }
      return isComplete ? .done : .failed
    }
  }

  private static let rulesDelete = Command(
    "delete", summary: "Take a rule out of force",
    discussion: """
      Writes a tombstone: a record with the rule's id as its key and without value. With --record it writes
      {"ruleId": ID, "deleted": true} instead, for transports without keys (files) and for consumers that skip tombstones.
      """,
    examples: [
      .init("databus rules delete rule_b --wait", "Return when no process routes by it any more."),
      .init("databus rules delete rule_b --record", "By a record with \"deleted\"."),
    ],
    options: [
      .config, .flag("record", "Write a record with \"deleted\" instead of a tombstone"), wait, timeout, .json,
    ],
    operands: [Operand("ID", count: .several, "The rules' ids")]
  ) { arguments, context in
    try await PipelineAccess.withTool(arguments, context) { access in
      let rules = access.configuration.pipeline.rules.stream
      let ids = arguments.operands("ID")
      let known = try await known(ids, access)
      try await access.withTransport(rules.transport) { transport in
        let writer = try await StreamWriter(transport, rules.stream)
        let asRecord = arguments.flag("record")
        if !asRecord, !writer.capabilities.tombstones || !writer.capabilities.keys {
          await writer.close()
          throw CommandFailure(
            .usage, "the transport \"\(rules.transport)\" has no tombstones", hint: "use --record")
        }
        for id in ids {
          let record = JSONValue(members: [("ruleId", JSONValue(.string(id))), ("deleted", true)]).compactText
          try await writer.append(key: Array(id.utf8), value: asRecord ? Array(record.utf8) : nil)
        }
        try await writer.confirm()
        let failures = writer.takeFailures()
        await writer.close()
        if let failure = failures.first {
          throw CommandFailure(.failed, "\(rules.stream): \(failure.error.message)")
        }
      }
      for id in ids where !known.contains(id) {
        try context.errors.write(
          "\(Terminal.printable(id)): the pipeline knew no such rule; 'databus rules list' shows all\n")
      }
      if arguments.flag("wait") {
        try await RulesWait(access: access, context: context).run(arguments.duration("timeout") ?? .seconds(60))
      }
      for id in ids {
        let result = JSONValue(members: [("ruleId", JSONValue(.string(id))), ("acknowledged", true)])
        try context.output.write(
          arguments.flag("json") ? result.compactText + "\n" : "\(Terminal.printable(id)): deleted\n")
      }
      return .done
    }
  }
}

extension DatabusCommand {
  /// Those of the rules that the rule store holds; all of them where there is none to ask.
  private static func known(_ ids: [String], _ access: PipelineAccess) async throws -> Set<String> {
    let session = try await access.state.open(.pipeline)
    let store = try await RuleStore(session)
    var known = Set(ids)
    if !store.vector.isEmpty {
      for id in ids where try await store.rule(id) == nil { known.remove(id) }
    }
    await session.close()
    return known
  }
}

/// Checks rules and sends them.
private struct RulesPut {
  var access: PipelineAccess
  var context: CommandContext
  var json: Bool
  var input: InputLines

  private var stream: StreamReference { access.configuration.pipeline.rules.stream }

  /// A rule that is to be sent, or what is wrong with it.
  private struct Item {
    var place: String
    var bytes: [UInt8]
    var ruleID: String?
    var what: String
    var reasons: [String]
  }

  /// False where a rule was refused.
  func run() async throws -> Bool {
    try await access.withTransport(stream.transport) { transport in
      let writer = try await StreamWriter(transport, stream.stream)
      do {
        let isComplete =
          if case .standardInput = input.source { try await takeLines(writer) } else { try await takeAll(writer) }
        await writer.close()
        return isComplete
      } catch {
        await writer.close()
        throw error
      }
    }
  }

  private func takeAll(_ writer: StreamWriter) async throws -> Bool {
    let whole = try await input.whole()
    var items: [Item] = []
    // One rule may be spread over lines.
    if let value = try? JSONDocument.value(of: whole.bytes), value.members != nil {
      items = [judge(whole)]
    } else {
      let text = try InputLines(.text(String(decoding: whole.bytes, as: UTF8.self)))
      while true {
        let lines = try await text.next()
        if lines.isEmpty { break }
        items += lines.map(judge)
      }
    }
    if items.isEmpty { throw CommandFailure(.usage, "\(input.source.name) holds no rule") }
    let refused = items.filter { !$0.reasons.isEmpty }
    if !refused.isEmpty {
      for item in refused { try tell(item, sent: false) }
      try context.errors.write("Nothing was sent: \(refused.count) of \(items.count) refused.\n")
      return false
    }
    return try await send(items, writer)
  }

  private func takeLines(_ writer: StreamWriter) async throws -> Bool {
    var isComplete = true
    if input.isTerminal { try context.errors.write("One rule a line; Ctrl-D ends.\n") }
    try input.prompt()
    while true {
      let lines = try await input.next()
      if lines.isEmpty { break }
      if try await !send(lines.map(judge), writer) { isComplete = false }
      try input.prompt()
    }
    if input.isTerminal { try context.errors.write("\n") }
    return isComplete
  }

  private func judge(_ line: InputLines.Line) -> Item {
    let limits = access.configuration.limits
    let decoder = RuleDecoder(
      schemes: Set(access.configuration.pipeline.results.streams.keys), maximumBytes: limits.ruleBytes,
      maximumDepth: limits.depth)
    let place = input.source.name + ":\(line.number)"
    // A record of a line-oriented transport is one line; in valid JSON a line end can only be insignificant.
    let bytes = line.bytes.map { $0 == 10 || $0 == 13 ? 32 : $0 }
    switch decoder.decode(line.bytes) {
    case .upsert(let rule):
      return Item(place: place, bytes: bytes, ruleID: rule.id, what: "acknowledged", reasons: [])
    case .delete(let id): return Item(place: place, bytes: bytes, ruleID: id, what: "deleted", reasons: [])
    case .refused(let id, let reasons):
      return Item(place: place, bytes: bytes, ruleID: id, what: "refused", reasons: reasons)
    }
  }

  private func send(_ items: [Item], _ writer: StreamWriter) async throws -> Bool {
    var sent: [UInt64: Item] = [:]
    var progress = ProgressLine(context.errors)
    for item in items where item.reasons.isEmpty {
      let key = writer.capabilities.keys ? item.ruleID.map { Array($0.utf8) } : nil
      sent[try await writer.append(key: key, value: item.bytes)] = item
      try progress.update("\(writer.ended) of \(items.count) rules acknowledged")
    }
    try await writer.confirm()
    try progress.clear()
    var isComplete = true
    for failure in writer.takeFailures() {
      guard var item = sent.removeValue(forKey: failure.token) else { continue }
      item.reasons = [failure.error.message]
      item.what = "refused"
      try tell(item, sent: false)
      isComplete = false
    }
    for item in items where !item.reasons.isEmpty {
      try tell(item, sent: false)
      isComplete = false
    }
    for (_, item) in sent.sorted(by: { $0.key < $1.key }) { try tell(item, sent: true) }
    try context.output.flush()
    return isComplete
  }

  private func tell(_ item: Item, sent: Bool) throws {
    if json {
      var members: [(String, JSONValue)] = []
      if let id = item.ruleID { members.append(("ruleId", JSONValue(.string(id)))) }
      members.append(("acknowledged", JSONValue(.bool(sent))))
      if !item.reasons.isEmpty {
        members.append(("place", JSONValue(.string(item.place))))
        members.append(("reasons", JSONValue(.array(item.reasons.map { JSONValue(.string($0)) }))))
      }
      return try context.output.write(JSONValue(members: members).compactText + "\n")
    }
    let id = Terminal.printable(item.ruleID ?? "a rule")
    if sent { return try context.output.write("\(id): \(item.what)\n") }
    try context.errors.write("\(item.place): \(id) is refused:\n")
    for reason in item.reasons { try context.errors.write("    \(Terminal.printable(reason))\n") }
  }
}
