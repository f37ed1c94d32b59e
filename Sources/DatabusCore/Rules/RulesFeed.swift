/// Reads the rules stream into tables: the rules in force, the rule store, and what is refused.
///
/// Only the pipeline's intake calls it, so that a change read here takes effect before any event read after it.
actor RulesFeed {
  /// A record of the rules stream that is refused, for the dead letters.
  struct Refusal: Sendable {
    var letter: DeadLetterWriter.Letter
    var token: UInt64
  }

  struct Settings: Sendable {
    var decoder: RuleDecoder
    /// The place of each scheme's sink.
    var sinks: [String: Int]
    var maximumRules: Int
    /// Changes are written to the rule store.
    var storesRules: Bool
    var clock: any EngineClock = SystemClock()
  }

  private let executor: WorkerThread
  nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

  let source: any EventSource
  let settings: Settings
  private let progress: Progress
  let log: Logger
  var store: RuleStore
  var builder = RuleTableBuilder()
  var vector = RulesVector()
  var table = RuleTable.empty

  struct Partition {
    var assignment: Assignment
    var tracker: UInt16
    /// Where the stream stood when this assignment began, if all of it is read again: until then the table is incomplete.
    var snapshotEnd: UInt64?
    var snapshotIDs: Set<String> = []
  }
  var partitions: [PartitionID: Partition] = [:]
  /// Told by the source and not started yet: where that fails, it is tried again.
  var assigned: [Assignment] = []
  /// `stream/partition` that made each rule, for sources that are whole tables: a partition's end removes only what was its own.
  var origins: [String: String] = [:]

  /// Rules that are stored and refused, by id.
  var refused: [String: [String]] = [:]
  /// Which rule a key made, where the key is not the rule's id; and the other way round.
  var ruleOfKey: [[UInt8]: String] = [:]
  var keyOfRule: [String: [UInt8]] = [:]
  /// Record times by rule, where several partitions carry rules: the later one wins.
  var timestamps: [String: Int64] = [:]

  /// Changes that the rule store does not have yet.
  var unsaved: [String: StoredRule?] = [:]
  /// Refused ones among them whose last valid version stands in the store alone.
  var needsLastValid: Set<String> = []
  private var refusals: [Refusal] = []
  var isSaving = false
  private var hasEnded = false
  /// Partitions have been lost since somebody looked.
  private var hasLostPartitions = false
  /// What compaction does to the stream; the outer nil: it has not been asked yet.
  var compaction: StreamCompaction??
  /// When the stream was found read to its end last, in milliseconds since 1970.
  var readToEndAt: Int64?
  /// The rule store has lost writes: what it lacks is read again.
  var hasLostWrites = false
  /// Rules that records have deleted since this began, for whoever keeps no store; nil: nobody wants to know.
  var deletedIDs: Set<String>?
  /// While rules are read again, the table that is in force stays until the reading has come so far.
  var readsAgainTo: RulesVector?

  init(
    source: any EventSource, store: RuleStore, settings: Settings, progress: Progress, log: Logger,
    executor: WorkerThread
  ) {
    self.source = source
    self.store = store
    self.settings = settings
    self.progress = progress
    self.log = log
    self.executor = executor
    vector = store.vector
  }

  var ruleCount: Int { builder.rules.count }

  // MARK: Start

  /// Reads up to where the stream stood at the call. Until this has returned no event may be routed.
  func bootstrap(isStopping: @Sendable () -> Bool) async throws {
    try await catchUp(isStopping: isStopping)
    publish()
  }

  /// Reads up to where the stream stands now.
  func catchUp(isStopping: @Sendable () -> Bool) async throws {
    var all = try await source.partitions()
    var ends = try await source.bounds(of: all)
    if all.count > 1, partitions.isEmpty {
      log.warning(
        "the rules stream has \(all.count) partitions: between them the later record time wins",
        at: all.first?.stream, remedy: "use a stream with one partition for rules")
    }
    func isComplete() -> Bool {
      zip(all, ends).allSatisfy { partition, bounds in
        (partitions[partition] != nil && (vector.positions[partition] ?? 0) >= bounds.end.next) || hasEnded
      }
    }
    hasLostPartitions = false
    while !isComplete(), !isStopping() {
      try await read(wait: .milliseconds(20))
      guard hasLostPartitions else { continue }
      // The stream may have been made anew: what was to be read is gone then.
      hasLostPartitions = false
      all = try await source.partitions()
      ends = try await source.bounds(of: all)
    }
  }

  // MARK: Reading

  /// Reads what is there, without waiting. True where the table has changed.
  func drain() async throws -> Bool {
    while !hasEnded, try await read(wait: .zero) {}
    return publish()
  }

  /// One step, for whoever takes no refusals. nil at the stream's end; true where something may have changed.
  func follow(wait: Duration) async throws -> Bool? {
    if hasEnded { return nil }
    let found = try await read(wait: wait)
    for refusal in takeRefusals() { progress.complete([refusal.token].span) }
    publish()
    return found && !isInsideSnapshot && !isReadingAgain
  }

  /// One step. False where there was nothing.
  @discardableResult
  private func read(wait: Duration) async throws -> Bool {
    if hasEnded { return false }
    if hasLostWrites { return try await readAgain() }
    if try await startAssigned() { return true }
    let event = try await source.next(records: 1000, bytes: 4 << 20, wait: wait)
    switch consume event {
    case .batch(let batch):
      try await take(batch)
      return true
    case .assigned(let assignments):
      assigned += assignments
      return true
    case .revoking(let assignments, _):
      for assignment in assignments { forget(assignment) }
      try await source.release(assignments)
      return true
    case .lost(let assignments):
      for assignment in assignments { forget(assignment) }
      hasLostPartitions = true
      return true
    case .gap(let assignment, let from, let to):
      try await takeGap(assignment, from, to)
      return true
    case .passed(let assignment, let position):
      guard let entry = partitions[assignment.partition], entry.assignment == assignment else { return true }
      advance(entry, assignment.partition, to: position)
      finishSnapshot(assignment.partition)
      return true
    case .idle:
      readToEndAt = settings.clock.wallMilliseconds()
      return false
    case .end:
      hasEnded = true
      return false
    }
  }

  /// Starts what was assigned. False where there was nothing.
  private func startAssigned() async throws -> Bool {
    guard let next = assigned.first else { return false }
    try await start(next)
    assigned.removeAll { $0 == next }
    return true
  }

  private func start(_ assignment: Assignment) async throws {
    let partition = assignment.partition
    let bounds = try await source.bounds(of: [partition])[0]
    // A re-created stream is another one: positions of its old life are gone, its rules stay until something replaces them.
    for old in vector.positions.keys
    where old.stream == partition.stream && old.index == partition.index && old.incarnation != partition.incarnation {
      vector.positions[old] = nil
    }
    if let target = readsAgainTo?.positions[partition] {
      // A stream that was made anew may never come so far.
      readsAgainTo?.positions[partition] = min(target, bounds.end.next)
    }
    let isCompacted = try await compactionOfStream() != nil
    if let stored = vector.positions[partition], stored > bounds.end.next {
      warnOfAnotherLife(partition, stored, bounds)
      vector.positions[partition] = bounds.first.next
    }
    var position = vector.positions[partition] ?? bounds.first.next
    var entry = Partition(assignment: assignment, tracker: 0)
    if source.capabilities.wholeTable {
      position = bounds.first.next
      entry.snapshotEnd = bounds.end.next
    } else if isCompacted, vector.positions[partition] != nil, try await mayHaveMissedTombstones(position, bounds) {
      log.warning(
        "the stored rules are too old for this compacted stream: it is read from its beginning, and what is not in it any more is removed",
        at: "\(partition)",
        remedy: "keep tombstones for longer than the pipeline may be down (Kafka: delete.retention.ms)")
      position = bounds.first.next
      entry.snapshotEnd = bounds.end.next
      for rule in try await store.rules() { noteOrigin(rule) }
    } else if vector.positions[partition] == nil, bounds.isTruncated, !isCompacted {
      guard !builder.rules.isEmpty || !refused.isEmpty else {
        throw StateError.unusable(
          "the rules stream \(partition) does not begin at its start any more (retention has removed records), and there is no stored state: rules would be missing; write all rules again to a new stream without retention"
        )
      }
      log.warning(
        "the rules stream has lost records to retention", at: "\(partition)",
        remedy: "keep rules for ever (no retention)")
    }
    if let old = partitions[partition] { progress.stop(old.tracker) }
    entry.tracker = progress.start(assignment, at: position, vector: vector)
    partitions[partition] = entry
    vector.positions[partition] = position
    try await source.seek(assignment, to: Position(next: position))
    finishSnapshot(partition)
  }

  private func forget(_ assignment: Assignment) {
    assigned.removeAll { $0 == assignment }
    guard let entry = partitions[assignment.partition], entry.assignment == assignment else { return }
    progress.stop(entry.tracker)
    partitions[assignment.partition] = nil
  }

  private func takeGap(_ assignment: Assignment, _ from: UInt64, _ to: UInt64) async throws {
    let partition = assignment.partition
    if to < from, let entry = partitions[partition], entry.assignment == assignment {
      let bounds = try await source.bounds(of: [partition])[0]
      warnOfAnotherLife(partition, from, bounds)
      readsAgainTo?.positions[partition] = nil
      advance(entry, partition, to: bounds.first.next)
      return try await source.seek(assignment, to: bounds.first)
    }
    log.warning(
      "records of the rules stream are gone; rules that they changed stay as they are stored",
      at: "\(assignment.partition)/\(from)",
      remedy: "put rules that may have changed again; keep rules for ever (no retention)",
      [LogField("to", to)])
    vector.positions[assignment.partition] = to
    if let entry = partitions[assignment.partition] { advance(entry, assignment.partition, to: to) }
  }

  /// Goes on at a position without any record before it.
  private func advance(_ entry: Partition, _ partition: PartitionID, to position: UInt64) {
    vector.positions[partition] = position
    _ = progress.open(next: position, awaitsDeadLetter: false, entry.tracker)
  }

  private struct RawChange {
    var value: [UInt8]?
    var key: [UInt8]?
    var headers: [Header]
    var position: UInt64
    var next: UInt64
    var timestamp: Int64?
    var place: String?
  }

  private static let changesBetweenTables = 100_000

  private func take(_ batch: consuming RecordBatch) async throws {
    let assignment = batch.assignment
    guard let entry = partitions[assignment.partition], entry.assignment == assignment else { return }
    var changes: [RawChange] = []
    changes.reserveCapacity(batch.count)
    for index in 0..<batch.count {
      let raw = batch.raw(at: index)
      changes.append(
        RawChange(
          value: raw.value.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.valueCount))) },
          key: raw.key.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(raw.keyCount))) },
          headers: source.capabilities.headers ? batch.headers(at: index) : [], position: raw.position, next: raw.next,
          timestamp: raw.timestamp == RawRecord.noTimestamp ? nil : raw.timestamp,
          place: batch.storage.place(of: index)))
    }
    for change in changes { take(change, assignment.partition, entry.tracker) }
    // Each table is made of all rules: those in between are only for the sake of memory.
    if builder.changeCount >= RulesFeed.changesBetweenTables + table.ruleCount { publish() }
    if unsaved.count >= 5000 {
      // Where the state is away, the pipeline finds out when it saves.
      do { _ = try await save() } catch StateError.unavailable {}
    }
  }

  private func take(_ change: RawChange, _ partition: PartitionID, _ tracker: UInt16) {
    CrashPoint.takingRecord(partition, change.position)
    var reasons: [String]?
    var refusedID: String?
    if let value = change.value {
      switch settings.decoder.decode(value) {
      case .upsert(let rule):
        if isOutdated(rule.id, change, partition) { break }
        if builder.rules.count >= settings.maximumRules, builder.rules[rule.id] == nil {
          reasons = [
            "there are \(builder.rules.count) rules already; at most \(settings.maximumRules) are taken (limits.rules)"
          ]
          refusedID = rule.id
        } else {
          upsert(rule, change, value, partition)
        }
      case .delete(let ruleID):
        // It may have been deleted and its versions compacted away.
        deletedIDs?.insert(ruleID)
        if isOutdated(ruleID, change, partition) { break }
        remove(ruleID)
      case .refused(let ruleID, let all):
        reasons = all
        refusedID = ruleID
      }
    } else if let key = change.key {
      tombstone(key)
    } else {
      reasons = ["a tombstone without key says nothing"]
    }
    if let reasons { refuse(refusedID, reasons, change, partition) }
    vector.positions[partition] = change.next
    guard let token = progress.open(next: change.next, awaitsDeadLetter: reasons != nil, tracker) else { return }
    if let reasons {
      refusals.append(
        Refusal(
          letter: .init(
            partition: partition, position: change.position, timestamp: change.timestamp, reason: .ruleInvalid,
            detail: reasons.joined(separator: "; "), place: change.place, ruleID: refusedID, key: change.key,
            value: change.value,
            headers: change.headers), token: token))
    }
    finishSnapshot(partition)
  }

  // MARK: Changes

  func install(_ rule: Rule) {
    guard let sink = settings.sinks[rule.scheme] else { return }
    builder.upsert(rule, sink: sink)
  }

  func remember(key: [UInt8]?, of ruleID: String) {
    if let old = keyOfRule.removeValue(forKey: ruleID) { ruleOfKey[old] = nil }
    guard let key, !key.elementsEqual(ruleID.utf8) else { return }
    ruleOfKey[key] = ruleID
    keyOfRule[ruleID] = key
  }

  private func upsert(_ rule: Rule, _ change: RawChange, _ value: [UInt8], _ partition: PartitionID) {
    if let key = change.key, let former = ruleOfKey[key] ?? idThatIs(key), former != rule.id,
      wasMade(former, by: key)
    {
      remove(former)
    }
    for warning in rule.warnings {
      log.warning(
        warning, at: "\(partition)/\(change.position)",
        remedy: "where it was meant as something, send the rule corrected",
        [LogField("rule", rule.id)])
    }
    install(rule)
    remember(key: change.key, of: rule.id)
    refused[rule.id] = nil
    note(rule.id, of: partition)
    needsLastValid.remove(rule.id)
    keep(
      StoredRule(
        ruleID: rule.id, status: .inForce, latest: value, lastValid: value, key: change.key,
        locator: "\(partition)/\(change.position)", timestamp: change.timestamp), of: rule.id)
  }

  /// What the rule store is to hold of a rule; nil: nothing any more.
  private func keep(_ stored: StoredRule?, of ruleID: String) {
    if settings.storesRules { unsaved[ruleID] = .some(stored) }
  }

  private func note(_ ruleID: String, of partition: PartitionID) {
    guard source.capabilities.wholeTable || partitions[partition]?.snapshotEnd != nil else { return }
    partitions[partition]?.snapshotIDs.insert(ruleID)
    origins[ruleID] = partition.description
  }

  private func idThatIs(_ key: [UInt8]) -> String? {
    guard let text = String(validating: key, as: UTF8.self), exists(text) else { return nil }
    return text
  }

  private func exists(_ ruleID: String) -> Bool { builder.rules[ruleID] != nil || refused[ruleID] != nil }

  /// A key made a rule where it is the one remembered, or where the rule's id is the key and no other key made it.
  private func wasMade(_ ruleID: String, by key: [UInt8]) -> Bool {
    if let made = keyOfRule[ruleID] { return made == key }
    return key.elementsEqual(ruleID.utf8)
  }

  private func remove(_ ruleID: String) {
    deletedIDs?.insert(ruleID)
    builder.remove(ruleID)
    remember(key: nil, of: ruleID)
    refused[ruleID] = nil
    origins[ruleID] = nil
    needsLastValid.remove(ruleID)
    keep(nil, of: ruleID)
  }

  /// Removes what records of that key made, else the rule whose id is the key.
  private func tombstone(_ key: [UInt8]) {
    if let ruleID = ruleOfKey[key] { return remove(ruleID) }
    if let text = String(validating: key, as: UTF8.self), exists(text) { remove(text) }
  }

  /// The version before stays in force.
  private func refuse(
    _ ruleID: String?, _ reasons: [String], _ change: RawChange, _ partition: PartitionID
  ) {
    log.warning(
      "a rule is refused: \(reasons.joined(separator: "; "))", at: change.place ?? "\(partition)/\(change.position)",
      remedy: "send a corrected version", ruleID.map { [LogField("rule", $0)] } ?? [])
    guard let ruleID, let value = change.value else { return }
    var lastValid: [UInt8]?
    if let known = unsaved[ruleID] {
      lastValid = known?.lastValid
    } else if exists(ruleID) {
      needsLastValid.insert(ruleID)
    }
    // The key of the version that made the rule stays: a tombstone of it must remove the rule after a restart, too.
    let key = exists(ruleID) ? keyOfRule[ruleID] : change.key
    if !exists(ruleID) { remember(key: change.key, of: ruleID) }
    refused[ruleID] = reasons
    note(ruleID, of: partition)
    keep(
      StoredRule(
        ruleID: ruleID, status: .refused(reasons), latest: value, lastValid: lastValid, key: key,
        locator: "\(partition)/\(change.position)", timestamp: change.timestamp), of: ruleID)
  }

  /// Between several partitions the later record time wins.
  private func isOutdated(_ ruleID: String, _ change: RawChange, _ partition: PartitionID) -> Bool {
    guard partitions.count > 1, let timestamp = change.timestamp else { return false }
    if let known = timestamps[ruleID], known > timestamp { return true }
    timestamps[ruleID] = timestamp
    return false
  }

  /// At the end of a whole table, what did not stand in it is gone.
  private func finishSnapshot(_ partition: PartitionID) {
    guard let entry = partitions[partition], let end = entry.snapshotEnd, (vector.positions[partition] ?? 0) >= end
    else { return }
    for ruleID in Array(builder.rules.keys) + Array(refused.keys) where !entry.snapshotIDs.contains(ruleID) {
      if let origin = origins[ruleID], origin != partition.description { continue }
      remove(ruleID)
    }
    partitions[partition]?.snapshotEnd = nil
    partitions[partition]?.snapshotIDs = []
  }

  var isInsideSnapshot: Bool { partitions.values.contains { $0.snapshotEnd != nil } }

  /// Makes the table of what was read. A whole table that is read in part is not shown.
  @discardableResult
  private func publish() -> Bool {
    if isInsideSnapshot || (!builder.hasChanges && table.vector == vector) { return false }
    if isReadingAgain { return false }
    readsAgainTo = nil
    let changed = builder.hasChanges
    table = builder.makeTable(vector: vector)
    return changed
  }

  // MARK: The store

  func takeRefusals() -> [Refusal] {
    defer { refusals = [] }
    return refusals
  }

  /// Whether the store is behind.
  var needsSaving: Bool {
    settings.storesRules && (!unsaved.isEmpty || (store.vector != vector && !storeIsAhead(of: vector)))
  }

  /// Another process has read further and has stored it: writing here would take the store back.
  private func storeIsAhead(of target: RulesVector) -> Bool {
    store.vector != target
      && target.positions.allSatisfy { partition, next in (store.vector.positions[partition] ?? 0) >= next }
      && target.positions.keys.allSatisfy { store.vector.positions[$0] != nil }
  }

  /// Writes what has changed, once every dead letter of it is safe. False where it is not yet.
  @discardableResult
  func save() async throws -> Bool {
    if !needsSaving {
      try await confirm()
      return true
    }
    guard refusals.isEmpty, partitions.values.allSatisfy({ (progress.mark($0.tracker)?.open ?? 0) == 0 }) else {
      return false
    }
    if isSaving || (hasLostWrites && !hasEnded) { return false }
    isSaving = true
    defer { isSaving = false }
    let target = vector
    var changes = unsaved
    if !storeIsAhead(of: target) {
      var store = self.store
      for ruleID in needsLastValid {
        guard let change = changes[ruleID], var rule = change else { continue }
        rule.lastValid = try await store.rule(ruleID)?.lastValid
        changes[ruleID] = .some(rule)
        // A version that came meanwhile needs no other's.
        if needsLastValid.remove(ruleID) != nil { unsaved[ruleID] = .some(rule) }
      }
      do {
        try await store.apply(changes, vector: target)
        self.store = store
      } catch StateError.diverged {
        // Another process has written. Where it is further, there is nothing to add; else the next call writes on top of it.
        try await store.refresh()
        noteLostWrites(store)
        self.store = store
        guard store.vector == target || storeIsAhead(of: target) else { return false }
      }
    }
    for (ruleID, rule) in changes where unsaved[ruleID] == .some(rule) { unsaved[ruleID] = nil }
    return true
  }

  /// Where the partitions that are read end now.
  func ends() async throws -> [PartitionID: UInt64] {
    let read = partitions.keys.sorted()
    if read.isEmpty { return [:] }
    let bounds = try await source.bounds(of: read)
    return Dictionary(zip(read, bounds).map { ($0, $1.end.next) }, uniquingKeysWith: { a, _ in a })
  }

  func close() async { await source.close() }
}
