import DatabusCore

/// The lives of the files at the configured paths: which file stands there, what it is known by, and when another takes
/// its place.
extension FileReader {
  /// Opens what stands at a path and assigns it.
  func begin(_ index: Int) async throws {
    let path = slots[index].path
    let file = try OpenFile.forReading(path)
    let facts = try file.facts()
    // Standard input stands where whoever gave it to us has left it: it has no offsets of ours.
    let isRegular = facts.isRegular && !FileTransportConfiguration.isStandard(path, input: true)
    let (incarnation, identity) = try await identify(file, facts, isRegular, slots[index])
    if let identity {
      if slots[index].lives == 0 { try await beginEarlierLives(index, before: identity) }
      try await note(identity, at: index)
    }
    let name = isRegular || !FileTransportConfiguration.isStandard(path, input: true) ? baseName(path) : "stdin"
    let partition = PartitionID(stream: name, incarnation: incarnation, index: index)
    lastGeneration += 1
    let assignment = Assignment(partition: partition, generation: lastGeneration)
    let configuration = settings.configuration
    let tail = FileTail(
      file: file, isRegular: isRegular, assignment: assignment, identity: identity,
      limit: configuration.maximumLineBytes, blockBytes: configuration.blockBytes, pool: pool)
    var start: UInt64?
    if case .everything(let from) = mode { start = isRegular ? from[partition]?.next ?? 0 : 0 }
    let replaced = isTable ? slots[index].current?.assignment : nil
    let (seek, isSeekable) = (start == 0 ? nil : start, isRegular)
    exchange.tell { [isStarted = start != nil] state in
      if let replaced {
        // Nothing is left to be done for a table that another one replaces: its rules stay until the new one is whole.
        state.forget(replaced)
        state.entries.append(FileExchange.Entry(assignment: replaced, item: .lost))
      }
      state.partitions[assignment.generation] = FileExchange.Partition(
        assignment: assignment, isSeekable: isSeekable, isStarted: isStarted, seek: seek)
      state.entries.append(FileExchange.Entry(assignment: assignment, item: .assigned))
    }
    if let replaced { tails.removeAll { $0.assignment == replaced } }
    slots[index].current = tail
    slots[index].candidate = nil
    slots[index].isRewritten = false
    slots[index].lives += 1
    let place = tails.firstIndex { $0.assignment.partition.index > index } ?? tails.count
    tails.insert(tail, at: place)
  }

  func baseName(_ path: String) -> String {
    path.split(separator: "/").last.map(String.init) ?? path
  }

  /// The incarnation of a file: the one it had when it was seen before, else a new one.
  private func identify(
    _ file: OpenFile, _ facts: FileFacts, _ isRegular: Bool, _ slot: Slot
  ) async throws -> (String, FileIdentity?) {
    if settings.configuration.runID != nil || !isRegular {
      return (slot.lives == 0 ? settings.nonce : "\(settings.nonce)/\(slot.lives)", nil)
    }
    let head = try file.bytes(at: 0, FileIdentity.maximumHeadBytes)
    let saved = try await settings.identities.lookup(device: facts.device, inode: facts.inode)
    if let saved, !slot.isRewritten, head.count >= saved.headCount,
      FileIdentity.hash(head.prefix(saved.headCount)) == saved.headHash
    {
      return (saved.incarnation, saved)
    }
    let identity = FileIdentity(
      incarnation: Incarnation.mint(), device: facts.device, inode: facts.inode, headCount: head.count,
      headHash: FileIdentity.hash(head))
    try await settings.identities.save(identity)
    return (identity.incarnation, identity)
  }

  /// Looks at all files whose end was reached: they may have grown, or others may stand at their paths.
  func lookAround() async throws -> Bool {
    var hasProgressed = false
    for index in slots.indices {
      if try await look(at: index) { hasProgressed = true }
    }
    try await forgetGivenBack()
    for tail in tails where tail.isRetired && tail.isAtEnd && !tail.isFinished {
      if try await lookAtRetired(tail) { hasProgressed = true }
    }
    return hasProgressed
  }

  private func look(at index: Int) async throws -> Bool {
    guard let tail = slots[index].current else { return try await beginIfSteady(index) }
    guard tail.isRegular, tail.isAtEnd else { return false }
    guard tails.contains(where: { $0 === tail }) else { return false }
    switch try tail.change(isTable: isTable) {
    case .growth:
      tail.isAtEnd = false
      return true
    case .rewritten:
      slots[index].isRewritten = true
      if isTable { return try await beginIfSteady(index) }
      let size = tail.factsAtEnd?.size ?? tail.readOffset
      try await startOver(tail, gapFrom: tail.undelivered, to: max(size, tail.undelivered + 1))
      return true
    case .none: break
    }
    if let facts = FileFacts.at(slots[index].path), let old = tail.factsAtEnd, !facts.isSameFile(as: old) {
      if isTable { return try await beginIfSteady(index) }
      tail.retiredSince = clock.now()
      slots[index].current = nil
      return try await beginIfSteady(index)
    }
    // A table's last line counts without its newline, once its writer has been quiet for a while.
    if isTable, tail.isQuiet(for: settings.configuration.pollInterval, at: clock.now()),
      case .block(let block) = tail.finishLine()
    {
      try await publish(block, of: tail)
      try tail.rememberEnd(at: clock.now())
      return true
    }
    return false
  }

  /// Begins the life of what stands at a path now. A table only once its writer has been quiet for a while: half of
  /// a table would take rules out of force.
  private func beginIfSteady(_ index: Int) async throws -> Bool {
    guard let facts = FileFacts.at(slots[index].path) else { return false }
    if isTable, slots[index].candidate != facts {
      slots[index].candidate = facts
      return false
    }
    try await begin(index)
    return true
  }

  /// Ends a file that has left its path once its writer has been quiet for long enough.
  private func lookAtRetired(_ tail: FileTail) async throws -> Bool {
    guard let since = tail.retiredSince else { return false }
    switch try tail.change(isTable: false) {
    case .growth:
      tail.isAtEnd = false
      tail.retiredSince = clock.now()
      return true
    case .none, .rewritten:
      guard clock.now() - since >= settings.configuration.rotationGrace else { return false }
    }
    if case .block(let block) = tail.finishLine() { try await publish(block, of: tail) }
    // What a pause holds back comes before the end.
    let isTaken = exchange.look { ($0.partitions[tail.assignment.generation]?.queued ?? 0) == 0 }
    guard isTaken else { return false }
    leave(tail, gap: nil)
    return true
  }

  /// What was read is not there any more: tells the gap and begins a new life of the same path.
  func startOver(_ tail: FileTail, gapFrom from: UInt64, to: UInt64) async throws {
    leave(tail, gap: (from, to))
    guard let index = slots.firstIndex(where: { $0.current === tail }) else { return }
    slots[index].current = nil
    slots[index].isRewritten = true
    try await begin(index)
  }

  func leave(_ tail: FileTail, gap: (from: UInt64, to: UInt64)?) {
    tail.isFinished = true
    let assignment = tail.assignment
    exchange.tell { state in
      guard state.partitions[assignment.generation] != nil else { return }
      state.partitions[assignment.generation]?.isLeaving = true
      if let gap {
        state.entries.append(FileExchange.Entry(assignment: assignment, item: .gap(from: gap.from, to: gap.to)))
      }
      state.entries.append(FileExchange.Entry(assignment: assignment, item: .revoking))
    }
  }
}
