import DatabusCore

extension PipelineStatus {
  // MARK: For people

  func text(_ name: String, width: Int?, now: Int64, seesState: Bool) -> String {
    var text = ""
    if processes.isEmpty {
      text +=
        seesState
        ? "No process runs \"\(name)\". Start one with 'databus run'.\n"
        : "The state lives inside the pipeline's process: whether one runs cannot be seen from here.\n"
    } else {
      var table = Table([
        ("PROCESS", .left), ("HOST", .left), ("UP", .right), ("READY", .left), ("RULES", .right), ("REFUSED", .right),
        ("RULES LAG", .right), ("EVENTS", .right), ("RESULTS", .right), ("DEAD LETTERS", .right),
      ])
      for process in processes {
        table.add([
          String(process.processID), process.host, PipelineStatus.age(now - process.startedAt),
          process.isReady ? "yes" : "no", String(process.ruleCount), String(process.refusedCount),
          rules.map { String($0.lag(of: process.rules)) } ?? "-", String(process.counts.events),
          String(process.counts.results), String(process.counts.deadLetters),
        ])
      }
      text += table.text(width: width)
      for process in processes {
        for reason in process.reasons {
          let sentence = Terminal.printable("\(reason.part): \(reason.message)")
          text += "Process \(process.processID) is not ready: \(sentence)\n"
        }
      }
    }
    text += "State: \(stateType)\(isShared ? "" : ", not shared: one process is seen").\n"
    if let rules { text += rules.text }
    for problem in problems { text += Terminal.printable(problem.prefix(1).uppercased() + problem.dropFirst()) + "\n" }
    guard let partitions else { return text }
    text += "\n"
    var table = Table([
      ("PARTITION", .left), ("POSITION", .right), ("END", .right), ("LAG", .right), ("OPEN", .right),
      ("PROCESS", .left),
      ("", .left),
    ])
    for entry in partitions {
      table.add([
        "\(entry.partition)", entry.resume.position.map { String($0.next) } ?? "-", String(entry.bounds.end.next),
        String(entry.lag), entry.open.map { String($0) } ?? "-", entry.owner.map { String($0.processID) } ?? "-",
        (entry.parked ?? entry.resume.problem).map { "parked: \($0)" } ?? "",
      ])
    }
    return text + table.text(width: width)
  }

  private static func age(_ milliseconds: Int64) -> String {
    let seconds = max(0, milliseconds / 1000)
    if seconds < 120 { return "\(seconds)s" }
    if seconds < 7200 { return "\(seconds / 60)m" }
    return seconds < 172_800 ? "\(seconds / 3600)h" : "\(seconds / 86_400)d"
  }

  // MARK: For scripts

  func json(_ name: String) -> JSONValue {
    func number(_ value: some BinaryInteger) -> JSONValue { JSONValue(.number(String(value))) }
    let processes = processes.map { process -> JSONValue in
      var members: [(String, JSONValue)] = [
        ("pid", number(process.processID)), ("host", JSONValue(.string(process.host))),
        ("startedAt", number(process.startedAt)), ("ready", JSONValue(.bool(process.isReady))),
      ]
      if let reason = process.reason { members.append(("reason", JSONValue(.string(reason)))) }
      if !process.reasons.isEmpty {
        members.append(
          (
            "reasons",
            JSONValue(
              .array(
                process.reasons.map {
                  ["part": JSONValue(.string($0.part)), "message": JSONValue(.string($0.message))]
                }))
          ))
      }
      members += [
        ("table", number(process.tableVersion)), ("rules", number(process.ruleCount)),
        ("refused", number(process.refusedCount)),
      ]
      if let rules { members.append(("rulesLag", number(rules.lag(of: process.rules)))) }
      members += process.counts.all.map { ($0.name, number($0.value)) }
      return JSONValue(members: members)
    }
    var members: [(String, JSONValue)] = [
      ("pipeline", JSONValue(.string(name))), ("processes", JSONValue(.array(processes))),
      ("state", ["type": JSONValue(.string(stateType)), "shared": JSONValue(.bool(isShared))]),
    ]
    if let partitions {
      let list = partitions.map { entry -> JSONValue in
        var members: [(String, JSONValue)] = [
          ("stream", JSONValue(.string(entry.partition.stream))), ("partition", number(entry.partition.index)),
          ("position", entry.resume.position.map { number($0.next) } ?? JSONValue(.null)),
          ("first", number(entry.bounds.first.next)), ("end", number(entry.bounds.end.next)),
          ("lag", number(entry.lag)),
        ]
        if let owner = entry.owner { members.append(("pid", number(owner.processID))) }
        if let open = entry.open { members.append(("open", number(open))) }
        if let parked = entry.parked ?? entry.resume.problem { members.append(("parked", JSONValue(.string(parked)))) }
        return JSONValue(members: members)
      }
      members.append(("partitions", JSONValue(.array(list))))
    }
    if let rules {
      let list = rules.bounds.sorted { $0.key < $1.key }.map { partition, bounds in
        JSONValue(members: [
          ("stream", JSONValue(.string(partition.stream))), ("partition", number(partition.index)),
          ("position", rules.stored?.positions[partition].map { number($0) } ?? JSONValue(.null)),
          ("first", number(bounds.first.next)), ("end", number(bounds.end.next)),
        ])
      }
      members.append(("rules", JSONValue(.array(list))))
    }
    if !problems.isEmpty { members.append(("problems", JSONValue(.array(problems.map { JSONValue(.string($0)) })))) }
    return JSONValue(members: members)
  }
}

extension PipelineStatus.Rules {
  /// A line for each partition of the rules stream.
  fileprivate var text: String {
    bounds.sorted { $0.key < $1.key }.map { partition, bounds in
      let stored = stored?.positions[partition].map { ", stored up to \($0)" } ?? ""
      return Terminal.printable("Rules: \(partition) ends at \(bounds.end)\(stored).") + "\n"
    }.joined()
  }
}
