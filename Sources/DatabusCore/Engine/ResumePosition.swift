/// Where a pipeline would go on in a partition of its events stream, for operators: what `status` and `positions` show.
public struct ResumePosition: Sendable, Hashable {
  public var partition: PartitionID
  /// nil: neither the state nor the transport has one, or nobody can say (`problem`).
  public var position: Position?
  /// What the last checkpoint stored.
  public var stored: Position?
  /// What the transport holds.
  public var committed: Position?
  /// Why the partition would be parked.
  public var problem: String?

  /// - Parameters:
  ///   - state: opened for a tool: nothing is fenced.
  ///   - committed: what the transport holds for each partition; nil where it keeps no commits.
  /// - Throws: `StateError`.
  public static func all(
    of partitions: [PartitionID], state: any StateBackend, committed: [PartitionID: CommittedPosition]?
  ) async throws -> [ResumePosition] {
    var all: [ResumePosition] = []
    for partition in partitions {
      let held = try await HeldPartition(partition, state: state, committed: committed)
      all.append(held.resume)
      await held.close()
    }
    return all
  }

  /// Stores a position where the transport keeps no commits: the pipeline goes on there at its next start.
  ///
  /// - Parameter state: opened for writing; a process that runs the pipeline is fenced.
  /// - Throws: `StateError`.
  public static func set(_ position: Position, of partition: PartitionID, in state: any StateBackend) async throws {
    let held = try await HeldPartition(partition, state: state, committed: nil)
    try await held.move(to: position)
    await held.close()
  }

  init(partition: PartitionID, stored: Position?, committed: Position?) {
    self.partition = partition
    self.stored = stored
    self.committed = committed
  }
}

/// A partition's state in an operator's hands. With a state that is opened for writing, holding it fences whoever had it before,
/// and is itself fenced by whoever opens it next: what was read is what is replaced, or nothing is.
public struct HeldPartition: Sendable {
  /// Where the pipeline would go on.
  public let resume: ResumePosition
  private let session: any StateSession
  /// The rules that the records before were routed with.
  private let vector: RulesVector

  /// - Parameter committed: what the transport holds for each partition; nil where it keeps no commits.
  /// - Throws: `StateError`.
  public init(
    _ partition: PartitionID, state: any StateBackend, committed: [PartitionID: CommittedPosition]?
  ) async throws {
    session = try await state.open(.partition(partition))
    let stored = try await session.multiGet([StoredPosition.key])[0].flatMap { StoredPosition(encoded: $0) }
    let commit = committed?[partition]
    var resume = ResumePosition(partition: partition, stored: stored?.position, committed: commit?.position)
    let decision = StartDecision.decide(
      stored: stored, checkpoint: session.checkpoint, backend: state.id, keepsCommits: committed != nil,
      committed: commit, partition: partition)
    switch decision {
    case .start(let position, _): resume.position = position
    case .noPosition: break
    case .park(let reason): resume.problem = reason
    }
    self.resume = resume
    vector = (stored?.vector ?? RulesVector()).merged(
      with: commit.flatMap { CommitMetadata($0.metadata)?.vector } ?? RulesVector())
  }

  /// Stores another position, as the next checkpoint.
  ///
  /// - Throws: `StateError.fenced` where a process has taken the partition meanwhile.
  public func move(to position: Position) async throws {
    var batch = WriteBatch()
    batch.put(StoredPosition.key, StoredPosition(position: position, vector: vector).encoded())
    try await session.apply(batch, checkpoint: session.checkpoint + 1)
  }

  public func close() async { await session.close() }
}
