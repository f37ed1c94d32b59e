import DatabusCore
import Dispatcher
import SQLiteClient

/// The statements of the writer.
struct AttemptStatements {
  private let insert: SQLiteStatement
  private let ends: SQLiteStatement
  private let oldest: SQLiteStatement
  private let delete: SQLiteStatement

  /// Texts come from outside; a longer one is cut.
  private static let textBytes = 1024

  init(_ connection: SQLiteConnection) throws {
    insert = try connection.prepare(
      """
      INSERT INTO notes (delivery, happening, at, attempts, destination, rule, event, result, status, duration, detail, reason,
        stream, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      """)
    ends = try connection.prepare(
      "SELECT (SELECT number FROM notes ORDER BY number LIMIT 1), (SELECT number FROM notes ORDER BY number DESC LIMIT 1)"
    )
    oldest = try connection.prepare("SELECT number, at FROM notes ORDER BY number LIMIT ?")
    delete = try connection.prepare("DELETE FROM notes WHERE number <= ?")
  }

  func add(_ note: DeliveryNote) throws {
    let result = note.result
    // A result that cannot be read has no id: it goes by its place.
    try insert.bind(1, note.id.isEmpty ? result : note.id)
    try insert.bind(2, note.happening.rawValue)
    try insert.bind(3, note.at)
    try insert.bind(4, note.attempts)
    try insert.bind(5, note.destination)
    try insert.bind(6, note.rule.map(Self.cut))
    try insert.bind(7, note.event.map(Self.cut))
    try insert.bind(8, Self.cut(result))
    if let status = note.status { try insert.bind(9, status) } else { try insert.bindNull(9) }
    if note.happening.isAttempt {
      try insert.bind(10, Int64(clamping: note.duration.wholeNanoseconds / 1000))
    } else {
      try insert.bindNull(10)
    }
    try insert.bind(11, Self.cut(note.detail))
    try insert.bind(12, note.reason?.rawValue)
    try insert.bind(13, note.stream)
    if let due = note.due { try insert.bind(14, due) } else { try insert.bindNull(14) }
    try insert.run()
  }

  /// Removes the oldest notes.
  ///
  /// - Parameters:
  ///   - records: so many are left at most.
  ///   - time: notes of before go; milliseconds since 1970.
  ///   - limit: no more are removed at once.
  /// - Returns: whether there may be more to remove.
  func removeOld(keeping records: Int, since time: Int64, atMost limit: Int) throws -> Bool {
    guard let (first, last) = try ends.first({ $0.isNull(0) ? nil : ($0.integer(0), $0.integer(1)) }) ?? nil else {
      return false
    }
    var end = last - Int64(records)
    try oldest.bind(1, limit)
    try oldest.eachRow { row in
      if row.integer(1) < time { end = max(end, row.integer(0)) }
    }
    guard end >= first else { return false }
    try delete.bind(1, min(end, first + Int64(limit) - 1))
    try delete.run()
    return end - first + 1 >= Int64(limit)
  }

  private static func cut(_ text: String) -> String {
    text.utf8.count <= textBytes ? text : String(decoding: text.utf8.prefix(textBytes), as: UTF8.self)
  }
}
