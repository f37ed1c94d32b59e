/// Reads a pipeline's whole state, and writes it into another backend.
public enum StateTransfer {
  /// Stands in the pipeline's scope while an import is being written: such a state is not whole.
  static let unfinishedKey = Array("import-unfinished".utf8)
  /// Entries and bytes that are written at a time.
  private static let chunkEntries = 1000
  private static let chunkBytes = 4 << 20
  /// How often a scope is read again that changes while it is read.
  private static let readTries = 20

  // MARK: Export

  /// Reads everything but what processes say of themselves. Each scope is read as it was at one moment, also beside a process that
  /// writes: a state with partitions that are a moment older or younger than its rules is one that a start copes with.
  ///
  /// - Parameter state: opened for a tool: nothing is fenced.
  /// - Throws: `StateError`.
  public static func read(_ state: any StateBackend) async throws -> [StateFile.Scope] {
    // The pipeline's first: where the rules move on meanwhile, partitions wait at their start until the rules have been read so far.
    var scopes = [try await readPipeline(state)]
    for partition in try await state.partitions() { scopes.append(try await readPartition(partition, state)) }
    return scopes
  }

  private static func readPipeline(_ state: any StateBackend) async throws -> StateFile.Scope {
    let session = try await state.open(.pipeline)
    var scope: StateFile.Scope?
    for _ in 0..<readTries where scope == nil {
      // Rules are never written without their vector.
      let before = try await RuleStore(session).vector
      let entries = try await session.scanAll(prefix: []).filter { !$0.key.starts(with: Presence.prefix) }
      if try await RuleStore(session).vector == before {
        scope = StateFile.Scope(
          scope: .pipeline, epoch: session.epoch, checkpoint: session.checkpoint, entries: entries)
      }
    }
    await session.close()
    if let scope, scope.entries.contains(where: { $0.key == unfinishedKey }) { throw unfinished }
    if let scope { return scope }
    throw StateError.unavailable("the rules change faster than they can be read; stop the pipeline, then try again")
  }

  private static func readPartition(_ partition: PartitionID, _ state: any StateBackend) async throws -> StateFile.Scope
  {
    for _ in 0..<readTries {
      let session = try await state.open(.partition(partition))
      let entries = try await session.scanAll(prefix: [])
      let after = try await state.open(.partition(partition))
      let isSame = after.checkpoint == session.checkpoint
      await after.close()
      await session.close()
      guard isSame else { continue }
      return StateFile.Scope(
        scope: .partition(partition), epoch: session.epoch, checkpoint: session.checkpoint, entries: entries)
    }
    throw StateError.unavailable("the state of \(partition) changes faster than it can be read; stop the pipeline")
  }

  // MARK: Import

  /// Whether there is nothing in a state but what processes have said of themselves.
  ///
  /// - Throws: `StateError`.
  public static func isEmpty(_ state: any StateBackend) async throws -> Bool {
    if try await !state.partitions().isEmpty { return false }
    let session = try await state.open(.pipeline)
    let entries = try await session.scanAll(prefix: [])
    await session.close()
    return entries.allSatisfy { $0.key.starts(with: Presence.prefix) }
  }

  /// Removes everything from a state.
  ///
  /// - Throws: `StateError`.
  public static func clear(_ state: any StateBackend) async throws {
    let session = try await state.open(.pipeline)
    // From here to the end of the import that follows, nobody starts with what is left.
    try await mark(session)
    for partition in try await state.partitions() { try await state.remove(partition) }
    let keys = try await session.scanAll(prefix: []).map(\.key).filter { $0 != unfinishedKey }
    for start in stride(from: 0, to: keys.count, by: chunkEntries) {
      var batch = WriteBatch()
      for key in keys[start..<min(start + chunkEntries, keys.count)] { batch.delete(key) }
      try await session.apply(batch, checkpoint: nil)
    }
    await session.close()
  }

  /// Writes a file's scopes into an empty state. A pipeline does not start with one that was written in part.
  ///
  /// - Throws: `StateError`.
  public static func write(_ file: StateFile, to state: any StateBackend) async throws {
    let pipeline = try await state.open(.pipeline)
    try await mark(pipeline)
    for scope in file.scopes {
      switch scope.scope {
      case .pipeline: try await write(scope.entries, to: pipeline, checkpoint: nil)
      case .partition:
        let session = try await state.open(scope.scope)
        // Numbers of checkpoints are the store's own, as its epochs are.
        try await write(
          scope.entries, to: session, checkpoint: scope.checkpoint > 0 ? session.checkpoint + 1 : nil)
        await session.close()
      }
    }
    var batch = WriteBatch()
    batch.delete(unfinishedKey)
    try await pipeline.apply(batch, checkpoint: nil)
    await pipeline.close()
  }

  private static func mark(_ session: any StateSession) async throws {
    var batch = WriteBatch()
    batch.put(unfinishedKey, [1])
    try await session.apply(batch, checkpoint: nil)
  }

  private static func write(
    _ entries: [(key: [UInt8], value: [UInt8])], to session: any StateSession, checkpoint: UInt64?
  ) async throws {
    var batch = WriteBatch()
    var bytes = 0
    for (key, value) in entries {
      batch.put(key, value)
      bytes += key.count + value.count
      guard batch.puts.count >= chunkEntries || bytes >= chunkBytes else { continue }
      try await session.apply(batch, checkpoint: nil)
      batch = WriteBatch()
      bytes = 0
    }
    if !batch.isEmpty || checkpoint != nil { try await session.apply(batch, checkpoint: checkpoint) }
  }

  /// Refuses a state that an import has left half-written.
  static func refuseUnfinished(_ session: any StateSession) async throws {
    if try await session.multiGet([unfinishedKey])[0] != nil { throw unfinished }
  }

  private static let unfinished = StateError.unusable(
    "an import into this state did not finish: run 'databus state import --force' again, or remove the state")

  // MARK: Commits

  /// Where commits have to stand so that the pipeline goes on exactly where it would have gone on with its old state.
  ///
  /// A commit names the store whose checkpoint it belongs to. To another store it is a stranger's, and reading starts where it
  /// stands: never behind what has ended, but before it where the old store's last commit had failed.
  ///
  /// - Parameters:
  ///   - committed: what the transport holds for each partition that there is now.
  ///   - newID: of the store that was written to.
  /// - Returns: partitions whose commit must be moved, and those that nobody can decide about, each with the reason.
  public static func commits(
    _ file: StateFile, committed: [PartitionID: CommittedPosition?], newID: String
  ) -> (moves: [(partition: PartitionID, position: Position)], problems: [String]) {
    var moves: [(partition: PartitionID, position: Position)] = []
    var problems: [String] = []
    for scope in file.scopes {
      guard case .partition(let partition) = scope.scope, let commit = committed[partition],
        let bytes = scope.entries.first(where: { $0.key == StoredPosition.key })?.value,
        let stored = StoredPosition(encoded: bytes)
      else { continue }
      let decision = StartDecision.decide(
        stored: stored, checkpoint: scope.checkpoint, backend: file.stateID, keepsCommits: true, committed: commit,
        partition: partition)
      switch decision {
      case .start(let position, _):
        // A commit that names the new store belongs to a life of it that is over.
        let isStranger = commit.flatMap { CommitMetadata($0.metadata) }?.backend != newID
        if position != commit?.position || !isStranger { moves.append((partition, position)) }
      case .park(let reason): problems.append(reason)
      case .noPosition: break
      }
    }
    return (moves, problems)
  }
}
