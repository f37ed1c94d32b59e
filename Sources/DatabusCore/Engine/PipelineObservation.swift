/// What the pipeline looks at beside its work, and tells to whoever watches: health, gauges, and how far the ends of its streams are.
/// Nothing here is waited for by the work, and nobody who asks for metrics waits for anything here.
extension Pipeline {
  /// What the watching keeps.
  struct Observed {
    /// Where the events' partitions end, as far as that was seen.
    var eventsEnds: [PartitionID: UInt64] = [:]
    var rulesEnds: [PartitionID: UInt64] = [:]
    /// Partitions that have series.
    var shown: Set<PartitionID> = []
    var shownRules: Set<PartitionID> = []
    var isOver = false
    let over = Signal()
  }

  /// How often health and gauges are told.
  static let observationInterval = Duration.seconds(1)
  /// How often a transport is asked where its streams end: it may cost it something.
  static let boundsInterval = Duration.seconds(3)

  /// Tells health and metrics every second until `endObservation`.
  func observeLoop() async {
    while !observed.isOver {
      await observe()
      await observed.over.wait(for: Pipeline.observationInterval, clock)
    }
  }

  /// Asks the transports for the ends of the streams now and then. A transport that hangs makes the lag old, and nothing else.
  func watchEnds() -> [Task<Void, Never>] {
    let clock = clock
    func every(_ look: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
      Task {
        while !Task.isCancelled {
          do { try await clock.sleep(for: Pipeline.boundsInterval) } catch { return }
          await look()
        }
      }
    }
    return [every { await self.lookAtEvents() }, every { await self.lookAtRules() }]
  }

  func endObservation() async {
    await observe()
    tell(Health(reasons: [.init(part: parts.healthPart, message: "it has ended")]))
    observed.isOver = true
    observed.over.notify()
  }

  /// Whether the process does its work, and everything that keeps it from it.
  func currentHealth() -> Health {
    var health = Health(
      reasons: troubles.sorted { $0.key < $1.key }.map { .init(part: $0.key, message: $0.value) })
    if isStopping { health.reasons.insert(.init(part: parts.healthPart, message: "it is stopping"), at: 0) }
    if health.isReady, !hasReadRules, case .route = parts.work {
      health.reasons.append(.init(part: "rules", message: "they are being read; no event is routed before"))
    }
    return health
  }

  private func observe() async {
    let table = await feed?.table ?? .empty
    let refused = await feed?.refused.count ?? 0
    tell(currentHealth())
    metrics.publish(counts)
    if feed != nil { metrics.publish(rules: table.ruleCount, refused: refused, tableVersion: table.version) }
    observePartitions()
    observeRules(table.vector)
  }

  private func tell(_ health: Health) {
    let now = clock.now()
    parts.health.tell(health, of: parts.healthPart, at: now)
    parts.health.publish(to: parts.metrics, at: now)
  }

  private func observePartitions() {
    let now = clock.now()
    var assignments: [PartitionObservation.Status: Int] = [:]
    for entry in partitions.values {
      let observation = observation(of: entry, at: now)
      assignments[observation.status, default: 0] += 1
      metrics.publish(observation)
    }
    metrics.publish(assignments: assignments)
    let owned = Set(partitions.keys)
    for partition in observed.shown.subtracting(owned) { metrics.forget(partition) }
    observed.shown = owned
  }

  private func observation(of entry: Partition, at now: Instant) -> PartitionObservation {
    let partition = entry.assignment.partition
    let mark = entry.tracker.flatMap { progress.mark($0) }
    let status: PartitionObservation.Status =
      switch entry.status {
      case .running: .running
      case .restoring: .restoring
      case .revoking: .revoking
      case .parked: .parked
      }
    let reached = mark?.position ?? entry.saved?.position.next
    var lag: UInt64?
    if let reached, let end = observed.eventsEnds[partition] { lag = end > reached ? end - reached : 0 }
    return PartitionObservation(
      partition: partition, status: status, position: entry.saved?.position.next ?? 0, open: mark?.open ?? 0,
      oldestOpenAge: mark?.oldestOpen.map { now - $0 } ?? .zero, lag: lag)
  }

  private func observeRules(_ vector: RulesVector) {
    for (partition, position) in vector.positions {
      metrics.publish(rulesPartition: partition, position: position, end: observed.rulesEnds[partition])
    }
    let read = Set(vector.positions.keys)
    for partition in observed.shownRules.subtracting(read) { metrics.forget(rulesPartition: partition) }
    observed.shownRules = read
  }

  // MARK: Ends

  private func lookAtEvents() async {
    guard let source, source.capabilities.replayable else { return }
    let owned = partitions.keys.sorted()
    if owned.isEmpty {
      observed.eventsEnds = [:]
      return
    }
    do {
      let bounds = try await source.bounds(of: owned)
      observed.eventsEnds = Dictionary(zip(owned, bounds).map { ($0, $1.end.next) }, uniquingKeysWith: { a, _ in a })
    } catch { log.debug("the ends of the partitions cannot be asked for: \(error)", at: "events") }
  }

  private func lookAtRules() async {
    guard let feed else { return }
    do { observed.rulesEnds = try await feed.ends() } catch {
      log.debug("the end of the rules stream cannot be asked for: \(error)", at: "rules")
    }
  }
}
