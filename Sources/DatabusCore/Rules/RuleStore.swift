/// A pipeline's stored rules and the position vector up to which they were read: a cache of the rules stream. One record a rule, written
/// only if the stored vector is the one that the change was based on.
public struct RuleStore: Sendable {
  private let session: any StateSession
  /// The vector as it is stored.
  public private(set) var vector: RulesVector
  /// When the stored rules were known last to be all that the stream held, in milliseconds since 1970; nil where that was never noted.
  public private(set) var confirmedAt: Int64?

  private static let rulePrefix = Array("rule/".utf8)
  private static let vectorKey = Array("rules-vector".utf8)
  private static let confirmationKey = Array("rules-confirmed".utf8)

  private static func key(_ ruleID: String) -> [UInt8] { rulePrefix + Array(ruleID.utf8) }

  /// Reads the vector of a pipeline's rule store.
  ///
  /// - Throws: `StateError`.
  public init(_ session: any StateSession) async throws {
    self.session = session
    (vector, confirmedAt) = try await RuleStore.read(session)
  }

  private static func read(_ session: any StateSession) async throws -> (RulesVector, Int64?) {
    let stored = try await session.multiGet([vectorKey, confirmationKey]).map { bytes in
      bytes.map { String(decoding: $0, as: UTF8.self) }
    }
    guard let vector = RulesVector(stored[0] ?? "") else {
      throw StateError.unusable(
        "the stored rules position cannot be read; remove the state to read the rules stream again")
    }
    return (vector, stored[1].flatMap { Int64($0) })
  }

  /// All rules that are stored, refused ones included, in the order of their ids' bytes.
  public func rules() async throws -> [StoredRule] {
    var all: [StoredRule] = []
    var after: [UInt8]?
    repeat {
      let page = try await session.scan(prefix: RuleStore.rulePrefix, after: after, limit: 1000)
      for (key, value) in page.entries {
        guard let rule = StoredRule(encoded: value) else {
          throw StateError.unusable(
            "the stored rule \"\(String(decoding: key.dropFirst(RuleStore.rulePrefix.count), as: UTF8.self))\" cannot be read"
          )
        }
        all.append(rule)
      }
      after = page.last
    } while after != nil
    return all
  }

  public func rule(_ ruleID: String) async throws -> StoredRule? {
    try await session.multiGet([RuleStore.key(ruleID)])[0].flatMap { StoredRule(encoded: $0) }
  }

  /// Writes changes and the vector that they lead to, together.
  ///
  /// - Parameter changes: by rule id; nil removes the rule.
  /// - Throws: `StateError.diverged` where somebody else has written since the vector was read: see `refresh`.
  public mutating func apply(_ changes: [String: StoredRule?], vector new: RulesVector) async throws {
    var batch = WriteBatch()
    for (ruleID, rule) in changes {
      if let rule { batch.put(RuleStore.key(ruleID), rule.encoded()) } else { batch.delete(RuleStore.key(ruleID)) }
    }
    if new.isEmpty {
      batch.delete(RuleStore.vectorKey)
    } else {
      batch.put(RuleStore.vectorKey, Array(new.description.utf8))
    }
    batch.expect(RuleStore.vectorKey, vector.isEmpty ? nil : Array(vector.description.utf8))
    try await session.apply(batch, checkpoint: nil)
    vector = new
  }

  /// Notes that the stored rules were all that the stream held at a time.
  ///
  /// - Parameter time: milliseconds since 1970.
  /// - Throws: `StateError.diverged` where somebody else has written since the vector was read.
  public mutating func confirm(at time: Int64) async throws {
    var batch = WriteBatch()
    batch.put(RuleStore.confirmationKey, Array(String(time).utf8))
    batch.expect(RuleStore.vectorKey, vector.isEmpty ? nil : Array(vector.description.utf8))
    try await session.apply(batch, checkpoint: nil)
    confirmedAt = time
  }

  /// Reads again what stands beside the rules, after somebody else has written.
  public mutating func refresh() async throws { (vector, confirmedAt) = try await RuleStore.read(session) }
}
