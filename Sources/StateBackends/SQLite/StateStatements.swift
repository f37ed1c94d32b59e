import DatabusCore
import SQLiteClient

struct ScopeRow {
  var id: Int64
  var epoch: UInt64
  var checkpoint: UInt64
  var checkpointWriter: String
}

/// The SQL of the state, compiled once.
struct StateStatements {
  private let findScope: SQLiteStatement
  private let readScope: SQLiteStatement
  private let addScope: SQLiteStatement
  private let nextEpoch: SQLiteStatement
  private let checkpoint: SQLiteStatement
  private let listPartitions: SQLiteStatement
  private let clearEntries: SQLiteStatement
  private let clearScope: SQLiteStatement
  private let get: SQLiteStatement
  private let put: SQLiteStatement
  private let remove: SQLiteStatement
  private let range: SQLiteStatement

  init(_ connection: SQLiteConnection) throws(SQLiteError) {
    let columns = "id, epoch, checkpoint, checkpoint_writer"
    findScope = try connection.prepare(
      "SELECT \(columns) FROM scopes WHERE pipeline = ? AND is_partition = ? AND stream = ? AND incarnation = ? AND partition = ?"
    )
    readScope = try connection.prepare("SELECT \(columns) FROM scopes WHERE id = ?")
    addScope = try connection.prepare(
      """
      INSERT INTO scopes (pipeline, is_partition, stream, incarnation, partition) VALUES (?, ?, ?, ?, ?)
      ON CONFLICT DO NOTHING
      """)
    nextEpoch = try connection.prepare("UPDATE scopes SET epoch = epoch + 1 WHERE id = ?")
    checkpoint = try connection.prepare("UPDATE scopes SET checkpoint = ?, checkpoint_writer = ? WHERE id = ?")
    listPartitions = try connection.prepare(
      """
      SELECT stream, incarnation, partition FROM scopes WHERE pipeline = ? AND is_partition = 1
        AND (checkpoint > 0 OR EXISTS (SELECT 1 FROM entries WHERE scope = scopes.id))
      ORDER BY stream, partition, incarnation
      """)
    clearEntries = try connection.prepare("DELETE FROM entries WHERE scope = ?")
    // The epoch goes on: a session that is still open is fenced.
    clearScope = try connection.prepare(
      "UPDATE scopes SET epoch = epoch + 1, checkpoint = 0, checkpoint_writer = '' WHERE id = ?")
    get = try connection.prepare("SELECT value FROM entries WHERE scope = ? AND key = ?")
    put = try connection.prepare(
      "INSERT INTO entries (scope, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value")
    remove = try connection.prepare("DELETE FROM entries WHERE scope = ? AND key = ?")
    range = try connection.prepare("SELECT key, value FROM entries WHERE scope = ? AND key >= ? ORDER BY key")
  }

  // MARK: Scopes

  private func bind(_ statement: SQLiteStatement, _ pipeline: String, _ scope: StateScope) throws(SQLiteError) {
    try statement.bind(1, pipeline)
    switch scope {
    case .pipeline:
      try statement.bind(2, 0)
      try statement.bind(3, "")
      try statement.bind(4, "")
      try statement.bind(5, 0)
    case .partition(let partition):
      try statement.bind(2, 1)
      try statement.bind(3, partition.stream)
      try statement.bind(4, partition.incarnation)
      try statement.bind(5, partition.index)
    }
  }

  private func row(_ statement: SQLiteStatement) throws -> ScopeRow? {
    try statement.first {
      ScopeRow(
        id: $0.integer(0), epoch: UInt64(bitPattern: $0.integer(1)), checkpoint: UInt64(bitPattern: $0.integer(2)),
        checkpointWriter: $0.text(3) ?? "")
    }
  }

  func scope(_ pipeline: String, _ scope: StateScope) throws -> ScopeRow? {
    try bind(findScope, pipeline, scope)
    return try row(findScope)
  }

  func scope(id: Int64) throws -> ScopeRow? {
    try readScope.bind(1, id)
    return try row(readScope)
  }

  /// Makes the scope where it is new, and mints an epoch for a partition's.
  func openScope(_ pipeline: String, _ scope: StateScope) throws -> ScopeRow {
    try bind(addScope, pipeline, scope)
    try addScope.run()
    guard var row = try self.scope(pipeline, scope) else {
      throw StateError.unavailable("a scope that was just written cannot be read; try again.")
    }
    if case .partition = scope {
      try nextEpoch.bind(1, row.id)
      try nextEpoch.run()
      row.epoch += 1
    }
    return row
  }

  func setCheckpoint(_ scope: Int64, _ number: UInt64, _ writer: String) throws(SQLiteError) {
    try checkpoint.bind(1, Int64(bitPattern: number))
    try checkpoint.bind(2, writer)
    try checkpoint.bind(3, scope)
    try checkpoint.run()
  }

  func partitions(_ pipeline: String) throws -> [PartitionID] {
    try listPartitions.bind(1, pipeline)
    var found: [PartitionID] = []
    try listPartitions.eachRow {
      found.append(
        PartitionID(stream: $0.text(0) ?? "", incarnation: $0.text(1) ?? "", index: Int($0.integer(2))))
    }
    return found
  }

  func clear(_ scope: Int64) throws(SQLiteError) {
    try clearEntries.bind(1, scope)
    try clearEntries.run()
    try clearScope.bind(1, scope)
    try clearScope.run()
  }

  // MARK: Entries

  func value(_ key: [UInt8], in scope: Int64) throws -> [UInt8]? {
    try get.bind(1, scope)
    try get.bind(2, key)
    return try get.first { $0.bytes(0) ?? [] }
  }

  func put(_ key: [UInt8], _ value: [UInt8], in scope: Int64) throws(SQLiteError) {
    try put.bind(1, scope)
    try put.bind(2, key)
    try put.bind(3, value)
    try put.run()
  }

  func delete(_ key: [UInt8], in scope: Int64) throws(SQLiteError) {
    try remove.bind(1, scope)
    try remove.bind(2, key)
    try remove.run()
  }

  /// At most `limit` entries whose key starts with `prefix`, behind `after`.
  func entries(_ scope: Int64, prefix: [UInt8], after: [UInt8]?, limit: Int) throws -> [(key: [UInt8], value: [UInt8])]
  {
    // The smallest key behind `after` is `after` and a zero byte.
    var start = prefix
    if let after, !after.lexicographicallyPrecedes(prefix) { start = after + [0] }
    try range.bind(1, scope)
    try range.bind(2, start)
    defer { range.reset() }
    var found: [(key: [UInt8], value: [UInt8])] = []
    while found.count < limit, try range.step() {
      let key = range.bytes(0) ?? []
      if !key.starts(with: prefix) { break }
      found.append((key, range.bytes(1) ?? []))
    }
    return found
  }
}
