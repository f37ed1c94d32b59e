import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A moment on a clock that never goes back, in nanoseconds since some start.
public struct Instant: Hashable, Comparable, Sendable {
  public var nanoseconds: UInt64

  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  public static func < (a: Instant, b: Instant) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Never overflows: a duration too large ends at the last moment there is.
  public static func + (a: Instant, b: Duration) -> Instant {
    let (sum, overflow) = a.nanoseconds.addingReportingOverflow(b.wholeNanoseconds)
    return Instant(nanoseconds: overflow ? .max : sum)
  }

  /// The time from `b` to `a`; zero where `a` is earlier.
  public static func - (a: Instant, b: Instant) -> Duration {
    a > b ? .nanoseconds(Int64(clamping: a.nanoseconds - b.nanoseconds)) : .zero
  }
}

extension Duration {
  /// Nanoseconds; 0 for a negative duration, the largest number for one that does not fit.
  public var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    if seconds < 0 || attoseconds < 0 { return 0 }
    let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return overflow ? .max : product &+ UInt64(attoseconds / 1_000_000_000)
  }

  /// Seconds, for people and metrics.
  public var fractionalSeconds: Double {
    let (seconds, attoseconds) = components
    return Double(seconds) + Double(attoseconds) / 1e18
  }
}

/// Time as the engine sees it. Tests own one that stands still until they move it.
public protocol EngineClock: Sendable {
  /// Now, on a clock that never goes back.
  func now() -> Instant
  /// Now, in milliseconds since 1970.
  func wallMilliseconds() -> Int64
  /// Returns at the moment or later, or throws `CancellationError`.
  func sleep(until moment: Instant) async throws
}

extension EngineClock {
  public func sleep(for duration: Duration) async throws {
    try await sleep(until: now() + duration)
  }
}

/// The machine's clock.
public struct SystemClock: EngineClock {
  public init() {}

  public func now() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }

  public func wallMilliseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
  }

  public func sleep(until moment: Instant) async throws {
    let rest = moment - now()
    if rest > .zero { try await Task.sleep(for: rest) }
  }
}
