import DatabusCore

/// How quickly a destination answers while it has something to do.
struct DestinationPace {
  /// When a delivery came in last.
  private(set) var lastArrival = Instant(nanoseconds: 0)
  /// When it began to have something to do after having had nothing.
  private var busySince = Instant(nanoseconds: 0)
  private var lastAnswer = Instant(nanoseconds: 0)
  /// Of the last attempts; 0 before the first.
  private var secondsPerAttempt = 0.0
  /// What its rate has been lately; it halves each second in which it is not reached.
  private var held = 0.0

  /// As long as this nobody knows how fast it is: connections are being made.
  private static let unknown = Duration.seconds(2)
  /// What the last attempt counts among all: the last ten or so decide.
  private static let weight = 0.1

  /// - Parameter isFirst: there was nothing to do before.
  mutating func arrived(at now: Instant, isFirst: Bool) {
    lastArrival = now
    guard isFirst else { return }
    busySince = now
    held = 0
  }

  /// An attempt has ended.
  mutating func answered(after duration: Duration, at now: Instant) {
    lastAnswer = now
    let seconds = duration.fractionalSeconds
    secondsPerAttempt =
      secondsPerAttempt == 0 ? seconds : secondsPerAttempt + (seconds - secondsPerAttempt) * DestinationPace.weight
  }

  /// Something of what waited was over without an attempt.
  mutating func passed(at now: Instant) { lastAnswer = now }

  /// That nothing was heard of it so far was not its fault.
  mutating func restart(at now: Instant) { busySince = now }

  /// How many it takes in a second by so many attempts at a time; nil as long as that is not known.
  func rate(concurrency: Int, at now: Instant) -> Double? {
    if now - busySince < DestinationPace.unknown { return nil }
    return max(current(concurrency, now), held)
  }

  /// To be called about once a second while it has something to do: a moment in which nothing moves, here or there, is not yet
  /// a destination that has become slow.
  mutating func look(concurrency: Int, at now: Instant) { held = max(current(concurrency, now), held / 2) }

  private func current(_ concurrency: Int, _ now: Instant) -> Double {
    // Where nothing has come back for a while, an attempt takes that long at least.
    let silence = max(Duration.zero, now - max(lastAnswer, busySince)).fractionalSeconds
    return Double(concurrency) / max(secondsPerAttempt, silence, 1e-6)
  }
}

extension Int {
  /// The nearest whole number there is.
  init(clamping value: Double) { self = value >= 1e15 ? Int(1e15) : value > 0 ? Int(value) : 0 }
}
