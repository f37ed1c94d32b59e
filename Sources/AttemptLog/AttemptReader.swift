import DatabusCore
import Dispatcher
import SQLiteClient

/// Reads a log of attempts, beside the dispatcher that writes it or without one.
public actor AttemptReader {
  private let worker = WorkerThread(name: "attempt-reader")
  nonisolated public var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }
  private var connection: SQLiteConnection?
  private var story: SQLiteStatement?

  /// Of one delivery no more entries are told.
  static let entryLimit = 10_000

  /// - Throws: `SQLiteError` where the file cannot be read or is another kind of file; of the kind `cannotOpen` also where it holds nothing yet.
  public init(path: String) async throws {
    do {
      let connection = try SQLiteConnection(path: path, access: .readOnly)
      switch try SQLiteSchema.attempts.check(connection) {
      case 0:
        throw SQLiteError(
          .cannotOpen, path: path,
          "\(path) holds no attempts yet: its dispatcher is starting, or was ended before it had any.")
      case SQLiteSchema.attempts.version: break
      case let version:
        throw SQLiteError(
          .other, path: path,
          "\(path) is of schema version \(version), and this needs \(SQLiteSchema.attempts.version): start the dispatcher once, "
            + "which brings it up to date.")
      }
      story = try connection.prepare(
        """
        SELECT happening, at, attempts, status, duration, detail, reason, stream, due, event, rule, destination, result
        FROM notes WHERE delivery = ? ORDER BY number DESC LIMIT \(Self.entryLimit)
        """)
      self.connection = connection
    } catch {
      worker.stop()
      throw error
    }
  }

  deinit { worker.stop() }

  public func close() {
    story = nil
    connection = nil
    worker.stop()
  }

  /// - Parameter id: as it is sent, the result's locator for a result that could not be read.
  /// - Returns: nil where the log has nothing of it.
  public func story(of id: String) throws -> DeliveryStory? {
    guard let story else { return nil }
    return try Self.read(id, story)
  }

  /// The deliveries that are wanted, the one that something happened to last before the others.
  public func stories(_ query: StoryQuery) throws -> [DeliveryStory] {
    guard let connection, let story, query.limit > 0 else { return [] }
    var texts: [String] = []
    var conditions: [String] = []
    func add(_ condition: String, _ values: String...) {
      conditions.append(condition)
      texts += values
    }
    // Texts are compared as bytes: what begins so is below this bound.
    if let prefix = query.destination { add("destination >= ? AND destination < ?", prefix, prefix + "\u{10FFFF}") }
    if let rule = query.rule { add("rule = ?", rule) }
    if let event = query.event { add("event = ?", event) }
    if let since = query.since { conditions.append("at >= \(since)") }
    if query.onlyFailed {
      let arrived: Set<DeliveryNote.Happening> = [.delivered, .duplicate]
      let failed = DeliveryNote.Happening.allCases.filter { !arrived.contains($0) }.map { "'\($0.rawValue)'" }
      conditions.append("happening IN (\(failed.joined(separator: ", ")))")
    }
    let filter = conditions.isEmpty ? "" : " WHERE " + conditions.joined(separator: " AND ")
    return try connection.read {
      let candidates = try connection.prepare("SELECT delivery FROM notes\(filter) ORDER BY number DESC")
      for (index, text) in texts.enumerated() { try candidates.bind(index + 1, text) }
      var seen: Set<String> = []
      var found: [DeliveryStory] = []
      while found.count < query.limit, try candidates.step() {
        guard let id = candidates.text(0), seen.insert(id).inserted, let one = try Self.read(id, story) else {
          continue
        }
        if query.onlyFailed, one.hasArrived { continue }
        found.append(one)
      }
      return found
    }
  }

  private static func read(_ id: String, _ statement: SQLiteStatement) throws -> DeliveryStory? {
    var story: DeliveryStory?
    try statement.bind(1, id)
    try statement.eachRow { row in
      let entry = DeliveryStory.Entry(
        happening: row.text(0).flatMap(DeliveryNote.Happening.init) ?? .failed, at: row.integer(1),
        attempts: Int(row.integer(2)), status: row.isNull(3) ? nil : Int(row.integer(3)),
        duration: row.isNull(4) ? nil : .microseconds(row.integer(4)), detail: row.text(5) ?? "", reason: row.text(6),
        stream: row.text(7), due: row.isNull(8) ? nil : row.integer(8))
      if story == nil {
        story = DeliveryStory(
          id: id, event: row.text(9), rule: row.text(10), destination: row.text(11) ?? "", result: row.text(12) ?? "",
          entries: [])
      }
      story?.entries.append(entry)
    }
    story?.entries.reverse()
    return story
  }
}
