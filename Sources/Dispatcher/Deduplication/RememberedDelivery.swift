import DatabusCore

/// What a deduplication store remembers of one delivery, and what it answers: the rules of every store, apart from where it keeps them.
///
/// Times are milliseconds since 1970. Redis runs the same rules as a script.
public struct RememberedDelivery: Sendable, Hashable {
  public enum State: Sendable, Hashable, CaseIterable {
    case claimed
    case waiting
    case stored
    case done
    case dead
  }

  public var state: State
  /// Of the last claim or settlement that took effect; 0 for what is done: its owner does not matter any more.
  public var token: UInt64
  /// Of a claim: an earlier attempt was claimed and never settled.
  public var isOutcomeUnknown: Bool
  /// Attempts made, one that is claimed included; 0 for what is done.
  public var attempts: Int
  public var replays: Int
  /// When a claim's lease ends, or the next attempt is due; 0 in other states.
  public var due: Int64
  /// When it is forgotten.
  public var expiry: Int64

  public init(
    state: State, token: UInt64 = 0, isOutcomeUnknown: Bool = false, attempts: Int = 0, replays: Int = 0,
    due: Int64 = 0, expiry: Int64
  ) {
    self.state = state
    self.token = token
    self.isOutcomeUnknown = isOutcomeUnknown
    self.attempts = attempts
    self.replays = replays
    self.due = due
    self.expiry = expiry
  }

  /// The most attempts and replays that are told apart: more count as so many.
  public static let largestCount = 1 << 30

  /// Answers a request.
  ///
  /// - Parameter known: what is remembered under the request's id, and then what is to be remembered.
  public static func answer(
    _ request: DeduplicationRequest, _ known: inout RememberedDelivery?, at now: Int64
  ) -> DeduplicationAnswer {
    // What is forgotten was never there.
    if let entry = known, entry.expiry <= now { known = nil }
    switch request {
    case .claim(let claim): return answer(claim, &known, at: now)
    case .settle(let settlement): return answer(settlement, &known, at: now)
    }
  }

  // MARK: Claims

  private static func answer(
    _ claim: DeduplicationRequest.Claim, _ known: inout RememberedDelivery?, at now: Int64
  ) -> DeduplicationAnswer {
    let attempts = claim.attempts.clampedCount
    let replays = claim.replays.clampedCount
    guard let entry = known else { return grant(claim, &known, attempts, replays, at: now) }
    let rest = max(entry.due - now, 0)
    if entry.state == .claimed, entry.token != claim.token, rest > 0 { return .busy(.milliseconds(rest)) }
    if replays > entry.replays { return grant(claim, &known, attempts, replays, at: now) }
    let most = max(entry.attempts, attempts)
    switch entry.state {
    case .claimed where entry.token == claim.token:
      // The same attempt again: its answer was lost. It is counted already.
      return grant(
        claim, &known, entry.attempts - 1, entry.replays, isOutcomeUnknown: entry.isOutcomeUnknown, at: now)
    case .claimed: return grant(claim, &known, most, entry.replays, isOutcomeUnknown: true, at: now)
    case .waiting where rest > 0: return .wait(.milliseconds(rest))
    case .waiting: return grant(claim, &known, most, entry.replays, at: now)
    case .stored where attempts < entry.attempts: return .stale
    case .stored: return grant(claim, &known, attempts, entry.replays, at: now)
    case .done: return .done
    case .dead: return .dead
    }
  }

  private static func grant(
    _ claim: DeduplicationRequest.Claim, _ known: inout RememberedDelivery?, _ attempts: Int, _ replays: Int,
    isOutcomeUnknown: Bool = false, at now: Int64
  ) -> DeduplicationAnswer {
    let end = now + claim.lease.storedMilliseconds
    known = RememberedDelivery(
      state: .claimed, token: claim.token, isOutcomeUnknown: isOutcomeUnknown, attempts: attempts + 1, replays: replays,
      due: end, expiry: end + claim.retention.storedMilliseconds)
    return .granted(attempts: attempts, isOutcomeUnknown: isOutcomeUnknown)
  }

  // MARK: Settlements

  private static func answer(
    _ settlement: DeduplicationRequest.Settlement, _ known: inout RememberedDelivery?, at now: Int64
  ) -> DeduplicationAnswer {
    let expiry = now + settlement.retention.storedMilliseconds
    if settlement.state == .done {
      known = RememberedDelivery(state: .done, replays: known?.replays ?? 0, expiry: expiry)
      return .settled
    }
    guard var entry = known, entry.state != .done, entry.token == settlement.token else { return .refused }
    entry.isOutcomeUnknown = false
    entry.attempts = settlement.attempts.clampedCount
    entry.due = 0
    entry.expiry = expiry
    switch settlement.state {
    case .waiting(let delay):
      entry.state = .waiting
      entry.due = now + delay.storedMilliseconds
      entry.expiry = entry.due + settlement.retention.storedMilliseconds
    case .stored: entry.state = .stored
    case .dead: entry.state = .dead
    case .done: break
    }
    known = entry
    return .settled
  }
}

extension Int {
  /// A number of attempts or replays as it is remembered: see `RememberedDelivery.largestCount`.
  public var clampedCount: Int { Swift.min(Swift.max(self, 0), RememberedDelivery.largestCount) }
}

extension Duration {
  /// Whole milliseconds, rounded up: 0 for a negative duration, and about 100 years for longer ones.
  public var storedMilliseconds: Int64 {
    let (seconds, attoseconds) = components
    if seconds >= 3_200_000_000 { return 3_200_000_000_000 }
    if seconds < 0 || attoseconds < 0 { return 0 }
    return seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
  }
}
