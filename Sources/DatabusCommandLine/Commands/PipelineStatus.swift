import DatabusCore
import Dispatcher

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

  /// The dispatchers, and how far each partition is of the results and of the retry streams, where it exists.
  struct Dispatchers: Sendable {
    var processes: [Presence]
    var partitions: [Partition]
  }

  var processes: [Presence]
  /// nil where the events stream cannot be looked at from beside.
  var partitions: [Partition]?
  /// nil where the rules stream was not looked at, or cannot be.
  var rules: Rules?
  /// nil where the configuration has no dispatcher, or it was not looked at.
  var dispatchers: Dispatchers?
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
    var status = PipelineStatus(
      processes: try await processes(access.state, now: now), partitions: nil,
      stateType: access.configuration.state.type, isShared: access.stateCapabilities.isShared)
    guard let transport else { return status }
    status.partitions = try await partitions(access, transport, status.processes, bounds: known)
    return status
  }

  /// Those that are alive.
  private static func processes(_ state: any StateBackend, now: Int64) async throws -> [Presence] {
    let session = try await state.open(.pipeline)
    let processes = try await Presence.all(session).filter { $0.isAlive(at: now) }
    await session.close()
    return processes.sorted { ($0.host, $0.processID) < ($1.host, $1.processID) }
  }

  private static func partitions(
    _ access: PipelineAccess, _ transport: any Transport, _ processes: [Presence],
    bounds known: [PartitionID: PartitionBounds]? = nil
  ) async throws -> [Partition] {
    var bounds = known ?? [:]
    if known == nil {
      bounds = try await StreamEnds.read(transport, access.configuration.pipeline.events.stream.stream)
    }
    let partitions = bounds.keys.sorted()
    let committed = try await committed(access, transport)
    let resume = try await ResumePosition.all(of: partitions, state: access.state, committed: committed)
    return zip(partitions, resume).map { partition, resume in
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
  }

  /// - Parameter section: nil where the configuration has no dispatcher.
  /// - Throws: `StateError`, or `TransportError` where the results are away.
  static func readDispatchers(
    _ access: PipelineAccess, _ section: DispatcherConfiguration?, now: Int64
  ) async throws -> Dispatchers? {
    guard let section else { return nil }
    let processes = try await processes(ResultDispatcher.state(in: access.state), now: now)
    return try await access.withTransport(section.transport) { transport in
      // Reading a stream may make it. A transport that cannot list its streams has those of the results.
      let known =
        (try? await transport.topics()).map { Set($0.map(\.name)) } ?? Set(section.settings.results.map(\.stream))
      var all: [Partition] = []
      for stream in section.streams(of: access.configuration) where known.contains(stream.reference.stream) {
        all += try await partitions(access.reading(stream), transport, processes)
      }
      return Dispatchers(processes: processes, partitions: all)
    }
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

  /// Everything that can be seen, the rules stream and the dispatcher's too. What is away is told in `problems`.
  ///
  /// - Throws: `StateError`.
  static func readAll(
    _ access: PipelineAccess, _ section: DispatcherConfiguration?, now: Int64
  ) async throws -> PipelineStatus {
    var status: PipelineStatus
    do { status = try await read(access, now: now) } catch let error as TransportError {
      status = try await read(access, nil, now: now)
      status.problems.append("the events stream cannot be looked at: \(error.message)")
    }
    do { status.rules = try await readRules(access) } catch let error as TransportError {
      status.problems.append("the rules stream cannot be looked at: \(error.message)")
    }
    do { status.dispatchers = try await readDispatchers(access, section, now: now) } catch let error as TransportError {
      status.problems.append("the dispatcher's streams cannot be looked at: \(error.message)")
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
