/// Reading: rules ahead of events, assignments, gaps, and no more than there is room for.
extension Pipeline {
  /// How long one look at the events source waits: rules are read at least this often.
  private static let pollInterval = Duration.milliseconds(50)

  func intakeLoop() async throws {
    guard let source else { return }
    try await bootstrapRules()
    while !isStopping {
      await resumeSaturated()
      if isSourceAtEnd || !hasRoom {
        if parts.checkpointsEachBatch { checkpointWhenQuiet() }
        progress.expectChange()
        if isSourceAtEnd || !hasRoom { await progress.changed.wait(for: Pipeline.pollInterval, clock) }
        if !isSourceAtEnd {
          try await readRules()
        } else {
          if await isIdle() { return }
          // What was sent since the last checkpoint may wait to be flushed.
          checkpointWhenQuiet()
        }
        continue
      }
      let event: SourceEvent
      do {
        event = try await source.next(
          records: parts.limits.batchRecords, bytes: max(1, parts.limits.inFlightBytes / 4), wait: Pipeline.pollInterval
        )
        troubles["events"] = nil
      } catch let error as TransportError where error.class == .transport {
        await report("events", error.message, .milliseconds(500))
        continue
      } catch let error as TransportError where error.class == .closed && isStopping {
        return
      }
      try await take(event)
      if isSourceIdle || isSourceAtEnd, await isIdle() { return }
    }
  }

  /// Room for another batch: credit is what the engine pulls by.
  private var hasRoom: Bool {
    batchesInRouting < max(2, parts.workers * 2) && progress.inFlightBytes < parts.limits.inFlightBytes
      && troubles["state"] == nil && (!parts.checkpointsEachBatch || isCheckpointed)
  }

  /// Whether everything that was read is.
  private var isCheckpointed: Bool {
    batchesInRouting == 0
      && partitions.values.allSatisfy { partition in
        guard partition.status == .running, let mark = partition.tracker.flatMap({ progress.mark($0) }) else {
          return true
        }
        return mark.open == 0 && partition.saved?.position.next == mark.position
      }
  }

  private func take(_ event: consuming SourceEvent) async throws {
    let readAt = clock.now()
    isSourceIdle = false
    switch consume event {
    case .batch(let batch):
      // Rules are read after the events were: whatever was there before an event is in force for it.
      try await readRules()
      if feed != nil, parts.configuration.rules.consistency == .strict {
        let stopping = self.stopping
        try await onRules { [feed] in try await feed?.catchUp { stopping.isRaised } }
        try await readRules()
      }
      // At a stop rules are not read to their end any more: without them the batch must not be routed. It is read again.
      if isStopping { return }
      await route(batch, readAt: readAt)
    case .assigned(let assignments):
      CrashPoint.atAssignment()
      for assignment in assignments {
        if let known = partitions[assignment.partition]?.assignment {
          // Told twice: it runs already.
          if known == assignment { continue }
          await forget(known)
        }
        partitions[assignment.partition] = Partition(assignment: assignment)
        Task { await self.restore(assignment) }
      }
    case .revoking(let assignments, let deadline):
      for assignment in assignments { Task { await self.giveBack(assignment, by: deadline) } }
    case .lost(let assignments):
      for assignment in assignments {
        log.warning(
          "the partition belongs to somebody else now: what was in flight is dropped", at: "\(assignment.partition)",
          remedy: "its new owner sends that again; if it happens often, look why this process answers so late")
        await forget(assignment)
      }
    case .gap(let assignment, let from, let to): await takeGap(assignment, from, to)
    case .passed(let assignment, let position):
      guard let partition = partitions[assignment.partition], partition.assignment == assignment,
        partition.status == .running, let tracker = partition.tracker
      else { break }
      _ = progress.open(next: position, awaitsDeadLetter: false, tracker)
    case .idle:
      isSourceIdle = true
      try await readRules()
      checkpointWhenQuiet()
    case .end:
      isSourceAtEnd = true
      try await readRules()
      checkpointSignal.notify()
    }
  }

  private func route(_ batch: consuming RecordBatch, readAt: Instant) async {
    guard let partition = partitions[batch.assignment.partition], partition.assignment == batch.assignment,
      let tracker = partition.tracker
    else { return }
    guard partition.status == .running else {
      // The source has gone on behind it: what is dropped here is read again when the partition goes on.
      if partition.parkedBy != nil, partition.resumesAt == nil, batch.count > 0 {
        partitions[batch.assignment.partition]?.resumesAt = batch.raw(at: 0).position
      }
      return
    }
    let routed = progress.makeBatch()
    let count = batch.count
    routed.hold(batch)
    if let feed { routed.table = await feed.table }
    routed.timestamp = clock.wallMilliseconds()
    routed.readAt = readAt
    // Nothing was awaited between the look at the partition and here but the feed, which shares this thread.
    guard progress.open(routed, tracker) else { return progress.discard(routed) }
    routed.sequence = nextSequence
    nextSequence += 1
    counts.events += count
    recordsSinceCheckpoint += count
    batchesInRouting += 1
    queue.put(routed)
    await pauseIfSaturated(partition.assignment, tracker)
    if recordsSinceCheckpoint >= parts.checkpoint.records {
      recordsSinceCheckpoint = 0
      checkpointSignal.notify()
    }
  }

  // MARK: Rules

  private func bootstrapRules() async throws {
    guard let feed else { return }
    let stopping = self.stopping
    _ = try await onRules { try await feed.bootstrap { stopping.isRaised } }
    await sendRuleRefusals()
    await saveRules()
    if isStopping { return }
    hasReadRules = true
    let (rules, refused) = (await feed.table.ruleCount, await feed.refused.count)
    log.info(
      "ready: the rules have been read, events are routed", at: parts.configuration.events.stream.stream,
      [LogField("rules", rules), LogField("refused", refused)])
  }

  /// Reads what there is on the rules stream. While that cannot be read, no event is routed.
  private func readRules() async throws {
    guard let feed else { return }
    if try await onRules({ try await feed.drain() }) == true { tableChanged.notify() }
    await sendRuleRefusals()
    if await feed.needsSaving { await saveRules() }
  }

  private func onRules<R: Sendable>(_ body: @Sendable () async throws -> R) async throws -> R? {
    while !isStopping {
      do {
        let result = try await body()
        troubles["rules"] = nil
        return result
      } catch let error as TransportError where error.class == .transport {
        await report("rules", error.message, .milliseconds(500))
      }
    }
    return nil
  }

  private func sendRuleRefusals() async {
    guard let feed else { return }
    for refusal in await feed.takeRefusals() { await deadLetter(refusal.letter, token: refusal.token) }
  }

  func saveRules() async {
    guard let feed else { return }
    do {
      try await feed.save()
      troubles["rule store"] = nil
    } catch StateError.unavailable(let reason) {
      await report("rule store", reason, .milliseconds(100))
    } catch {
      fatal = Failure(message: "the rule store cannot be written: \(error)")
      stop()
    }
  }

  // MARK: Credit

  private func pauseIfSaturated(_ assignment: Assignment, _ tracker: UInt16) async {
    guard progress.span(tracker) > parts.limits.inFlightRecords - parts.limits.batchRecords, let source else { return }
    partitions[assignment.partition]?.isSaturated = true
    try? await source.pause([assignment], true)
  }

  private func resumeSaturated() async {
    for partition in partitions.values where partition.isSaturated {
      guard let tracker = partition.tracker, progress.span(tracker) < parts.limits.inFlightRecords / 2 else { continue }
      if partition.status == .running {
        // Where it fails, the next turn tries again.
        do { try await source?.pause([partition.assignment], false) } catch { continue }
      }
      partitions[partition.assignment.partition]?.isSaturated = false
    }
  }

  // MARK: Idle

  /// Whether a run that stops when idle, or whose events are over for good, is done: every partition at its end, all slots
  /// closed, the checkpoint applied.
  private func isIdle() async -> Bool {
    guard stopsWhenIdle || isSourceAtEnd else { return false }
    lookAtSinks()
    guard batchesInRouting == 0, let source else { return false }
    if let failure = parkedForAnOperator() {
      end(failure)
      return true
    }
    guard troubles.isEmpty, partitions.values.allSatisfy({ $0.status != .restoring && $0.status != .revoking }) else {
      return false
    }
    let running = partitions.values.filter { $0.status == .running }
    for partition in running {
      guard let tracker = partition.tracker, let mark = progress.mark(tracker), mark.open == 0 else { return false }
      if partition.saved?.position.next != mark.position {
        checkpointSignal.notify()
        return false
      }
    }
    if let feed, await feed.needsSaving {
      await saveRules()
      if await feed.needsSaving { return false }
    }
    if isSourceAtEnd { return true }
    // A pipe that is quiet for a moment is not at its end: a finite stream says so itself.
    if source.capabilities.finite { return false }
    guard let all = try? await source.partitions(), let bounds = try? await source.bounds(of: all) else { return false }
    return zip(all, bounds).allSatisfy { partition, bounds in
      guard let entry = partitions[partition] else { return bounds.first == bounds.end }
      return (entry.saved?.position.next ?? 0) >= bounds.end.next
    }
  }

  /// A run that is to end by itself does not wait for an operator: where nothing else is left to do, it fails and says so.
  private func parkedForAnOperator() -> Failure? {
    var parked: [String] = []
    for partition in partitions.values {
      switch partition.status {
      case .restoring, .revoking: return nil
      case .running: if (partition.tracker.flatMap { progress.mark($0)?.open } ?? 0) > 0 { return nil }
      case .parked(let reason):
        guard partition.parkedBy == .gap || partition.parkedBy == .restore else { return nil }
        parked.append("\(partition.assignment.partition) is parked: \(reason)")
      }
    }
    return parked.isEmpty ? nil : Failure(message: parked.sorted().joined(separator: "\n"))
  }

  // MARK: Gaps

  private func takeGap(_ assignment: Assignment, _ from: UInt64, _ to: UInt64) async {
    guard let partition = partitions[assignment.partition], partition.assignment == assignment,
      let tracker = partition.tracker
    else { return }
    counts.gaps += 1
    let detail = "records from \(from) up to \(to) are gone: the transport no longer has them"
    log.error(
      detail, at: "\(assignment.partition)/\(from)",
      remedy: "keep events longer than the pipeline may be down (retention)")
    if parts.configuration.events.onGap == .park {
      return await park(
        assignment, by: .gap,
        "\(detail); events.onGap is \"park\": set the position with \"databus positions set\", or set onGap to \"continue\""
      )
    }
    guard let token = progress.open(next: to, awaitsDeadLetter: true, tracker) else { return }
    await deadLetter(
      .init(partition: assignment.partition, position: from, end: to, reason: .gap, detail: detail), token: token)
  }
}
