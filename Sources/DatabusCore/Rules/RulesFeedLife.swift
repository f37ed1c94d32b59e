/// Whether what is stored can still be believed: streams are compacted, and made anew.
extension RulesFeed {
  func compactionOfStream() async throws -> StreamCompaction? {
    if let compaction { return compaction }
    let asked = try await source.compaction()
    compaction = .some(asked)
    return asked
  }

  /// Whether a tombstone can have gone since the store was known last to be complete: then only the whole stream tells what was deleted.
  func mayHaveMissedTombstones(_ position: UInt64, _ bounds: PartitionBounds) async throws -> Bool {
    guard let compaction = try await compactionOfStream() else { return false }
    if position < bounds.first.next { return true }
    guard let confirmed = store.confirmedAt else { return true }
    let age = Duration.milliseconds(max(0, settings.clock.wallMilliseconds() - confirmed))
    return age > compaction.tombstoneRetention / 2
  }

  func warnOfAnotherLife(_ partition: PartitionID, _ position: UInt64, _ bounds: PartitionBounds) {
    log.warning(
      "the rules stream is shorter than it was: it was made anew, and is read from its beginning; rules that are not in it stay",
      at: "\(partition)/\(position)",
      remedy: "delete rules that are not wanted any more", [LogField("end", bounds.end.next)])
  }

  /// Whether the table has come as far as a partition of the events was routed with before.
  ///
  /// A position behind the stream's own end is one of another life: what can be read has been read then.
  ///
  /// - Throws: `TransportError` where the stream cannot be asked.
  func hasReached(_ required: RulesVector, asksStream: Bool) async throws -> Bool {
    if table.vector.includes(required) { return true }
    guard asksStream else { return false }
    let open = required.positions.filter { (table.vector.positions[$0.key] ?? 0) < $0.value }
      .filter { partitions[$0.key] != nil }.keys.sorted()
    let bounds = try await source.bounds(of: open)
    var reached = table.vector
    for (partition, bounds) in zip(open, bounds) {
      guard let wanted = required.positions[partition], wanted > bounds.end.next,
        reached.positions[partition] == bounds.end.next
      else { return false }
      reached.positions[partition] = wanted
    }
    return reached.includes(required)
  }
}
