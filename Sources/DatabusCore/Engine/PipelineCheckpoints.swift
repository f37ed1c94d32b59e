#if canImport(Glibc)
  import Glibc
#endif

/// Checkpoints: confirmations first, then one atomic write to the state, then the commit; and what the process says of itself.
extension Pipeline {
  func checkpointLoop() async {
    while !isSenderDone {
      await checkpointSignal.wait(for: parts.checkpoint.interval, clock)
      if isSenderDone { return }
      await checkpointAll()
      // Whoever waits for the end of everything looks again.
      progress.changed.notify()
      lookAtSinks()
      await retryRefusedLetters()
      await retryRestores()
      dropSafeLetters()
    }
  }

  /// With nothing to read and nothing open there is no reason to wait for the interval.
  func checkpointWhenQuiet() {
    let hasNews = partitions.values.contains { partition in
      guard partition.status == .running, let tracker = partition.tracker, let mark = progress.mark(tracker) else {
        return false
      }
      return mark.open == 0 && partition.saved?.position.next != mark.position
    }
    let needsFlush =
      outputs.contains { $0.capabilities.confirmsOnFlush } && batchesInRouting == 0
      && partitions.values.contains { $0.tracker.flatMap { progress.mark($0)?.open } ?? 0 > 0 }
    if hasNews || needsFlush { checkpointSignal.notify() }
  }

  func checkpointAll() async {
    await flushSinks(by: clock.now() + .seconds(10))
    var marks: [CommitMark] = []
    for partition in partitions.values where partition.tracker != nil {
      if let mark = await store(partition.assignment.partition) { marks.append(mark) }
    }
    await commit(marks)
    await lookAtState()
    await saveRules()
  }

  /// Intake waits while the state is away. Where no checkpoint is due that would show that it is back, it is asked.
  private func lookAtState() async {
    guard troubles["state"] != nil, let session else { return }
    do {
      _ = try await session.multiGet([StoredPosition.key])
      troubles["state"] = nil
      progress.changed.notify()
    } catch { log.debug("the state is still away: \(error)", at: "state") }
  }

  /// Waits until no checkpoint of the partition is under way, and makes one.
  func lastCheckpoint(_ assignment: Assignment, by deadline: Instant) async {
    while isTracking(assignment), partitions[assignment.partition]?.isCheckpointing == true, clock.now() < deadline {
      await progress.changed.wait(for: .milliseconds(5), clock)
    }
    if isTracking(assignment) { await checkpoint(assignment.partition) }
  }

  /// Sinks that confirm only when they are asked to are asked now.
  func flushSinks(by deadline: Instant) async {
    for output in outputs where output.capabilities.confirmsOnFlush {
      do { try await output.sink.flush(by: deadline) } catch {
        if !isStopping { troubles[output.stream.stream] = "\(error)" }
      }
    }
  }

  /// One assignment's checkpoint.
  func checkpoint(_ partition: PartitionID, evenWhereUnchanged: Bool = false) async {
    if let mark = await store(partition, evenWhereUnchanged: evenWhereUnchanged) { await commit([mark]) }
  }

  /// Writes one assignment's checkpoint to the state.
  ///
  /// - Returns: what is to be committed, by `commit`, which ends the checkpoint; nil: nothing, and it has ended.
  private func store(_ partition: PartitionID, evenWhereUnchanged: Bool = false) async -> CommitMark? {
    guard let entry = partitions[partition], !entry.isCheckpointing, entry.parkedBy != .restore,
      let tracker = entry.tracker,
      let session = entry.session, let mark = progress.mark(tracker)
    else { return nil }
    let assignment = entry.assignment
    let token = source?.token(for: mark.position, in: assignment)
    let reached = StoredPosition(position: Position(next: mark.position, token: token), vector: mark.vector)
    let target = entry.unconfirmed ?? reached
    let isNew = entry.saved != target || evenWhereUnchanged
    let needsCommit = source?.capabilities.commits == true && entry.committed != target.position.next
    guard isNew || needsCommit else { return nil }
    partitions[partition]?.isCheckpointing = true
    let began = clock.now()
    CrashPoint.confirmedAndNotApplied()
    if isNew, !(await apply(target, session, assignment)) {
      endCheckpoint(assignment)
      return nil
    }
    if isNew {
      counts.checkpoints += 1
      metrics.checkpointTime.record(clock.now() - began)
    }
    CrashPoint.appliedAndNotCommitted()
    guard source?.capabilities.commits == true, let number = partitions[partition]?.checkpoint, isTracking(assignment)
    else {
      endCheckpoint(assignment)
      return nil
    }
    let metadata = CommitMetadata(backend: parts.state.id, checkpoint: number, vector: target.vector)
    return CommitMark(assignment: assignment, position: target.position, metadata: metadata.text)
  }

  private func endCheckpoint(_ assignment: Assignment) {
    if isTracking(assignment) { partitions[assignment.partition]?.isCheckpointing = false }
  }

  private func isTracking(_ assignment: Assignment) -> Bool {
    partitions[assignment.partition]?.assignment == assignment
  }

  private func apply(_ target: StoredPosition, _ session: any StateSession, _ assignment: Assignment) async -> Bool {
    guard let number = partitions[assignment.partition].map({ $0.checkpoint + 1 }) else { return false }
    var batch = WriteBatch()
    batch.put(StoredPosition.key, target.encoded())
    do {
      try await session.apply(batch, checkpoint: number)
    } catch StateError.fenced {
      counts.fenced += 1
      log.warning(
        "another process has taken over this partition's state: it is given up here", at: "\(assignment.partition)",
        remedy: "where no other process was started: look for a second pipeline of this name on the same state")
      await forget(assignment)
      try? await source?.release([assignment])
      return false
    } catch StateError.unavailable(let reason) {
      counts.failedCheckpoints += 1
      if isTracking(assignment) { partitions[assignment.partition]?.unconfirmed = target }
      await report("state", reason, .milliseconds(100))
      return false
    } catch {
      counts.failedCheckpoints += 1
      if isStopping { return false }
      var cause = ParkCause.checkpoint
      if case StateError.diverged = error {
        // The state has lost writes. What it holds and what was committed say where to go on, as at a start.
        cause = .restore
        // Where that cannot be seen now, the next save sees it.
        try? await feed?.lookAtStore()
      }
      await park(assignment, by: cause, "the checkpoint cannot be written: \(error)")
      return false
    }
    troubles["state"] = nil
    guard isTracking(assignment) else { return false }
    partitions[assignment.partition]?.checkpoint = number
    partitions[assignment.partition]?.saved = target
    partitions[assignment.partition]?.unconfirmed = nil
    if parts.checkpointsEachBatch { progress.changed.notify() }
    if partitions[assignment.partition]?.parkedBy == .checkpoint { await unpark(assignment) }
    return true
  }

  /// Commits what `store` has written, all of it at once.
  private func commit(_ marks: [CommitMark]) async {
    guard let source, !marks.isEmpty else { return }
    do {
      let stale = try await source.commit(marks)
      for mark in marks where !stale.contains(mark.assignment) && isTracking(mark.assignment) {
        partitions[mark.assignment.partition]?.committed = mark.position.next
      }
    } catch {
      // Best effort: the state has the positions.
      let places = marks.map { "\($0.assignment.partition)" }.joined(separator: ", ")
      log.debug("positions could not be committed: \(error)", at: places)
    }
    for mark in marks { endCheckpoint(mark.assignment) }
  }

  // MARK: Presence

  func presenceLoop() async {
    while !isSenderDone {
      await writePresence()
      await tableChanged.wait(for: .seconds(1), clock)
    }
  }

  private static let hostName: String = {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, 255)
    return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }()

  /// What this process says of itself now.
  public func presence() async -> Presence {
    let table = await feed?.table ?? .empty
    let refused = await feed?.refused.count ?? 0
    let health = currentHealth()
    return Presence(
      processID: Int(getpid()), host: Pipeline.hostName, startedAt: startedAt, at: clock.wallMilliseconds(),
      isReady: health.isReady, reasons: health.reasons, tableVersion: table.version,
      ruleCount: table.ruleCount, refusedCount: refused, rules: table.vector,
      partitions: partitions.values.map { partition in
        var parked: String?
        if case .parked(let reason) = partition.status { parked = reason }
        return Presence.Partition(
          partition: partition.assignment.partition, position: partition.saved?.position.next ?? 0,
          open: partition.tracker.flatMap { progress.mark($0)?.open } ?? 0, parked: parked)
      }.sorted { $0.partition < $1.partition }, counts: counts)
  }

  func writePresence() async {
    guard let session else { return }
    let record = await presence()
    var batch = WriteBatch()
    batch.put(record.key, record.encoded())
    // What cannot be written now is written a second later.
    try? await session.apply(batch, checkpoint: nil)
  }

  func removePresence() async {
    guard let session else { return }
    var batch = WriteBatch()
    batch.delete(await presence().key)
    try? await session.apply(batch, checkpoint: nil)
  }
}
