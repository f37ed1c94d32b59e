/// How soon a server that cannot be reached is tried again: after 50 ms, then after twice as long each time, at most 2 s.
struct ReconnectPace: Sendable {
  static let first = Duration.milliseconds(50)
  static let longest = Duration.seconds(2)

  /// Why the last try failed; nil after one that did not.
  private(set) var failure: RedisError?
  private var pause = Duration.zero
  private var next: ContinuousClock.Instant?

  /// The last failure, while it is too early to try again.
  func refusal(at now: ContinuousClock.Instant) -> RedisError? {
    guard let next, now < next else { return nil }
    return failure
  }

  mutating func failed(_ error: RedisError, at now: ContinuousClock.Instant) {
    pause = pause == .zero ? ReconnectPace.first : min(pause * 2, ReconnectPace.longest)
    failure = error
    next = now + pause
  }

  mutating func succeeded() { self = ReconnectPace() }
}
