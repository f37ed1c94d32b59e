import DatabusCore
import Dispatcher
import SQLiteClient

/// The SQL over deliveries, compiled once.
struct DeliveryStatements {
  private let find: SQLiteStatement
  private let put: SQLiteStatement
  private let range: SQLiteStatement
  private let forget: SQLiteStatement

  init(_ connection: SQLiteConnection) throws(SQLiteError) {
    find = try connection.prepare(
      "SELECT state, token, attempts, replays, due, expiry FROM deliveries WHERE id = ?")
    put = try connection.prepare(
      "INSERT OR REPLACE INTO deliveries (id, state, token, attempts, replays, due, expiry) VALUES (?, ?, ?, ?, ?, ?, ?)"
    )
    range = try connection.prepare("SELECT id, expiry FROM deliveries WHERE id > ? ORDER BY id LIMIT ?")
    forget = try connection.prepare("DELETE FROM deliveries WHERE id > ? AND id <= ? AND expiry <= ?")
  }

  /// Answers one request.
  func process(_ request: DeduplicationRequest, at now: Int64) throws -> DeduplicationAnswer {
    let id = request.id.bytes
    let before = try delivery(id)
    var after = before
    let answer = RememberedDelivery.answer(request, &after, at: now)
    if let after, after != before { try put(after, id) }
    return answer
  }

  /// What is remembered of deliveries. Works on a file that is open for reading only, too.
  static func states(
    of ids: [DeliveryID], in connection: SQLiteConnection, at now: Int64
  ) throws -> [DeduplicationState?] {
    let find = try connection.prepare("SELECT state, replays, expiry FROM deliveries WHERE id = ?")
    return try ids.map { id in
      try find.bind(1, id.bytes)
      let known = try find.first { row -> DeduplicationState? in
        guard row.integer(2) > now else { return nil }
        return DeduplicationState(try checkedState(row.integer(0)).state, replays: Int(row.integer(1)))
      }
      return known ?? nil
    }
  }

  private static func checkedState(
    _ number: Int64
  ) throws -> (state: RememberedDelivery.State, isOutcomeUnknown: Bool) {
    if let (state, isOutcomeUnknown) = state(of: number) { return (state, isOutcomeUnknown) }
    throw DeduplicationError.unusable(
      "A delivery in the deduplication file has the unknown state \(number): restore the file from a backup, or move it away."
    )
  }

  private func delivery(_ id: [UInt8]) throws -> RememberedDelivery? {
    try find.bind(1, id)
    return try find.first { row in
      let (state, isOutcomeUnknown) = try DeliveryStatements.checkedState(row.integer(0))
      return RememberedDelivery(
        state: state, token: UInt64(bitPattern: row.integer(1)), isOutcomeUnknown: isOutcomeUnknown,
        attempts: Int(row.integer(2)), replays: Int(row.integer(3)), due: row.integer(4), expiry: row.integer(5))
    }
  }

  private func put(_ delivery: RememberedDelivery, _ id: [UInt8]) throws(SQLiteError) {
    try put.bind(1, id)
    try put.bind(2, DeliveryStatements.number(of: delivery))
    try put.bind(3, Int64(bitPattern: delivery.token))
    try put.bind(4, delivery.attempts)
    try put.bind(5, delivery.replays)
    try put.bind(6, delivery.due)
    try put.bind(7, delivery.expiry)
    try put.run()
  }

  // MARK: Forgetting

  /// A run of rows in the order of their ids.
  struct Stretch {
    /// The last id; nil where the rows end in it.
    var end: [UInt8]?
    var isAnyExpired: Bool
  }

  /// Looks at so many rows behind an id.
  func look(after start: [UInt8], limit: Int, at now: Int64) throws -> Stretch {
    try range.bind(1, start)
    try range.bind(2, limit)
    var stretch = Stretch(end: nil, isAnyExpired: false)
    var count = 0
    try range.eachRow { row in
      count += 1
      if count == limit { stretch.end = row.bytes(0) }
      if row.integer(1) <= now { stretch.isAnyExpired = true }
    }
    return stretch
  }

  /// Removes what has expired of a stretch.
  func forget(_ stretch: Stretch, after start: [UInt8], at now: Int64) throws(SQLiteError) {
    try forget.bind(1, start)
    // Ids have 16 bytes: none is behind 17 of the largest.
    try forget.bind(2, stretch.end ?? [UInt8](repeating: 0xFF, count: 17))
    try forget.bind(3, now)
    try forget.run()
  }

  // MARK: States

  private static func state(of number: Int64) -> (RememberedDelivery.State, isOutcomeUnknown: Bool)? {
    switch number {
    case 0: (.done, false)
    case 1: (.claimed, false)
    case 2: (.claimed, true)
    case 3: (.waiting, false)
    case 4: (.stored, false)
    case 5: (.dead, false)
    default: nil
    }
  }

  private static func number(of delivery: RememberedDelivery) -> Int {
    switch delivery.state {
    case .done: 0
    case .claimed: delivery.isOutcomeUnknown ? 2 : 1
    case .waiting: 3
    case .stored: 4
    case .dead: 5
    }
  }
}

extension DeduplicationRequest {
  fileprivate var id: DeliveryID {
    switch self {
    case .claim(let claim): claim.id
    case .settle(let settlement): settlement.id
    }
  }
}

extension DeliveryID {
  fileprivate var bytes: [UInt8] {
    withUnsafeBytes(of: (high.bigEndian, low.bigEndian)) { Array($0) }
  }
}
