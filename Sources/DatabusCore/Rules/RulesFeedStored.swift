/// What the rule store holds: revived at a start, and read again where the store has lost writes.
extension RulesFeed {
  /// Compiles the stored rules again: a rule that an older release or another configuration refused is judged anew.
  func load() async throws {
    for stored in try await store.rules() { revive(stored) }
    table = builder.makeTable(vector: vector)
  }

  private func revive(_ stored: StoredRule) {
    remember(key: stored.key, of: stored.ruleID)
    if let timestamp = stored.timestamp { timestamps[stored.ruleID] = timestamp }
    if source.capabilities.wholeTable { noteOrigin(stored) }
    switch settings.decoder.decode(stored.latest) {
    case .upsert(let rule):
      install(rule)
      if stored.status != .inForce {
        var revived = stored
        revived.status = .inForce
        revived.lastValid = stored.latest
        unsaved[stored.ruleID] = revived
        log.info("a rule that was refused is in force now", at: stored.locator, [LogField("rule", stored.ruleID)])
      }
    case .delete: break
    case .refused(_, let reasons):
      refused[stored.ruleID] = reasons
      if let lastValid = stored.lastValid, case .upsert(let rule) = settings.decoder.decode(lastValid) { install(rule) }
      if stored.status != .refused(reasons) {
        var judged = stored
        judged.status = .refused(reasons)
        unsaved[stored.ruleID] = judged
        log.warning(
          "a stored rule is refused: \(reasons.joined(separator: "; "))", at: stored.locator,
          remedy: "put a valid version of the rule, or delete it", [LogField("rule", stored.ruleID)])
      }
    }
  }

  /// Remembers the partition that a stored rule came from.
  func noteOrigin(_ stored: StoredRule) {
    guard let slash = stored.locator.lastIndex(of: "/") else { return }
    origins[stored.ruleID] = String(stored.locator[..<slash])
  }

  /// The store's age matters only where tombstones go. It is noted a good deal more often than they do.
  private static let confirmationInterval = Duration.seconds(60)

  func confirm() async throws {
    guard settings.storesRules, case .some(.some(let compaction)) = compaction, let time = readToEndAt,
      !isInsideSnapshot, !hasLostWrites, !isReadingAgain
    else { return }
    let interval = min(RulesFeed.confirmationInterval, compaction.tombstoneRetention / 10)
    if let last = store.confirmedAt, Duration.milliseconds(time - last) < interval { return }
    var store = self.store
    do {
      try await store.confirm(at: time)
      self.store = store
    } catch StateError.diverged {
      // Another process has written: its rules are as new.
      try await store.refresh()
      noteLostWrites(store)
      self.store = store
    }
  }

  // MARK: A store that has lost writes

  /// Notes whether the store, which was just looked at, has gone back behind what it held before: it was emptied, or restored from an
  /// older copy. To write changes on top of that would leave out, for good, what had been stored in between.
  func noteLostWrites(_ seen: RuleStore) {
    if !seen.vector.includes(store.vector) { hasLostWrites = true }
  }

  /// Looks whether the store has lost writes. For when other state has.
  func lookAtStore() async throws {
    guard settings.storesRules, !isSaving else { return }
    var seen = store
    try await seen.refresh()
    if !isSaving { noteLostWrites(seen) }
  }

  /// Begins anew with what the store holds, and reads the stream from there on: as at a start, but the table that is in force stays
  /// until the reading has come as far as it had. False where the state is away: it is tried again.
  func readAgain() async throws -> Bool {
    var found = store
    let stored: [StoredRule]
    do {
      try await found.refresh()
      stored = try await found.rules()
    } catch StateError.unavailable { return false }
    log.error(
      "the rule store has lost writes: it was emptied, or restored from an older copy; rules are read again",
      at: "rules", remedy: "check the state backend", [LogField("stored", stored.count)])
    hasLostWrites = false
    readToEndAt = nil
    readsAgainTo = vector.merged(with: readsAgainTo ?? RulesVector())
    store = found
    vector = found.vector
    for ruleID in Array(builder.rules.keys) { builder.remove(ruleID) }
    refused = [:]
    ruleOfKey = [:]
    keyOfRule = [:]
    timestamps = [:]
    origins = [:]
    unsaved = [:]
    needsLastValid = []
    for rule in stored { revive(rule) }
    let known = partitions.values.map(\.assignment).filter { !assigned.contains($0) }
    assigned = known.sorted { $0.partition < $1.partition } + assigned
    return true
  }

  /// Whether the reading has not come yet to where it was before it began anew. A partition that is not read does not count.
  var isReadingAgain: Bool {
    (readsAgainTo?.positions ?? [:]).contains { partition, next in
      let isRead = partitions[partition] != nil || assigned.contains { $0.partition == partition }
      return isRead && (vector.positions[partition] ?? 0) < next
    }
  }
}
