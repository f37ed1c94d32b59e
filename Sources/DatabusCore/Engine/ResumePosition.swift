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
      let session = try await state.open(.partition(partition))
      let stored = try await session.multiGet([StoredPosition.key])[0].flatMap { StoredPosition(encoded: $0) }
      let commit = committed?[partition]
      var result = ResumePosition(partition: partition, stored: stored?.position, committed: commit?.position)
      let decision = StartDecision.decide(
        stored: stored, checkpoint: session.checkpoint, backend: state.id, keepsCommits: committed != nil,
        committed: commit, partition: partition)
      switch decision {
      case .start(let position, _): result.position = position
      case .noPosition: break
      case .park(let reason): result.problem = reason
      }
      await session.close()
      all.append(result)
    }
    return all
  }

  /// Stores a position where the transport keeps no commits: the pipeline goes on there at its next start.
  ///
  /// - Parameter state: opened for writing; a process that runs the pipeline is fenced.
  /// - Throws: `StateError`.
  public static func set(_ position: Position, of partition: PartitionID, in state: any StateBackend) async throws {
    let session = try await state.open(.partition(partition))
    let stored = try await session.multiGet([StoredPosition.key])[0].flatMap { StoredPosition(encoded: $0) }
    var batch = WriteBatch()
    batch.put(
      StoredPosition.key, StoredPosition(position: position, vector: stored?.vector ?? RulesVector()).encoded())
    try await session.apply(batch, checkpoint: session.checkpoint + 1)
    await session.close()
  }

  init(partition: PartitionID, stored: Position?, committed: Position?) {
    self.partition = partition
    self.stored = stored
    self.committed = committed
  }
}
