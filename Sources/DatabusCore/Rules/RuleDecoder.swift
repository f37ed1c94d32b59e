/// What a record of the rules stream says.
public enum RuleChange: Sendable {
  case upsert(Rule)
  case delete(ruleID: String)
  /// Every reason why the record is refused, and the rule's id where it could be read.
  case refused(ruleID: String?, reasons: [String])
}

/// Reads rules. Every problem of a record is reported, not just the first.
public struct RuleDecoder: Sendable {
  /// URL schemes that have a results stream.
  public var schemes: Set<String>
  public var maximumBytes: Int
  public var maximumDepth: Int

  public init(schemes: Set<String>, maximumBytes: Int = 1 << 20, maximumDepth: Int = 128) {
    self.schemes = schemes
    self.maximumBytes = maximumBytes
    self.maximumDepth = maximumDepth
  }

  private static let notBuilt = RuleDeclaration.object.fields.filter { !$0.isBuilt }.map(\.name)
  private static let known = RuleDeclaration.object.fields.map(\.name)

  /// Decodes one record's value.
  public func decode(_ bytes: [UInt8]) -> RuleChange {
    guard bytes.count <= maximumBytes else {
      return .refused(
        ruleID: nil,
        reasons: ["the rule has \(bytes.count) bytes; at most \(maximumBytes) are taken (limits.ruleBytes)"])
    }
    let value: JSONValue
    do {
      value = try JSONDocument.value(of: bytes, depth: maximumDepth)
    } catch {
      return .refused(ruleID: nil, reasons: [JSONSyntax.describe(error, in: bytes, depth: maximumDepth)])
    }
    guard let members = value.members else {
      return .refused(ruleID: nil, reasons: ["a rule is a JSON object, and this is \(value.kindDescription)"])
    }
    return decode(members, source: bytes)
  }

  private func decode(_ members: [JSONValue.Member], source: [UInt8]) -> RuleChange {
    var reader = Reader(members: members, known: RuleDecoder.known)
    let id = reader.ruleID()
    if reader.flag("deleted") == true {
      guard let id, reader.problems.isEmpty else { return .refused(ruleID: id, reasons: reader.problems) }
      return .delete(ruleID: id)
    }
    let events = reader.events()
    let destination = reader.destination(schemes: schemes)
    let isEnabled = reader.flag("enabled") ?? true
    let delivery = reader.delivery(source: source)
    for name in RuleDecoder.notBuilt { reader.mustBeEmpty(name) }
    guard reader.problems.isEmpty, let id, let events, let destination else {
      return .refused(ruleID: id, reasons: reader.problems)
    }
    return .upsert(
      Rule(
        id: id, events: events, destination: destination.text, scheme: destination.scheme, isEnabled: isEnabled,
        delivery: delivery, warnings: reader.warnings))
  }
}

/// Takes a rule's members apart and collects what is wrong with them.
private struct Reader {
  /// More are counted and not told: what a hostile rule leaves in the log, the state and the dead letters is bounded.
  private static let maximumProblems = 20
  private(set) var all: [String] = []
  private var untold = 0

  var problems: [String] { untold == 0 ? all : all + ["and \(untold) more"] }

  private mutating func problem(_ text: String) {
    if all.count < Reader.maximumProblems { all.append(text) } else { untold += 1 }
  }

  /// A text of the rule as it is quoted in a problem.
  private func quote(_ text: String) -> String {
    text.utf8.count <= 200 ? "\"\(text)\"" : "\"\(String(String.UnicodeScalarView(text.unicodeScalars.prefix(60))))…\""
  }

  var warnings: [String] = []
  private let members: [JSONValue.Member]

  init(members: [JSONValue.Member], known: [String]) {
    self.members = members
    for (index, member) in members.enumerated() {
      if known.contains(member.name) {
        if members[..<index].contains(where: { $0.name == member.name }) {
          problem("\(quote(member.name)) stands twice; leave one")
        }
        continue
      }
      if let near = Spelling.nearest(to: member.name, among: known) {
        problem("unknown field \(quote(member.name)); did you mean \"\(near)\"?")
      } else {
        if warnings.count < Reader.maximumProblems {
          warnings.append("unknown field \(quote(member.name)) is not used")
        }
      }
    }
  }

  /// The last member of this name. A rule has a handful: looking through them is quicker than a dictionary.
  private func value(_ name: String) -> JSONValue? { members.last { $0.name == name }?.value }

  private mutating func required(_ name: String, _ shape: String) -> JSONValue? {
    guard let value = value(name) else {
      problem("\"\(name)\" is missing: \(shape)")
      return nil
    }
    return value
  }

  mutating func ruleID() -> String? {
    let rule = RuleDeclaration.id
    let shape = rule.form ?? ""
    guard let value = required("ruleId", shape) else { return nil }
    guard let text = value.string else {
      problem("\"ruleId\" is \(value.kindDescription); it must be \(shape)")
      return nil
    }
    guard rule.length.contains(text.utf8.count) else {
      problem("\"ruleId\" has \(text.utf8.count) bytes; it must be \(shape)")
      return nil
    }
    if let reason = rule.check?(text) {
      problem("\"ruleId\" \(reason)")
      return nil
    }
    return text
  }

  mutating func events() -> [String]? {
    let shape = "an array of event types, each exact or ending in \"*\""
    guard let value = required("events", shape) else { return nil }
    guard let elements = value.elements else {
      problem("\"events\" is \(value.kindDescription); it must be \(shape)")
      return nil
    }
    var types: [String] = []
    for (index, element) in elements.enumerated() {
      guard let text = element.string else {
        problem("\"events\"[\(index)] is \(element.kindDescription); it must be a string")
        continue
      }
      if let reason = RuleDeclaration.eventType.check?(text) {
        problem("\"events\"[\(index)] \(quote(text)) \(reason)")
        continue
      }
      types.append(text)
    }
    return types.count == elements.count ? types : nil
  }

  mutating func destination(schemes: Set<String>) -> (text: String, scheme: String)? {
    let shape = RuleDeclaration.destination.form ?? ""
    guard let value = required("destinationUrl", shape) else { return nil }
    guard let text = value.string else {
      problem("\"destinationUrl\" is \(value.kindDescription); it must be \(shape)")
      return nil
    }
    switch DestinationURL.parse(text) {
    case .failure(let found):
      problem("\"destinationUrl\" \(quote(text)) \(found.reason); it must be \(shape)")
      return nil
    case .success(let url):
      guard schemes.contains(url.scheme) else {
        let list = schemes.sorted().joined(separator: ", ")
        problem(
          "\"destinationUrl\" has the scheme \"\(url.scheme)\", which has no results stream; schemes with one: \(list) (pipeline.results.streams)"
        )
        return nil
      }
      return (text, url.scheme)
    }
  }

  mutating func flag(_ name: String) -> Bool? {
    guard let value = value(name), !value.isNull else { return nil }
    guard let flag = value.bool else {
      problem("\"\(name)\" is \(value.kindDescription); it must be true or false")
      return nil
    }
    return flag
  }

  mutating func delivery(source: [UInt8]) -> [UInt8]? {
    guard let value = value("delivery"), !value.isNull else { return nil }
    guard case .object = value.content else {
      problem("\"delivery\" is \(value.kindDescription); it must be an object")
      return nil
    }
    let count = value.end - value.offset
    guard count <= RuleDeclaration.maximumDeliveryBytes else {
      problem("\"delivery\" has \(count) bytes; at most \(RuleDeclaration.maximumDeliveryBytes) are taken")
      return nil
    }
    // In valid JSON a raw line end can only be insignificant.
    return source[value.offset..<value.end].map { $0 == 0x0A || $0 == 0x0D ? 0x20 : $0 }
  }

  mutating func mustBeEmpty(_ name: String) {
    guard let value = value(name), !value.isNull else { return }
    switch value.content {
    case .array(let elements) where elements.isEmpty: return
    case .object(let members) where members.isEmpty: return
    default: problem("\"\(name)\" is not built yet; leave it out or empty")
    }
  }
}
