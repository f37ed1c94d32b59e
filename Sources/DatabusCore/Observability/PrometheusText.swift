/// Prometheus' text format, version 0.0.4.
public enum PrometheusText {
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// - Parameter samples: sorted by name, as `MetricRegistry.snapshot` gives them.
  public static func write(_ samples: [MetricSample]) -> String {
    var text = ""
    var last: String?
    for sample in samples {
      if sample.name != last {
        text +=
          "# HELP \(sample.name) \(escape(sample.summary, quotes: false))\n# TYPE \(sample.name) \(type(sample.value))\n"
        last = sample.name
      }
      switch sample.value {
      case .counter(let value): text += "\(sample.name)\(labels(sample.labels)) \(scaled(value, sample.scale))\n"
      case .gauge(let value): text += "\(sample.name)\(labels(sample.labels)) \(scaled(value, sample.scale))\n"
      case .histogram(let snapshot): append(snapshot, of: sample, to: &text)
      }
    }
    return text
  }

  private static func append(_ snapshot: HistogramSnapshot, of sample: MetricSample, to text: inout String) {
    var sum: UInt64 = 0
    for (index, count) in snapshot.counts.enumerated() {
      sum += count
      let bound = snapshot.upperBound(index).map { number(Double($0) * snapshot.scale) } ?? "+Inf"
      text += "\(sample.name)_bucket\(labels(sample.labels + [MetricLabel("le", bound)])) \(sum)\n"
    }
    text += "\(sample.name)_sum\(labels(sample.labels)) \(number(Double(snapshot.sum) * snapshot.scale))\n"
    text += "\(sample.name)_count\(labels(sample.labels)) \(sum)\n"
  }

  private static func type(_ value: MetricSample.Value) -> String {
    switch value {
    case .counter: "counter"
    case .gauge: "gauge"
    case .histogram: "histogram"
    }
  }

  private static func scaled(_ value: some BinaryInteger, _ scale: Double) -> String {
    scale == 1 ? "\(value)" : number(Double(value) * scale)
  }

  /// Without the noise of binary fractions: 0.00001, not 1.0000000000000001e-05.
  private static func number(_ value: Double) -> String {
    if value == value.rounded(), abs(value) < 1e15 { return "\(Int64(value))" }
    let rounded = (value * 1e9).rounded() / 1e9
    return "\(rounded)"
  }

  private static func labels(_ labels: [MetricLabel]) -> String {
    if labels.isEmpty { return "" }
    return "{" + labels.map { "\($0.name)=\"\(escape($0.value, quotes: true))\"" }.joined(separator: ",") + "}"
  }

  private static func escape(_ text: String, quotes: Bool) -> String {
    var result = ""
    for character in text.unicodeScalars {
      switch character {
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\"" where quotes: result += "\\\""
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }
}
