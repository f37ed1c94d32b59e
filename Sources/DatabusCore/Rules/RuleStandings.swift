/// What a rules stream says of rules, as it was read last: for whoever does not route but must know which rules still want what they made.
public struct RuleStandings: Sendable {
  public enum Standing: Sendable, Hashable {
    case inForce
    case disabled
    /// Deleted.
    case gone
  }

  private var known: [String: Standing] = [:]
  /// When the stream was found read to its end last, in milliseconds since 1970.
  private var readAt: Int64 = 0

  /// Rules whose end was seen are remembered up to here; the time of what they made tells of older ones.
  private static let mostGone = 100_000
  /// How far the clocks of those who write results and who read rules may differ, in milliseconds.
  private static let skew: Int64 = 60_000

  public init() {}

  /// How a rule stands for something that it made.
  ///
  /// The rule of a result stood in the stream before the result was written. One that the stream does not hold was deleted, then, if the
  /// stream was read to its end after that; otherwise it is one that has not been read yet.
  ///
  /// - Parameter time: when that was, in milliseconds since 1970.
  public func standing(of ruleID: String, at time: Int64) -> Standing {
    if let standing = known[ruleID] { return standing }
    return time < readAt - RuleStandings.skew ? .gone : .inForce
  }

  /// Takes over what is true now; what was known before and is not any more is gone.
  mutating func replace(_ standings: [String: Standing]) {
    var all = standings
    var most = RuleStandings.mostGone
    for ruleID in known.keys where all[ruleID] == nil && most > 0 {
      all[ruleID] = .gone
      most -= 1
    }
    known = all
  }

  mutating func readToEnd(at time: Int64) { readAt = max(readAt, time) }
}
