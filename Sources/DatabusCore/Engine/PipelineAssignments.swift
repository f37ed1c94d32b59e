/// Partitions that come and go: restoring, giving back, parking.
extension Pipeline {
  /// Opens a partition's state, finds where to start, and lets it run once the rules have come as far as they had when it stopped.
  func restore(_ assignment: Assignment) async {
    do {
      try await restoreOrThrow(assignment)
    } catch StateError.fenced {
      await forget(assignment)
      await releaseAtSource(assignment)
    } catch {
      if isStopping || !isCurrent(assignment) { return }
      await park(assignment, by: .restore, "the partition cannot be restored: \(error)")
    }
  }

  private func isCurrent(_ assignment: Assignment) -> Bool {
    partitions[assignment.partition]?.assignment == assignment
  }

  private func restoreOrThrow(_ assignment: Assignment) async throws {
    guard let source else { return }
    let partition = assignment.partition
    let backend = parts.state
    let session = try await retrying("state") { try await backend.open(.partition(partition)) }
    guard isCurrent(assignment) else { return await session.close() }
    partitions[partition]?.session = session
    partitions[partition]?.checkpoint = session.checkpoint
    let bytes = try await retrying("state") { try await session.multiGet([StoredPosition.key])[0] }
    let stored = try bytes.map { bytes in
      guard let stored = StoredPosition(encoded: bytes) else {
        throw StateError.unusable("the stored position of \(partition) cannot be read; remove this partition's state")
      }
      return stored
    }
    let keepsCommits = source.capabilities.commits
    let committed = keepsCommits ? try await retrying("events") { try await source.committed([assignment])[0] } : nil
    CrashPoint.duringRestore()
    let decision = StartDecision.decide(
      stored: stored, checkpoint: session.checkpoint, backend: backend.id, keepsCommits: keepsCommits,
      committed: committed, partition: partition)
    let position: Position
    switch decision {
    case .park(let reason): return await park(assignment, by: .restore, reason)
    case .noPosition:
      position = try await firstPosition(of: partition)
      // Committed before there is any state: a process that ends between its first checkpoint and its first commit would
      // leave state without a commit, which looks like a stream that was re-created.
      if keepsCommits, !(try await commitStart(position, assignment)) { return }
    case .start(let found, let reason):
      position = found
      explain(reason, partition, found)
    }
    // An older table than the one it was routed with before would route by rules that are gone.
    let vector = (stored?.vector ?? RulesVector()).merged(
      with: committed.flatMap { CommitMetadata($0.metadata)?.vector } ?? RulesVector())
    var turn = 0
    while let feed, isCurrent(assignment), !isStopping {
      turn += 1
      // Where the stream cannot be asked now, it is asked again.
      if (try? await feed.hasReached(vector, asksStream: turn % 25 == 5)) == true { break }
      troubles["restore \(partition)"] = "\(partition) waits until the rules have been read as far as before"
      try await clock.sleep(for: .milliseconds(20))
    }
    troubles["restore \(partition)"] = nil
    guard isCurrent(assignment), !isStopping else { return }
    let tracker = progress.start(assignment, at: position.next, vector: vector)
    partitions[partition]?.tracker = tracker
    partitions[partition]?.saved = stored
    partitions[partition]?.committed = committed?.position.next
    partitions[partition]?.status = .running
    troubles["parked \(partition)"] = nil
    if stored?.position != position { await checkpoint(partition, evenWhereUnchanged: true) }
    guard isCurrent(assignment) else { return }
    try await retrying("events") { try await source.seek(assignment, to: position) }
    guard isCurrent(assignment), partitions[partition]?.isHeldAtSource == true else { return }
    try await retrying("events") { try await source.pause([assignment], false) }
    if isCurrent(assignment) { partitions[partition]?.isHeldAtSource = false }
  }

  /// False where the assignment is not ours any more.
  private func commitStart(_ position: Position, _ assignment: Assignment) async throws -> Bool {
    guard let source else { return false }
    let metadata = CommitMetadata(backend: parts.state.id, checkpoint: 0, vector: RulesVector())
    let mark = CommitMark(assignment: assignment, position: position, metadata: metadata.text)
    return try await retrying("events") { try await source.commit([mark]).isEmpty }
  }

  private func explain(_ reason: StartDecision.Reason, _ partition: PartitionID, _ position: Position) {
    switch reason {
    case .state, .commit: break
    case .operatorsCommit:
      log.warning(
        "the committed position was set by an operator: reading starts there", at: "\(partition)/\(position)",
        remedy: "where nobody meant to: 'databus positions set' sets another")
    case .foreignCommit:
      let message = "the committed position belongs to another state: reading starts there"
      // Without shared state that is how a partition comes back from another process.
      log.log(
        parts.state.capabilities.isShared ? .warning : .info, message, at: "\(partition)/\(position)",
        remedy: "nothing has to be done after a move from another state; otherwise check which state this process uses")
    case .stateIsOlder:
      log.error(
        "the state is older than the commit: it has lost writes; reading starts at the commit",
        at: "\(partition)/\(position)",
        remedy: "check the state backend")
    case .noState:
      log.error(
        "there is a commit and no state: reading starts at the commit", at: "\(partition)/\(position)",
        remedy: "check whether the state was removed on purpose")
      metrics.stateMissing.add(1)
    }
  }

  /// Without any position: `events.start` for partitions of the first start, the beginning for those that appeared later.
  private func firstPosition(of partition: PartitionID) async throws -> Position {
    guard let source else { return Position(next: 0) }
    let bounds = try await retrying("events") { try await source.bounds(of: [partition])[0] }
    guard firstPartitions.contains(partition) else { return bounds.first }
    switch parts.configuration.events.start {
    case .earliest: return bounds.first
    case .latest: return bounds.end
    case .time(let time):
      return try await retrying("events") { try await source.positions(of: [partition], at: time)[0] }
    }
  }

  /// A partition that will be taken away: drain, checkpoint, commit, release, before the deadline.
  func giveBack(_ assignment: Assignment, by deadline: Instant) async {
    guard isCurrent(assignment) else { return await releaseAtSource(assignment) }
    partitions[assignment.partition]?.status = .revoking
    CrashPoint.inRevokeWindow()
    if let tracker = partitions[assignment.partition]?.tracker {
      for output in outputs { output.sink.retire(assignment.partition) }
      while clock.now() < deadline, (progress.mark(tracker)?.open ?? 0) > 0, isCurrent(assignment), !isStopping {
        progress.expectChange()
        if (progress.mark(tracker)?.open ?? 0) == 0 { break }
        if outputs.dropLast().allSatisfy({ $0.sink.isAtRest(assignment.partition) }) { break }
        await flushSinks(by: deadline)
        await progress.changed.wait(for: .milliseconds(5), clock)
      }
      // After the deadline somebody else may own it already: what is not applied by now is sent again there.
      if clock.now() < deadline, isCurrent(assignment) { await lastCheckpoint(assignment, by: deadline) }
    }
    await forget(assignment)
    await releaseAtSource(assignment)
  }

  private func releaseAtSource(_ assignment: Assignment) async {
    do { try await source?.release([assignment]) } catch {
      log.warning(
        "a partition could not be given back: \(error)", at: "\(assignment.partition)",
        remedy: "nothing is lost: its next owner waits until the transport takes it from here")
    }
  }

  /// Drops everything of an assignment. Ends that come later for it change nothing.
  func forget(_ assignment: Assignment) async {
    guard isCurrent(assignment), let partition = partitions.removeValue(forKey: assignment.partition) else { return }
    if let tracker = partition.tracker { progress.stop(tracker) }
    troubles["parked \(assignment.partition)"] = nil
    await partition.session?.close()
  }

  /// Stops a partition that can neither go on nor skip: positions stay, readiness is red, and it is tried again by itself.
  func park(_ assignment: Assignment, by cause: ParkCause, _ reason: String) async {
    guard isCurrent(assignment), let entry = partitions[assignment.partition] else { return }
    // Only an operator lets a partition go on that waits for one.
    if entry.parkedBy == .gap { return }
    if cause == .restore { partitions[assignment.partition]?.restoreAgainAt = clock.now() + Pipeline.parkedRetry }
    if entry.status != .revoking { partitions[assignment.partition]?.status = .parked(reason) }
    partitions[assignment.partition]?.parkedBy = cause
    if troubles.updateValue(reason, forKey: "parked \(assignment.partition)") != reason {
      log.error("the partition is parked: \(reason)", at: "\(assignment.partition)", remedy: cause.remedy)
    }
    // Records that come all the same are read again later.
    try? await source?.pause([assignment], true)
  }

  func unpark(_ assignment: Assignment) async {
    guard isCurrent(assignment), let entry = partitions[assignment.partition], entry.parkedBy != nil else { return }
    partitions[assignment.partition]?.parkedBy = nil
    troubles["parked \(assignment.partition)"] = nil
    guard entry.status != .revoking else { return }
    partitions[assignment.partition]?.status = .running
    partitions[assignment.partition]?.isSaturated = false
    partitions[assignment.partition]?.resumesAt = nil
    guard let source else { return }
    do {
      if let next = entry.resumesAt {
        let position = Position(next: next, token: source.token(for: next, in: assignment))
        try await retrying("events") { try await source.seek(assignment, to: position) }
      }
      try await retrying("events") { try await source.pause([assignment], false) }
    } catch {
      if isStopping || !isCurrent(assignment) { return }
      await park(assignment, by: .restore, "the partition cannot go on: \(error)")
    }
  }

  /// Tries again to restore partitions that could not be.
  func retryRestores() async {
    let now = clock.now()
    for (partition, entry) in partitions where entry.parkedBy == .restore && entry.status != .revoking {
      guard let again = entry.restoreAgainAt, again <= now else { continue }
      if let tracker = entry.tracker { progress.stop(tracker) }
      await entry.session?.close()
      guard isCurrent(entry.assignment) else { continue }
      // The trouble stays until it runs: readiness does not flicker.
      var held = Partition(assignment: entry.assignment)
      held.isHeldAtSource = true
      partitions[partition] = held
      Task { await self.restore(entry.assignment) }
    }
  }
}
