import DatabusCore
import SQLiteClient

struct TopicRow: Hashable, Sendable {
  var id: Int64
  var name: String
  var incarnation: String
  var partitions: Int

  func partition(_ index: Int) -> PartitionID { PartitionID(stream: name, incarnation: incarnation, index: index) }
  var all: [PartitionID] { (0..<partitions).map(partition) }

  static let find = "SELECT id, name, incarnation, partitions FROM topics WHERE name = ?"

  init(_ row: SQLiteStatement) {
    id = row.integer(0)
    name = row.text(1) ?? ""
    incarnation = row.text(2) ?? ""
    partitions = Int(row.integer(3))
  }
}

/// A record to append.
public struct LogRecord: Sendable, Hashable {
  public var key: [UInt8]?
  /// nil: a tombstone.
  public var value: [UInt8]?
  public var headers: [Header]

  public init(key: [UInt8]? = nil, value: [UInt8]?, headers: [Header] = []) {
    self.key = key
    self.value = value
    self.headers = headers
  }
}

extension LogWriter {
  func topicRow(_ name: String) throws -> TopicRow? {
    let select = try statement(TopicRow.find)
    try select.bind(1, name)
    return try select.first { TopicRow($0) }
  }

  /// Inside a transaction.
  func makeTopic(_ name: String, partitions: Int) throws -> TopicRow {
    try Self.check(name, partitions)
    let insert = try statement("INSERT INTO topics (name, incarnation, partitions) VALUES (?, ?, 0)")
    try insert.bind(1, name)
    try insert.bind(2, Incarnation.mint())
    try insert.run()
    guard var row = try topicRow(name) else {
      throw TransportError(.transport, "The topic \(name) of \(path) cannot be made.")
    }
    try addPartitions(&row, to: partitions)
    return row
  }

  private func addPartitions(_ row: inout TopicRow, to count: Int) throws {
    let insert = try statement("INSERT INTO partitions (topic, number) VALUES (?, ?)")
    for number in row.partitions..<count {
      try connection().execute(SQLiteSchema.createLogTable(row.id, number))
      try insert.bind(1, row.id)
      try insert.bind(2, number)
      try insert.run()
    }
    let update = try statement("UPDATE topics SET partitions = ? WHERE id = ?")
    try update.bind(1, count)
    try update.bind(2, row.id)
    try update.run()
    row.partitions = count
  }

  /// - Throws: where no topic can have this name, or so many partitions.
  static func check(_ name: String, _ partitions: Int = 1) throws {
    if name.isEmpty || name.utf8.count > 255
      || name.unicodeScalars.contains(where: { $0.value < 32 || $0.value == 127 })
    {
      throw TransportError(
        .transport, "\(name.debugDescription) cannot be a topic's name: use 1 to 255 bytes without control characters.")
    }
    if !(1...1024).contains(partitions) {
      throw TransportError(.transport, "A topic has 1 to 1024 partitions; \(partitions) were asked for.")
    }
  }

  // MARK: For the transport

  /// The topic, made with one partition where it does not exist.
  func ensureTopic(_ name: String) throws -> TopicRow {
    try translated {
      if let row = try topicRow(name) { return row }
      return try connection().write { try topicRow(name) ?? makeTopic(name, partitions: 1) }
    }
  }

  func createTopic(_ name: String, partitions: Int) throws {
    try translated {
      try connection().write {
        if let row = try topicRow(name) {
          throw TransportError(
            .transport,
            "The topic \(name) exists in \(path) already, with \(row.partitions) partitions: delete it first.")
        }
        _ = try makeTopic(name, partitions: partitions)
      }
    }
  }

  func addPartitions(_ name: String, to count: Int) throws {
    try translated {
      try connection().write {
        guard var row = try topicRow(name) else { throw missing(name) }
        try Self.check(name, count)
        if count < row.partitions {
          throw TransportError(
            .transport, "The topic \(name) has \(row.partitions) partitions; partitions cannot be taken away.")
        }
        try addPartitions(&row, to: count)
      }
    }
  }

  func deleteTopic(_ name: String) throws {
    try translated {
      try connection().write {
        guard let row = try topicRow(name) else { throw missing(name) }
        for number in 0..<row.partitions {
          try connection().execute("DROP TABLE \(SQLiteSchema.logTable(row.id, number))")
        }
        for table in ["partitions", "groups", "positions"] {
          let delete = try statement("DELETE FROM \(table) WHERE topic = ?")
          try delete.bind(1, row.id)
          try delete.run()
        }
        let delete = try statement("DELETE FROM topics WHERE id = ?")
        try delete.bind(1, row.id)
        try delete.run()
      }
      forget(name)
    }
  }

  func missing(_ topic: String) -> TransportError {
    TransportError(.transport, "There is no topic \(topic) in \(path): `databus topics list` shows those there are.")
  }
}
