/// What is wrong with a single value.
struct ScalarProblem: Error {
  var kind: Diagnostic.Kind
  var message: String
  var hint: String?
}

extension ValueKind {
  /// A substituted text as the kind takes it: `"${PORT}"` may stand for a number or a boolean.
  func reread(_ result: Substitution.Result) -> JSONValue.Content {
    guard result.hasReferences else { return .string(result.text) }
    switch self {
    case .integer where Int(result.text) != nil: return .number(result.text)
    case .number where Double(result.text)?.isFinite == true: return .number(result.text)
    case .boolean where result.text == "true" || result.text == "false": return .bool(result.text == "true")
    default: return .string(result.text)
    }
  }
}

/// Checks single values. Values that are secret are never repeated in what it says.
struct ScalarReader {
  var directory: String?
  var isSecret: Bool

  func read(_ content: JSONValue.Content, as kind: ValueKind) throws(ScalarProblem) -> ConfigurationValue.Content {
    switch kind {
    case .string(let rule): return .string(try string(content, rule))
    case .path:
      let text = try string(content, .notEmpty)
      return .string(directory.map { FilePaths.resolve(text, in: $0) } ?? text)
    case .integer(let range): return .integer(try integer(content, range))
    case .number(let range): return .number(try number(content, range))
    case .boolean:
      guard case .bool(let flag) = content else {
        throw wrongKind("true or false", content, hint: "write it without quotes")
      }
      return .boolean(flag)
    case .duration(let range): return .duration(try duration(content, range))
    case .size(let range): return .integer(try size(content, range))
    case .enumeration(let cases): return .string(try enumeration(content, cases))
    case .object, .array, .map, .union, .json: throw wrongKind("a single value", content)
    }
  }

  private func string(_ content: JSONValue.Content, _ rule: StringRule) throws(ScalarProblem) -> String {
    guard case .string(let text) = content else { throw wrongKind("a string", content) }
    let count = text.utf8.count
    if count < rule.length.lowerBound {
      throw invalid(
        count == 0 ? "the string is empty" : "\(shown(text)) has \(count) bytes",
        hint: "at least \(rule.length.lowerBound) byte(s) must stand here")
    }
    if count > rule.length.upperBound {
      throw invalid("the string has \(count) bytes", hint: "at most \(rule.length.upperBound) bytes are permitted")
    }
    if let problem = rule.check?(text) {
      throw invalid("\(shown(text)) \(problem)", hint: rule.form.map { "it must be \($0)" })
    }
    return text
  }

  private func integer(_ content: JSONValue.Content, _ range: ClosedRange<Int>) throws(ScalarProblem) -> Int {
    guard case .number(let text) = content else {
      throw wrongKind("a whole number", content, hint: "write it without quotes")
    }
    guard let number = Int(text) else {
      throw invalid("\(shown(text, quotes: false)) is not a whole number that can be used here")
    }
    guard range.contains(number) else {
      throw outside(shown(text, quotes: false), "\(range.lowerBound)", "\(range.upperBound)")
    }
    return number
  }

  private func number(_ content: JSONValue.Content, _ range: ClosedRange<Double>) throws(ScalarProblem) -> Double {
    guard case .number(let text) = content else {
      throw wrongKind("a number", content, hint: "write it without quotes")
    }
    guard let number = Double(text), range.contains(number) else {
      throw outside(
        shown(text, quotes: false), ConfigurationValue.text(range.lowerBound), ConfigurationValue.text(range.upperBound)
      )
    }
    return number
  }

  private func duration(
    _ content: JSONValue.Content, _ range: ClosedRange<Duration>
  ) throws(ScalarProblem) -> Duration {
    let hint = "write a duration as a whole number and a unit: \"250ms\", \"1s\", \"5m\", \"1h\""
    guard case .string(let text) = content else { throw wrongKind("a duration in quotes", content, hint: hint) }
    guard let duration = Quantity.duration(text) else {
      throw invalid("\(shown(text)) is not a duration", hint: hint)
    }
    guard range.contains(duration) else {
      throw outside(shown(text), Quantity.text(range.lowerBound), Quantity.text(range.upperBound))
    }
    return duration
  }

  private func size(_ content: JSONValue.Content, _ range: ClosedRange<Int>) throws(ScalarProblem) -> Int {
    let hint = "write a size as a whole number and a unit: \"16MiB\", \"64KiB\", \"1000\""
    let text: String
    switch content {
    case .string(let written), .number(let written): text = written
    default: throw wrongKind("a size", content, hint: hint)
    }
    guard let bytes = Quantity.size(text) else { throw invalid("\(shown(text)) is not a size", hint: hint) }
    guard range.contains(bytes) else {
      throw outside(shown(text), Quantity.text(bytes: range.lowerBound), Quantity.text(bytes: range.upperBound))
    }
    return bytes
  }

  private func enumeration(
    _ content: JSONValue.Content, _ cases: [EnumerationCase]
  ) throws(ScalarProblem) -> String {
    guard case .string(let text) = content else { throw wrongKind("a string", content) }
    let names = cases.filter(\.isBuilt).map(\.name)
    guard let match = cases.first(where: { $0.name == text }) else {
      throw invalid(
        "\(shown(text)) is not permitted here",
        hint: isSecret ? nil : Spelling.hint(for: text, among: names))
    }
    guard match.isBuilt else {
      throw ScalarProblem(
        kind: .notBuilt, message: "\"\(text)\" is not built yet",
        hint: "use \(names.map { "\"\($0)\"" }.joined(separator: " or "))")
    }
    return text
  }

  private func shown(_ text: String, quotes: Bool = true) -> String {
    if isSecret { return "the secret value" }
    let cut = text.utf8.count > 80 ? String(text.prefix(60)) + "..." : text
    return quotes ? JSONText.quoted(cut) : cut
  }

  private func invalid(_ message: String, hint: String? = nil) -> ScalarProblem {
    ScalarProblem(kind: .invalidValue, message: message, hint: hint)
  }

  private func outside(_ value: String, _ lower: String, _ upper: String) -> ScalarProblem {
    invalid("\(value) is outside what is permitted", hint: "it must be from \(lower) to \(upper)")
  }

  private func wrongKind(_ expected: String, _ content: JSONValue.Content, hint: String? = nil) -> ScalarProblem {
    ScalarProblem(
      kind: .wrongKind,
      message: "\(expected) was expected, and this is \(JSONValue(content).kindDescription)",
      hint: JSONValue(content).string == nil && hint == "write it without quotes" ? nil : hint)
  }
}
