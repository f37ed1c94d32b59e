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
      text += PipelineStatus.reasons(processes)
    }
    text += "State: \(stateType)\(isShared ? "" : ", not shared: one process is seen").\n"
    if let rules { text += rules.text }
    for problem in problems { text += Terminal.printable(problem.prefix(1).uppercased() + problem.dropFirst()) + "\n" }
    if let partitions { text += "\n" + PipelineStatus.table(partitions, width: width) }
    if let dispatchers { text += "\n" + dispatchers.text(name, width: width, now: now, seesState: seesState) }
    return text
  }

  fileprivate static func reasons(_ processes: [Presence]) -> String {
    processes.flatMap { process in
      process.reasons.map { reason in
        "Process \(process.processID) is not ready: \(Terminal.printable("\(reason.part): \(reason.message)"))\n"
      }
    }.joined()
  }

  fileprivate static func table(_ partitions: [Partition], width: Int?) -> String {
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
    return table.text(width: width)
  }

  fileprivate static func age(_ milliseconds: Int64) -> String {
    let seconds = max(0, milliseconds / 1000)
    if seconds < 120 { return "\(seconds)s" }
    if seconds < 7200 { return "\(seconds / 60)m" }
    return seconds < 172_800 ? "\(seconds / 3600)h" : "\(seconds / 86_400)d"
  }

  // MARK: For scripts

  func json(_ name: String) -> JSONValue {
    let processes = processes.map { process -> JSONValue in
      var members = process.members
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
    if let partitions { members.append(("partitions", JSONValue(.array(partitions.map(\.json))))) }
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
    if let dispatchers {
      let processes = dispatchers.processes.map { process in
        JSONValue(members: process.members + process.counts.all.map { ($0.name, number($0.value)) })
      }
      let own: [(String, JSONValue)] = [
        ("processes", JSONValue(.array(processes))),
        ("partitions", JSONValue(.array(dispatchers.partitions.map(\.json)))),
      ]
      members.append(("dispatcher", JSONValue(members: own)))
    }
    if !problems.isEmpty { members.append(("problems", JSONValue(.array(problems.map { JSONValue(.string($0)) })))) }
    return JSONValue(members: members)
  }
}

private func number(_ value: some BinaryInteger) -> JSONValue { JSONValue(.number(String(value))) }

extension Presence {
  /// What every process says.
  fileprivate var members: [(String, JSONValue)] {
    var members: [(String, JSONValue)] = [
      ("pid", number(processID)), ("host", JSONValue(.string(host))), ("startedAt", number(startedAt)),
      ("ready", JSONValue(.bool(isReady))),
    ]
    if let reason { members.append(("reason", JSONValue(.string(reason)))) }
    if !reasons.isEmpty {
      let all = reasons.map { reason -> JSONValue in
        ["part": JSONValue(.string(reason.part)), "message": JSONValue(.string(reason.message))]
      }
      members.append(("reasons", JSONValue(.array(all))))
    }
    return members
  }
}

extension PipelineStatus.Partition {
  fileprivate var json: JSONValue {
    var members: [(String, JSONValue)] = [
      ("stream", JSONValue(.string(partition.stream))), ("partition", number(partition.index)),
      ("position", resume.position.map { number($0.next) } ?? JSONValue(.null)),
      ("first", number(bounds.first.next)), ("end", number(bounds.end.next)), ("lag", number(lag)),
    ]
    if let owner { members.append(("pid", number(owner.processID))) }
    if let open { members.append(("open", number(open))) }
    if let parked = parked ?? resume.problem { members.append(("parked", JSONValue(.string(parked)))) }
    return JSONValue(members: members)
  }
}

extension PipelineStatus.Dispatchers {
  fileprivate func text(_ name: String, width: Int?, now: Int64, seesState: Bool) -> String {
    var text = ""
    if !processes.isEmpty {
      var table = Table([
        ("DISPATCHER", .left), ("HOST", .left), ("UP", .right), ("READY", .left), ("RECORDS", .right),
      ])
      for process in processes {
        table.add([
          String(process.processID), process.host, PipelineStatus.age(now - process.startedAt),
          process.isReady ? "yes" : "no", String(process.counts.events),
        ])
      }
      text += table.text(width: width) + PipelineStatus.reasons(processes)
    } else if seesState {
      text +=
        "No dispatcher of \"\(name)\" runs. Start one with 'databus run --with-dispatcher' or 'databus dispatch'.\n"
    }
    return text + (partitions.isEmpty ? "" : "\n" + PipelineStatus.table(partitions, width: width))
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
