import DatabusCore

/// When a delivery is tried again, and when it is given up.
public struct RetryPolicy: Sendable, Hashable {
  /// Attempts in all.
  public var attempts = 12
  /// From its first sight: an older one is given up.
  public var age = Duration.seconds(72 * 3600)
  /// The upper bound of the first pause; it doubles with every attempt.
  public var base = Duration.seconds(1)
  /// The longest pause.
  public var cap = Duration.seconds(6 * 3600)
  /// Pauses up to this wait in memory; longer ones in the retry streams.
  public var inMemory = Duration.seconds(30)
  /// What a receiver asks for counts up to this.
  public var retryAfterCap = Duration.seconds(24 * 3600)
  /// The delays of the retry streams, ascending.
  public var tiers: [Duration] = [.seconds(60), .seconds(600), .seconds(3600), .seconds(6 * 3600)]

  public init() {}

  /// The pause before the next attempt: exponential with full jitter, and never shorter than what the receiver asks for.
  ///
  /// - Parameters:
  ///   - attempts: those made, at least 1.
  ///   - random: from 0 up to, and not, 1.
  func pause(after attempts: Int, asked: Duration?, random: Double) -> Duration {
    let ceiling = min(cap.fractionalSeconds, base.fractionalSeconds * exp2(min(attempts - 1, 40)))
    let jittered = Duration.milliseconds(Int64(ceiling * 1000 * min(max(0, random), 1)))
    guard let asked else { return jittered }
    return max(jittered, min(asked, retryAfterCap))
  }

  private func exp2(_ exponent: Int) -> Double { Double(UInt64(1) << UInt64(max(0, exponent))) }

  /// The retry stream for a pause: the longest delay that is not longer, so that it is due when it comes out; the first one where all are.
  func tier(for pause: Duration) -> Int { tiers.lastIndex { $0 <= pause } ?? 0 }

  /// The retry stream for what was set aside without an attempt: the first one, then the second: what is paused, or waits for room, is to
  /// come soon once there is room, and not to go round every minute until then.
  func tier(forSpill spills: Int) -> Int { min(max(0, spills), 1, tiers.count - 1) }

  /// The name of a retry stream: `results-http-retry-10m`.
  public func stream(of results: String, tier: Int) -> String { "\(results)-retry-\(Quantity.text(tiers[tier]))" }
}
