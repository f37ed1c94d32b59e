import Synchronization

/// A number that only grows. Adding is one relaxed atomic operation.
public final class Counter: Sendable {
  /// What the number is multiplied by in the metrics text: counters are whole numbers (nanoseconds), and shown in base units.
  public let scale: Double
  private let number = Atomic<UInt64>(0)

  public init(scale: Double = 1) { self.scale = scale }

  @inline(__always)
  public func add(_ amount: UInt64 = 1) { number.wrappingAdd(amount, ordering: .relaxed) }

  /// Takes over a total that is kept elsewhere. A smaller one than before changes nothing.
  public func raise(to total: UInt64) { number.max(total, ordering: .relaxed) }

  public var value: UInt64 { number.load(ordering: .relaxed) }
}

/// A number that goes up and down.
public final class Gauge: Sendable {
  /// What the number is multiplied by in the metrics text.
  public let scale: Double
  private let number = Atomic<Int64>(0)

  public init(scale: Double = 1) { self.scale = scale }

  @inline(__always)
  public func set(_ value: Int64) { number.store(value, ordering: .relaxed) }

  @inline(__always)
  public func add(_ amount: Int64) { number.wrappingAdd(amount, ordering: .relaxed) }

  public var value: Int64 { number.load(ordering: .relaxed) }
}

/// How a measured quantity is spread: counts in buckets of powers of two. Recording is two relaxed atomic additions.
///
/// Bucket i holds values of at most `unit * 2^i` for i below `bucketCount - 1`, the last one all others. Values are whole
/// numbers (nanoseconds, bytes, records); `scale` makes them what the metrics text shows (seconds).
public final class Histogram: Sendable {
  public static let bucketCount = 28

  /// The first bucket's bound.
  public let unit: UInt64
  /// What a value is multiplied by in the metrics text.
  public let scale: Double
  private let buckets: [Counter]
  private let total = Atomic<UInt64>(0)

  public init(unit: UInt64, scale: Double = 1) {
    precondition(unit > 0)
    self.unit = unit
    self.scale = scale
    buckets = (0..<Histogram.bucketCount).map { _ in Counter() }
  }

  /// Times, in nanoseconds; shown in seconds, from 10 us to 22 minutes.
  public static func seconds() -> Histogram { Histogram(unit: 10_000, scale: 1e-9) }

  /// Times of very many things, in microseconds, so that their sum does not overflow for years; shown in seconds, from 10 us
  /// to 22 minutes.
  public static func secondsOfMany() -> Histogram { Histogram(unit: 10, scale: 1e-6) }

  /// Ages of very many things, in milliseconds; shown in seconds, from 1 ms to 18 hours.
  public static func ages() -> Histogram { Histogram(unit: 1, scale: 1e-3) }

  @inline(__always)
  public func record(_ value: UInt64) {
    buckets[bucket(of: value)].add()
    total.wrappingAdd(value, ordering: .relaxed)
  }

  /// The same value so many times, for the price of one.
  @inline(__always)
  public func record(_ value: UInt64, times: UInt64) {
    buckets[bucket(of: value)].add(times)
    total.wrappingAdd(value &* times, ordering: .relaxed)
  }

  /// For histograms of nanoseconds.
  public func record(_ duration: Duration) { record(duration.wholeNanoseconds) }

  /// The smallest i with `value <= unit * 2^i`.
  @inline(__always)
  private func bucket(of value: UInt64) -> Int {
    if value <= unit { return 0 }
    let quotient = (value &- 1) / unit
    return min(Histogram.bucketCount &- 1, 64 &- quotient.leadingZeroBitCount)
  }

  /// What was recorded until now. Taken while others record, its sum may be a few values ahead of its counts.
  public var snapshot: HistogramSnapshot {
    HistogramSnapshot(
      unit: unit, scale: scale, counts: buckets.map(\.value), sum: total.load(ordering: .relaxed))
  }
}

/// What a histogram held at a moment.
public struct HistogramSnapshot: Sendable, Hashable {
  public var unit: UInt64
  public var scale: Double
  /// Values per bucket, not added up.
  public var counts: [UInt64]
  public var sum: UInt64

  public init(unit: UInt64, scale: Double, counts: [UInt64], sum: UInt64) {
    self.unit = unit
    self.scale = scale
    self.counts = counts
    self.sum = sum
  }

  public var count: UInt64 { counts.reduce(0, &+) }

  /// The upper bound of a bucket; nil for the last one, which has none.
  public func upperBound(_ bucket: Int) -> UInt64? {
    bucket < counts.count - 1 ? unit << UInt64(bucket) : nil
  }

  /// The bound of the bucket that holds this share of the values: an upper estimate; nil where there are none, or where they
  /// are beyond the last bound.
  public func quantile(_ share: Double) -> UInt64? {
    let all = count
    guard all > 0 else { return nil }
    let rank = max(1, UInt64((Double(all) * share).rounded(.up)))
    var seen: UInt64 = 0
    for (index, count) in counts.enumerated() {
      seen += count
      if seen >= rank { return upperBound(index) }
    }
    return nil
  }
}
