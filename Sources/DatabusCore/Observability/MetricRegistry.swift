import Synchronization

/// A name and a value that tell series of one metric apart.
public struct MetricLabel: Sendable, Hashable {
  public var name: String
  public var value: String

  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// What one series held at a moment.
public struct MetricSample: Sendable, Hashable {
  public enum Value: Sendable, Hashable {
    case counter(UInt64)
    case gauge(Int64)
    case histogram(HistogramSnapshot)
  }

  /// `databus_events_read_total`.
  public var name: String
  /// One sentence.
  public var summary: String
  public var labels: [MetricLabel]
  public var value: Value
  /// What a counter's or gauge's number is multiplied by in the metrics text.
  public var scale = 1.0
}

/// All metrics of a process. Its lock is taken to make a series and to take a snapshot, never to count.
public final class MetricRegistry: Sendable {
  private enum Instrument {
    case counter(Counter)
    case gauge(Gauge)
    case histogram(Histogram)
  }

  private struct Key: Hashable {
    var name: String
    var labels: [MetricLabel]
  }

  private struct Series {
    var summary: String
    var instrument: Instrument
  }

  private let series = Mutex<[Key: Series]>([:])

  public init() {}

  /// The counter of this name with these labels; made at the first call. A name belongs to one kind of metric: asked for as
  /// another kind, it gives one that nobody sees, rather than ending the process.
  ///
  /// - Parameter scale: what its number is multiplied by in the metrics text, where it is made now.
  public func counter(
    _ name: String, _ summary: String, _ labels: [MetricLabel] = [], scale: Double = 1
  ) -> Counter {
    series.withLock { series in
      let key = Key(name: name, labels: labels)
      if case .counter(let counter)? = series[key]?.instrument { return counter }
      let counter = Counter(scale: scale)
      if series[key] == nil { series[key] = Series(summary: summary, instrument: .counter(counter)) }
      return counter
    }
  }

  /// - Parameter scale: what its number is multiplied by in the metrics text, where it is made now.
  public func gauge(_ name: String, _ summary: String, _ labels: [MetricLabel] = [], scale: Double = 1) -> Gauge {
    series.withLock { series in
      let key = Key(name: name, labels: labels)
      if case .gauge(let gauge)? = series[key]?.instrument { return gauge }
      let gauge = Gauge(scale: scale)
      if series[key] == nil { series[key] = Series(summary: summary, instrument: .gauge(gauge)) }
      return gauge
    }
  }

  /// - Parameter make: makes the histogram where there is none yet.
  public func histogram(
    _ name: String, _ summary: String, _ labels: [MetricLabel] = [], make: () -> Histogram = Histogram.seconds
  ) -> Histogram {
    series.withLock { series in
      let key = Key(name: name, labels: labels)
      if case .histogram(let histogram)? = series[key]?.instrument { return histogram }
      let histogram = make()
      if series[key] == nil { series[key] = Series(summary: summary, instrument: .histogram(histogram)) }
      return histogram
    }
  }

  /// Removes a series, for partitions that are gone.
  public func remove(_ name: String, _ labels: [MetricLabel]) {
    series.withLock { series in
      _ = series.removeValue(forKey: Key(name: name, labels: labels))
    }
  }

  /// All series, sorted by name and labels.
  public func snapshot() -> [MetricSample] {
    let samples = series.withLock { series in
      series.map { key, series in
        let (value, scale): (MetricSample.Value, Double) =
          switch series.instrument {
          case .counter(let counter): (.counter(counter.value), counter.scale)
          case .gauge(let gauge): (.gauge(gauge.value), gauge.scale)
          case .histogram(let histogram): (.histogram(histogram.snapshot), 1)
          }
        return MetricSample(name: key.name, summary: series.summary, labels: key.labels, value: value, scale: scale)
      }
    }
    return samples.sorted { a, b in
      if a.name != b.name { return a.name < b.name }
      let left = a.labels.map { "\($0.name)\u{0}\($0.value)" }
      return left.lexicographicallyPrecedes(b.labels.map { "\($0.name)\u{0}\($0.value)" })
    }
  }
}
