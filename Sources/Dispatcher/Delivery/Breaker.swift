import DatabusCore

/// When a destination that is ill is left alone.
public struct BreakerPolicy: Sendable, Hashable {
  /// Faults in a row that open it.
  public var failures = 10
  /// Or this share of all attempts (percent) within `window`, of `minimum` at least.
  public var share = 50
  public var minimum = 20
  public var window = Duration.seconds(60)
  /// How long it stays open; it doubles each time a probe fails, up to `maximumOpen`.
  public var open = Duration.seconds(30)
  public var maximumOpen = Duration.seconds(600)
  /// Successes in a row, after the first probe, that close it.
  public var successes = 3

  public init() {}
}

/// Opens when a destination is ill: nothing is sent for a while, then one probe decides. Transport errors, timeouts and 5xx are faults.
struct Breaker {
  enum State: Hashable {
    case closed
    case open(until: Instant)
    /// One attempt at a time, until enough have succeeded.
    case probing
  }

  private(set) var state = State.closed
  private var inARow = 0
  private var successes = 0
  private var isProbeUnderWay = false
  private var openFor: Duration = .zero
  /// The current part of the window and the one before it: six parts would be nearer to a sliding window, and two are enough.
  private var current = (faults: 0, all: 0)
  private var previous = (faults: 0, all: 0)
  private var turnsAt = Instant(nanoseconds: 0)

  /// Whether an attempt may begin now.
  mutating func permits(at now: Instant) -> Bool {
    switch state {
    case .closed: return true
    case .open(let until):
      guard until <= now else { return false }
      state = .probing
      successes = 0
      isProbeUnderWay = false
      return true
    case .probing: return !isProbeUnderWay
    }
  }

  /// An attempt begins.
  mutating func begin() {
    if state == .probing { isProbeUnderWay = true }
  }

  /// An attempt that began will not be made after all.
  mutating func cancel() {
    if state == .probing { isProbeUnderWay = false }
  }

  /// An attempt has ended.
  mutating func end(isFault: Bool, at now: Instant, _ policy: BreakerPolicy) {
    turn(at: now, policy)
    current.all += 1
    if isFault { current.faults += 1 }
    switch state {
    case .probing:
      isProbeUnderWay = false
      if isFault {
        open(at: now, for: min(openFor * 2, policy.maximumOpen))
      } else {
        successes += 1
        if successes > policy.successes { close() }
      }
    case .closed:
      inARow = isFault ? inARow + 1 : 0
      let all = current.all + previous.all
      let faults = current.faults + previous.faults
      if inARow >= policy.failures || (all >= policy.minimum && faults * 100 >= all * policy.share && isFault) {
        open(at: now, for: policy.open)
      }
    // One that began before it opened.
    case .open: break
    }
  }

  private mutating func open(at now: Instant, for duration: Duration) {
    openFor = duration
    state = .open(until: now + duration)
    inARow = 0
  }

  private mutating func close() {
    state = .closed
    inARow = 0
    current = (0, 0)
    previous = (0, 0)
  }

  private mutating func turn(at now: Instant, _ policy: BreakerPolicy) {
    guard now >= turnsAt else { return }
    let half = policy.window / 2
    previous = now - turnsAt < half ? current : (0, 0)
    current = (0, 0)
    turnsAt = now + half
  }
}
