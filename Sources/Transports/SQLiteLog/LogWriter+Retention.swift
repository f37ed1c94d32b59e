import DatabusCore
import SQLiteClient

extension LogWriter {
  /// Records removed in one transaction at most: appends do not wait for longer than that takes.
  private static var removedAtOnce: Int64 { 10_000 }

  /// Removes what the topic's retention says, now and then.
  func sweepIfDue(_ topic: String) {
    guard let retention = options.retention(of: topic), !retention.isUnlimited else { return }
    let now = clock.now()
    if let last = lastSweep[topic], now - last < options.retentionInterval { return }
    lastSweep[topic] = now
    // What fails here is tried again at the next turn, and a full disk is told by the appends.
    _ = try? sweep(topic, retention)
  }

  /// Removes what the topic's retention says, all of it.
  ///
  /// - Returns: the number of records removed.
  func sweep(_ topic: String) throws -> Int {
    guard let retention = options.retention(of: topic), !retention.isUnlimited else { return 0 }
    var total = 0
    while true {
      let removed = try translated { try sweep(topic, retention) }
      total += removed
      if removed == 0 { return total }
    }
  }

  private func sweep(_ topic: String, _ retention: LogRetention) throws -> Int {
    guard let row = try topicRow(topic) else { return 0 }
    var removed = 0
    for number in 0..<row.partitions {
      removed += try connection().write { try sweep(row, number, retention) }
    }
    return removed
  }

  private func sweep(_ topic: TopicRow, _ number: Int, _ retention: LogRetention) throws -> Int {
    guard let partition = try PartitionRow.read(statement(PartitionRow.find), topic.id, number) else { return 0 }
    var target = partition.first
    if let records = retention.records { target = max(target, partition.next - Int64(max(records, 0))) }
    if let age = retention.age {
      let oldest = clock.wallMilliseconds() - Int64(age.wholeNanoseconds / 1_000_000)
      target = max(target, try firstPosition(topic, number, partition, notBefore: oldest))
    }
    if let bytes = retention.bytes, partition.bytes > Int64(bytes) {
      target = max(target, try position(topic, number, partition, freeing: partition.bytes - Int64(max(bytes, 0))))
    }
    if !retention.force { target = min(target, try slowestPosition(topic.id, number) ?? target) }
    target = min(target, partition.next, partition.first + Self.removedAtOnce)
    if target <= partition.first { return 0 }

    let table = SQLiteSchema.logTable(topic.id, number)
    let measure = try connection().prepare(
      "SELECT sum(ifnull(length(key), 0) + ifnull(length(value), 0) + ifnull(length(headers), 0)) FROM \(table) WHERE id < ?"
    )
    try measure.bind(1, target)
    let bytes = try measure.first { $0.integer(0) } ?? 0
    let delete = try connection().prepare("DELETE FROM \(table) WHERE id < ?")
    try delete.bind(1, target)
    try delete.run()
    let update = try statement("UPDATE partitions SET first = ?, bytes = bytes - ? WHERE topic = ? AND number = ?")
    try update.bind(1, target)
    try update.bind(2, bytes)
    try update.bind(3, topic.id)
    try update.bind(4, number)
    try update.run()
    return Int(target - partition.first)
  }

  private func firstPosition(
    _ topic: TopicRow, _ number: Int, _ partition: PartitionRow, notBefore timestamp: Int64
  ) throws -> Int64 {
    let select = try connection().prepare(PartitionRow.timestamp(topic.id, number))
    return try partition.firstPosition(notBefore: timestamp, select)
  }

  /// The first position to keep so that at least `bytes` are freed.
  private func position(
    _ topic: TopicRow, _ number: Int, _ partition: PartitionRow, freeing bytes: Int64
  ) throws -> Int64 {
    let select = try connection().prepare(
      """
      SELECT id, ifnull(length(key), 0) + ifnull(length(value), 0) + ifnull(length(headers), 0)
      FROM \(SQLiteSchema.logTable(topic.id, number)) ORDER BY id LIMIT \(Self.removedAtOnce)
      """)
    var freed: Int64 = 0
    var position = partition.first
    while freed < bytes, try select.step() {
      freed += select.integer(1)
      position = select.integer(0) + 1
    }
    return position
  }

  /// What the slowest group reads next; a group that has not committed yet holds everything. nil: no group.
  private func slowestPosition(_ topic: Int64, _ number: Int) throws -> Int64? {
    let select = try statement(
      """
      SELECT min(ifnull((SELECT position FROM positions AS p WHERE p.topic = g.topic AND p.name = g.name AND p.number = ?2), 0))
      FROM groups AS g WHERE g.topic = ?1
      """)
    try select.bind(1, topic)
    try select.bind(2, number)
    return try select.first { $0.isNull(0) ? nil : $0.integer(0) } ?? nil
  }
}

/// A partition's row.
struct PartitionRow: Sendable {
  /// The first position that was not removed.
  var first: Int64
  /// The position of the record to be appended next.
  var next: Int64
  /// Keys, values and headers.
  var bytes: Int64

  static let find = "SELECT first, next, bytes FROM partitions WHERE topic = ? AND number = ?"

  static func timestamp(_ topic: Int64, _ number: Int) -> String {
    "SELECT timestamp FROM \(SQLiteSchema.logTable(topic, number)) WHERE id = ?"
  }

  static func read(_ find: SQLiteStatement, _ topic: Int64, _ number: Int) throws -> PartitionRow? {
    try find.bind(1, topic)
    try find.bind(2, number)
    return try find.first { PartitionRow(first: $0.integer(0), next: $0.integer(1), bytes: $0.integer(2)) }
  }

  var bounds: PartitionBounds {
    PartitionBounds(
      first: Position(next: UInt64(first)), end: Position(next: UInt64(next)), isTruncated: first > 1)
  }

  /// The first position whose record is not older than `timestamp`: positions have no holes and timestamps never go back.
  func firstPosition(notBefore timestamp: Int64, _ select: SQLiteStatement) throws -> Int64 {
    var low = first
    var high = next
    while low < high {
      let middle = low + (high - low) / 2
      try select.bind(1, middle)
      let found = try select.first { $0.integer(0) } ?? .max
      if found < timestamp { low = middle + 1 } else { high = middle }
    }
    return low
  }
}
