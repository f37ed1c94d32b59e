import DatabusCore

/// One measured figure, next to its reference from the same run.
struct Figure {
  var benchmark: String
  var value: Double
  var unit: String
  /// What it is compared with.
  var reference: String
  var referenceValue: Double
  /// What the ratio is to be: "<= 3.0".
  var goal: String

  var ratio: Double { referenceValue == 0 ? 0 : value / referenceValue }

  var json: String {
    func number(_ value: Double) -> String { String(Double(Int(value * 1000)) / 1000) }
    return
      "{\"benchmark\":\(JSONText.quoted(benchmark)),\"value\":\(number(value)),\"unit\":\(JSONText.quoted(unit)),\"reference\":\(JSONText.quoted(reference)),\"referenceValue\":\(number(referenceValue)),\"ratio\":\(number(ratio)),\"goal\":\(JSONText.quoted(goal))}"
  }
}

enum Statistics {
  static func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    if sorted.isEmpty { return 0 }
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }
}

/// Prints figures: a table for people, one JSON object a line for scripts.
struct Report {
  var asJSON: Bool

  func add(_ figure: Figure) {
    if asJSON { return print(figure.json) }
    func padded(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(1, width - text.count))
    }
    func short(_ value: Double) -> String {
      value >= 100 ? String(Int(value.rounded())) : String(Double(Int((value * 100).rounded())) / 100)
    }
    print(
      padded(figure.benchmark, 44) + padded("\(short(figure.value)) \(figure.unit)", 20)
        + padded("\(short(figure.referenceValue)) \(figure.reference)", 40)
        + padded("x \(Double(Int(figure.ratio * 100)) / 100)", 10) + figure.goal)
  }
}
