import DatabusCore

/// Attempts a second: a bucket that fills at the rate and holds a second's worth, at least one.
struct TokenBucket {
  let rate: Double
  private var level: Double
  private var filledAt: Instant

  init(rate: Double, at now: Instant) {
    self.rate = rate
    level = max(1, rate)
    filledAt = now
  }

  /// Takes one; nil where it did, else how long until there is one.
  mutating func take(at now: Instant) -> Duration? {
    fill(at: now)
    if level >= 1 {
      level -= 1
      return nil
    }
    return .nanoseconds(Int64((1 - level) / rate * 1e9) + 1)
  }

  /// What was taken and not used.
  mutating func giveBack() { level = min(max(1, rate), level + 1) }

  /// The destination asks for less.
  mutating func empty(at now: Instant) {
    fill(at: now)
    level = 0
  }

  private mutating func fill(at now: Instant) {
    level = min(max(1, rate), level + (now - filledAt).fractionalSeconds * rate)
    filledAt = now
  }
}
