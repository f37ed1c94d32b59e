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

  /// How far the rules stream goes, and how far it has been read.
  struct Rules: Sendable {
    var bounds: [PartitionID: PartitionBounds]
    /// How far the rule store is; nil where it cannot be seen.
    var stored: RulesVector?

    /// Records (bytes, for files) that somebody who is so far has not read.
    func lag(of vector: RulesVector) -> UInt64 {
      bounds.reduce(0) { sum, entry in
        let (partition, bounds) = entry
        let position = max(vector.positions[partition] ?? 0, bounds.first.next)
        return sum + (bounds.end.next > position ? bounds.end.next - position : 0)
      }
    }
  }

  var processes: [Presence]
  /// nil where the events stream cannot be looked at from beside.
  var partitions: [Partition]?
  /// nil where the rules stream was not looked at, or cannot be.
  var rules: Rules?
  /// The state backend's name in the configuration.
  var stateType: String
  var isShared: Bool
  /// What could not be looked at, and why.
  var problems: [String] = []

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
      stateType: access.configuration.state.type, isShared: access.stateCapabilities.isShared)
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
    canLook(access, at: access.configuration.pipeline.events.stream)
  }

  private static func canLook(_ access: PipelineAccess, at stream: StreamReference) -> Bool {
    access.capabilities(of: stream.transport).source?.replayable == true
  }

  /// - Throws: `StateError`, or `TransportError` where the events stream is away.
  static func read(_ access: PipelineAccess, now: Int64) async throws -> PipelineStatus {
    guard canLook(access) else { return try await read(access, nil, now: now) }
    return try await access.withTransport(access.configuration.pipeline.events.stream.transport) {
      try await read(access, $0, now: now)
    }
  }

  /// Everything that can be seen, the rules stream too. What is away is told in `problems`.
  ///
  /// - Throws: `StateError`.
  static func readAll(_ access: PipelineAccess, now: Int64) async throws -> PipelineStatus {
    var status: PipelineStatus
    do { status = try await read(access, now: now) } catch let error as TransportError {
      status = try await read(access, nil, now: now)
      status.problems.append("the events stream cannot be looked at: \(error.message)")
    }
    do { status.rules = try await readRules(access) } catch let error as TransportError {
      status.problems.append("the rules stream cannot be looked at: \(error.message)")
    }
    return status
  }

  private static func readRules(_ access: PipelineAccess) async throws -> Rules? {
    let stream = access.configuration.pipeline.rules.stream
    guard canLook(access, at: stream) else { return nil }
    let bounds = try await access.withTransport(stream.transport) { try await StreamEnds.read($0, stream.stream) }
    guard access.isStateVisible else { return Rules(bounds: bounds, stored: nil) }
    let session = try await access.state.open(.pipeline)
    let stored = try await RuleStore(session).vector
    await session.close()
    return Rules(bounds: bounds, stored: stored)
  }
}
