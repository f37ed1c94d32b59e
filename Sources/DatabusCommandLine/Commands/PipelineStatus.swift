import DatabusCore

/// What is known of a pipeline from beside it: its processes, and how far each partition of its events is.
struct PipelineStatus: Sendable {
  struct Partition: Sendable {
    var partition: PartitionID
    var bounds: PartitionBounds
    var resume: ResumePosition
    /// Of the live process that owns it.
    var owner: Presence?
    var open: Int?
    var parked: String?

    /// Everything before it has ended. The beginning where there is no position yet.
    var position: UInt64 { resume.position?.next ?? bounds.first.next }
    /// Records (bytes, for files) that have not ended.
    var lag: UInt64 { bounds.end.next > position ? bounds.end.next - position : 0 }
  }

  var processes: [Presence]
  /// nil where the events stream cannot be looked at from beside.
  var partitions: [Partition]?
  var isShared: Bool

  /// - Parameter known: the bounds of the events stream's partitions, where they were read already.
  static func read(
    _ access: PipelineAccess, _ transport: (any Transport)?, now: Int64,
    bounds known: [PartitionID: PartitionBounds]? = nil
  ) async throws -> PipelineStatus {
    let session = try await access.state.open(.pipeline)
    let processes = try await Presence.all(session).filter { $0.isAlive(at: now) }
    await session.close()
    var status = PipelineStatus(
      processes: processes.sorted { ($0.host, $0.processID) < ($1.host, $1.processID) }, partitions: nil,
      isShared: access.stateCapabilities.isShared)
    guard let transport else { return status }
    let pipeline = access.configuration.pipeline
    let stream = pipeline.events.stream.stream
    var bounds = known ?? [:]
    if known == nil { bounds = try await StreamEnds.read(transport, stream) }
    let partitions = bounds.keys.sorted()
    let committed = try await committed(access, transport)
    let resume = try await ResumePosition.all(of: partitions, state: access.state, committed: committed)
    status.partitions = zip(partitions, resume).map { partition, resume in
      var entry = Partition(
        partition: partition,
        bounds: bounds[partition] ?? PartitionBounds(first: Position(next: 0), end: Position(next: 0)),
        resume: resume)
      for process in processes {
        guard let own = process.partitions.first(where: { $0.partition == partition }) else { continue }
        entry.owner = process
        entry.open = own.open
        entry.parked = own.parked
      }
      return entry
    }
    return status
  }

  /// What the transport holds for the pipeline's group; nil where it keeps no commits.
  static func committed(
    _ access: PipelineAccess, _ transport: any Transport
  ) async throws -> [PartitionID: CommittedPosition]? {
    let pipeline = access.configuration.pipeline
    guard access.capabilities(of: pipeline.events.stream.transport).source?.commits == true else { return nil }
    var all: [PartitionID: CommittedPosition] = [:]
    for (partition, committed) in try await transport.groupPositions(
      pipeline.name, stream: pipeline.events.stream.stream)
    {
      all[partition] = committed
    }
    return all
  }

  /// Whether the events stream can be looked at without taking anything from anybody: standard input cannot.
  static func canLook(_ access: PipelineAccess) -> Bool {
    let events = access.configuration.pipeline.events.stream
    return access.capabilities(of: events.transport).source?.replayable == true
  }
}

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
        ("EVENTS", .right), ("RESULTS", .right), ("DEAD LETTERS", .right),
      ])
      for process in processes {
        table.add([
          String(process.processID), process.host, PipelineStatus.age(now - process.startedAt),
          process.isReady ? "yes" : "no", String(process.ruleCount), String(process.refusedCount),
          String(process.counts.events), String(process.counts.results), String(process.counts.deadLetters),
        ])
      }
      text += table.text(width: width)
      for process in processes {
        if let reason = process.reason {
          text += "Process \(process.processID) is not ready: \(Terminal.printable(reason))\n"
        }
      }
      if !isShared { text += "The state is not shared: one process is seen.\n" }
    }
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
      members += [
        ("table", number(process.tableVersion)), ("rules", number(process.ruleCount)),
        ("refused", number(process.refusedCount)),
      ]
      members += process.counts.all.map { ($0.name, number($0.value)) }
      return JSONValue(members: members)
    }
    var members: [(String, JSONValue)] = [
      ("pipeline", JSONValue(.string(name))), ("processes", JSONValue(.array(processes))),
      ("sharedState", JSONValue(.bool(isShared))),
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
    return JSONValue(members: members)
  }
}
