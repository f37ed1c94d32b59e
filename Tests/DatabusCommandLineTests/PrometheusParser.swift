import Foundation

/// Reads Prometheus' text format 0.0.4 strictly: whatever does not belong there is a problem.
struct PrometheusParser {
  struct Sample {
    var name: String
    var labels: [String: String]
    var value: Double
  }

  struct Family {
    var name: String
    var type: String
    var help: String
    var samples: [Sample] = []
  }

  private(set) var families: [Family] = []
  private(set) var problems: [String] = []

  init(_ text: String) {
    if !text.hasSuffix("\n") { problems.append("the last line has no end") }
    var help: (name: String, text: String)?
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init).enumerated() {
      func problem(_ what: String) { problems.append("line \(index + 1): \(what): \(line)") }
      if line.hasPrefix("# HELP ") {
        let words = line.dropFirst(7).split(separator: " ", maxSplits: 1).map(String.init)
        guard words.count == 2 else {
          problem("no help")
          continue
        }
        help = (words[0], words[1])
      } else if line.hasPrefix("# TYPE ") {
        let words = line.dropFirst(7).split(separator: " ").map(String.init)
        guard words.count == 2, ["counter", "gauge", "histogram"].contains(words[1]), help?.name == words[0] else {
          problem("no type for what was explained")
          continue
        }
        if families.contains(where: { $0.name == words[0] }) { problem("a family in two places") }
        families.append(Family(name: words[0], type: words[1], help: help?.text ?? ""))
      } else if let sample = PrometheusParser.sample(line) {
        guard let family = families.last else {
          problem("a sample before its type")
          continue
        }
        let suffixes = family.type == "histogram" ? ["_bucket", "_sum", "_count"] : [""]
        if !suffixes.contains(where: { family.name + $0 == sample.name }) { problem("a sample of another family") }
        families[families.count - 1].samples.append(sample)
      } else {
        problem("cannot be read")
      }
    }
    for family in families { check(family) }
  }

  private static func sample(_ line: String) -> Sample? {
    guard let match = line.wholeMatch(of: /([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? ([^ ]+)/) else { return nil }
    guard let value = match.3 == "+Inf" ? .infinity : Double(match.3) else { return nil }
    var labels: [String: String] = [:]
    if let text = match.2 {
      var rest = text[...]
      while !rest.isEmpty {
        guard let label = rest.prefixMatch(of: /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)",?/) else { return nil }
        labels[String(label.1)] = String(label.2)
        rest = rest[label.range.upperBound...]
      }
    }
    return Sample(name: String(match.1), labels: labels, value: value)
  }

  private mutating func check(_ family: Family) {
    func problem(_ what: String) { problems.append("\(family.name): \(what)") }
    if family.samples.isEmpty { problem("no samples") }
    if family.type == "counter", !family.name.hasSuffix("_total") { problem("a counter's name ends with _total") }
    if family.type != "counter", family.name.hasSuffix("_total") { problem("only a counter's name ends with _total") }
    if family.help.last != "." { problem("help is no sentence") }
    var keys: Set<String> = []
    for sample in family.samples {
      let key =
        sample.name + sample.labels.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: ",")
      if !keys.insert(key).inserted { problem("a series stands twice") }
      if family.type == "counter", sample.value < 0 { problem("a counter below 0") }
    }
    if family.type == "histogram" {
      for samples in Dictionary(grouping: family.samples, by: { $0.labels.filter { $0.key != "le" } }).values {
        checkHistogram(samples, family.name)
      }
    }
  }

  /// - Parameter samples: those of one series, in the order in which they stand.
  private mutating func checkHistogram(_ samples: [Sample], _ name: String) {
    func problem(_ what: String) { problems.append("\(name): \(what)") }
    let buckets = samples.filter { $0.name == name + "_bucket" }
    let bounds = buckets.map { $0.labels["le"] == "+Inf" ? Double.infinity : Double($0.labels["le"] ?? "") ?? .nan }
    if bounds != bounds.sorted() || bounds.last != .infinity { problem("buckets are not in order") }
    if buckets.map(\.value) != buckets.map(\.value).sorted() { problem("buckets do not add up") }
    let count = samples.first { $0.name == name + "_count" }?.value
    if count != buckets.last?.value { problem("the count is not the last bucket's") }
  }

  /// The value of a series; nil where there is none.
  func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
    families.flatMap(\.samples).first { $0.name == name && $0.labels == labels }?.value
  }

  /// All names of samples.
  var names: Set<String> { Set(families.flatMap(\.samples).map(\.name)) }
}
