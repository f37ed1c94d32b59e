/// What the suite knows of rules, on its own: a plain reading of the rule language, with nothing of the router's.
struct ModelRule: Hashable, Sendable {
  var id: String
  /// Exact types, or `prefix*`.
  var types: [String]
  var destination: String

  func matches(_ type: String) -> Bool {
    types.contains { $0.hasSuffix("*") ? type.hasPrefix(String($0.dropLast())) : $0 == type }
  }

  var json: String {
    let list = types.map { "\"\($0)\"" }.joined(separator: ", ")
    return
      "{\"ruleId\": \"\(id)\", \"events\": [\(list)], \"destinationUrl\": \"\(destination)\", \"transforms\": [], \"filters\": []}"
  }
}

/// An event as it is sent.
struct ModelEvent: Sendable {
  var type: String
  var bytes: [UInt8]
  /// What stands in a result: from the opening to the closing brace.
  var payload: [UInt8]

  init(type: String, bytes: [UInt8], payload: [UInt8]? = nil) {
    self.type = type
    self.bytes = bytes
    self.payload = payload ?? bytes
  }

  /// An event with a number of its own.
  init(_ number: Int, type: String) {
    self.init(type: type, bytes: Array("{\"type\": \"\(type)\", \"data\": {\"number\": \(number)}}".utf8))
  }

  /// Events of five types in turn, in an order that the seed gives.
  static func some(_ count: Int, from first: Int = 0, seed: UInt64) -> [ModelEvent] {
    var random = SeededGenerator(seed: seed)
    return (first..<first + count).map { ModelEvent($0, type: types[Int(random.next() % 5)]) }
  }

  static let types = ["user:signup", "user:login", "subscription:created", "order:paid", "order:sent"]
}

struct SentEvent: Sendable {
  var event: ModelEvent
  var position: UInt64
}

extension ModelRule {
  /// No result, one, two or three for an event, by its type.
  static let usual = [
    ModelRule(
      id: "rule_a", types: ["user:signup", "subscription:created"], destination: "https://foo.example/a"),
    ModelRule(id: "rule_b", types: ["subscription:created"], destination: "https://bar.example/b?x=1"),
    ModelRule(id: "rule_c", types: ["order:*", "subscription:*"], destination: "http://orders.example/c"),
    ModelRule(id: "rule_d", types: ["nobody:sends:this"], destination: "https://never.example/d"),
  ]
}
