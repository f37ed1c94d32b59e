import DatabusCore
import SQLiteClient

/// Answers questions about a log file, on a connection and a thread of its own: nobody waits for a writer's disk.
actor LogQueries {
  private let path: String
  private let options: SQLiteLogOptions
  private let worker = WorkerThread(name: "sqlite-query")
  private var openConnection: SQLiteConnection?
  private var statements: [String: SQLiteStatement] = [:]

  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  init(path: String, options: SQLiteLogOptions) {
    self.path = path
    self.options = options
  }

  deinit { worker.stop() }

  func open() throws {
    if openConnection != nil { return }
    openConnection = try translated {
      try SQLiteConnection(path: path, access: .readWrite, busyTimeout: options.busyTimeout)
    }
  }

  func close() {
    statements = [:]
    openConnection = nil
    worker.stop()
  }

  private func statement(_ sql: String) throws -> SQLiteStatement {
    if let statement = statements[sql] { return statement }
    guard let openConnection else { throw TransportError(.closed, "The log \(path) was closed.") }
    let statement = try openConnection.prepare(sql)
    statements[sql] = statement
    return statement
  }

  /// Runs `body` over one state of the file.
  private func read<R>(_ body: () throws -> R) throws -> R {
    try translated {
      guard let openConnection else { throw TransportError(.closed, "The log \(path) was closed.") }
      return try openConnection.read(body)
    }
  }

  private func row(_ topic: String) throws -> TopicRow? {
    let select = try statement(TopicRow.find)
    try select.bind(1, topic)
    return try select.first { TopicRow($0) }
  }

  private func existing(_ partition: PartitionID) throws -> (TopicRow, PartitionRow) {
    guard let topic = try row(partition.stream), topic.incarnation == partition.incarnation,
      let found = try PartitionRow.read(statement(PartitionRow.find), topic.id, partition.index)
    else {
      throw TransportError(
        .transport, "There is no partition \(partition) in \(path), or its topic was made anew since.")
    }
    return (topic, found)
  }

  func topics() throws -> [TopicDescription] {
    try read {
      var rows: [TopicRow] = []
      try statement("SELECT id, name, incarnation, partitions FROM topics ORDER BY name").eachRow {
        rows.append(TopicRow($0))
      }
      return try rows.map { row in
        TopicDescription(name: row.name, partitions: row.all, bounds: try row.all.map { try existing($0).1.bounds })
      }
    }
  }

  func partitions(_ topic: String) throws -> [PartitionID] { try read { try row(topic)?.all ?? [] } }

  func bounds(_ partitions: [PartitionID]) throws -> [PartitionBounds] {
    try read { try partitions.map { try existing($0).1.bounds } }
  }

  func positions(_ partitions: [PartitionID], at timestamp: Int64) throws -> [Position] {
    try read {
      try partitions.map { id in
        let (topic, partition) = try existing(id)
        // Not kept: the table goes with its topic.
        guard let select = try openConnection?.prepare(PartitionRow.timestamp(topic.id, id.index)) else {
          return Position(next: 1)
        }
        return Position(next: UInt64(try partition.firstPosition(notBefore: timestamp, select)))
      }
    }
  }

  /// What the group has committed; nil where nothing is, or where the partition is of another life of the topic.
  func committed(_ group: String, _ partitions: [PartitionID]) throws -> [CommittedPosition?] {
    try read {
      let select = try statement("SELECT position, metadata FROM positions WHERE topic = ? AND name = ? AND number = ?")
      return try partitions.map { partition in
        guard let topic = try row(partition.stream), topic.incarnation == partition.incarnation else { return nil }
        try select.bind(1, topic.id)
        try select.bind(2, group)
        try select.bind(3, partition.index)
        return try select.first {
          CommittedPosition(position: Position(next: UInt64(bitPattern: $0.integer(0))), metadata: $0.text(1) ?? "")
        }
      }
    }
  }

  /// Whether a standby may try to take the group's lease.
  func isLeaseFree(_ topic: String, _ group: String, for process: ProcessIdentity, at now: Int64) throws -> Bool {
    try read {
      guard let topic = try row(topic) else { return true }
      let select = try statement(LeaseRow.find)
      try select.bind(1, topic.id)
      try select.bind(2, group)
      return try select.first { LeaseRow($0).isFree(at: now, for: process) } ?? true
    }
  }
}
