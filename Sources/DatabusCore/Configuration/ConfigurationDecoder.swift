/// Walks a JSON tree along its declaration: checks, fills defaults in, and collects everything that is wrong.
public struct ConfigurationDecoder: Sendable {
  public let source: SourceText
  /// nil: `${...}` is text like any other (rules).
  private let substitution: Substitution?
  /// What relative paths are relative to; nil leaves them alone.
  private let directory: String?
  public private(set) var diagnostics: [Diagnostic] = []

  public init(source: SourceText, substitution: Substitution? = nil, directory: String? = nil) {
    self.source = source
    self.substitution = substitution
    self.directory = directory
  }

  /// Parses the source; nil where it is not JSON, which is then the one diagnostic.
  public mutating func parse(depth: Int = 64) -> JSONValue? {
    do throws(JSONError) {
      return try JSONDocument.value(of: source.bytes, depth: depth)
    } catch {
      let problem = JSONSyntax.firstProblem(in: source.bytes, depth: depth)
      report(
        .syntax, at: problem?.offset ?? 0, JSONPointer(),
        problem.map { "not valid JSON: \($0.message)" } ?? error.message)
      return nil
    }
  }

  /// Decodes an object. nil where anything at all in it was wrong: the diagnostics say what.
  public mutating func decode(_ value: JSONValue, as declaration: ObjectDeclaration) -> ConfigurationObject? {
    let before = diagnostics.count
    let decoded = decodeParts(value, as: declaration)
    return diagnostics.count == before ? decoded : nil
  }

  /// Decodes an object with what is valid in it; nil where it is no object. A member with anything wrong in it may be absent or
  /// incomplete: `isSound` tells.
  mutating func decodeParts(_ value: JSONValue, as declaration: ObjectDeclaration) -> ConfigurationObject? {
    object(value, declaration, JSONPointer(), Context())
  }

  /// Nothing was wrong with the value there, nor with anything in it.
  func isSound(_ pointer: JSONPointer) -> Bool {
    !diagnostics.contains {
      $0.pointer == pointer.description || $0.pointer.hasPrefix(pointer.description + "/")
    }
  }

  /// Everything that is wrong, causes before their consequences, each in the source's order.
  public var ordered: [Diagnostic] {
    diagnostics.enumerated().sorted { a, b in
      (a.element.kind.rank, a.element.line, a.element.column, a.offset)
        < (b.element.kind.rank, b.element.line, b.element.column, b.offset)
    }.map(\.element)
  }

  public mutating func report(
    _ kind: Diagnostic.Kind, at offset: Int, _ pointer: JSONPointer, _ message: String, hint: String? = nil
  ) {
    let place = source.place(at: offset)
    diagnostics.append(
      Diagnostic(
        kind, file: source.name, line: place.line, column: place.column, pointer: pointer.description,
        message: message, hint: hint))
  }

  /// What holds for a value because of what it is in.
  private struct Context {
    var isSecret = false
    /// The place of the object that a default is filled into: defaults have no place of their own.
    var defaultOffset: Int?
  }

  // MARK: Objects

  private mutating func object(
    _ value: JSONValue, _ declaration: ObjectDeclaration, _ pointer: JSONPointer, _ context: Context,
    type: String? = nil, typeNames: [String] = []
  ) -> ConfigurationObject? {
    guard let members = value.members else {
      wrongKind(value, "an object", pointer, context)
      return nil
    }
    let known = declaration.fields.filter(\.isBuilt).map(\.name) + typeNames
    var given: [String: JSONValue.Member] = [:]
    var meant: Set<String> = []
    for member in members {
      if let first = given[member.name] {
        reportDuplicate(member, first: first, pointer)
        continue
      }
      given[member.name] = member
      if typeNames.contains(member.name) || declaration.field(member.name) != nil || declaration.acceptsUnknown {
        continue
      }
      if let near = Spelling.nearest(to: member.name, among: known) { meant.insert(near) }
      report(
        .unknownKey, at: member.nameOffset, pointer.appending(member.name), "unknown key \"\(member.name)\"",
        hint: Spelling.hint(for: member.name, among: known))
    }
    let offset = context.defaultOffset ?? value.offset
    var values: [String: ConfigurationValue] = [:]
    for field in declaration.fields {
      values[field.name] = self.field(
        field, given[field.name], pointer.appending(field.name), objectAt: offset, context,
        isMisspelt: meant.contains(field.name))
    }
    return ConfigurationObject(
      declaration: declaration, type: type, offset: offset, pointer: pointer, values: values)
  }

  private mutating func field(
    _ field: FieldDeclaration, _ member: JSONValue.Member?, _ pointer: JSONPointer, objectAt offset: Int,
    _ context: Context, isMisspelt: Bool
  ) -> ConfigurationValue? {
    var context = context
    context.isSecret = context.isSecret || field.isSecret
    if let member, !(member.value.isNull && field.acceptsNull) {
      guard field.isBuilt else {
        report(
          .notBuilt, at: member.nameOffset, pointer, "\"\(field.name)\" is not built yet",
          hint: "remove it; this release works without")
        return nil
      }
      return self.value(member.value, field.kind, pointer, context)
    }
    if let defaultValue = field.defaultValue {
      context.defaultOffset = offset
      return self.value(defaultValue, field.kind, pointer, context)
    }
    // What was probably meant is reported as an unknown key already: that is the cause.
    if field.isRequired, !isMisspelt {
      report(
        .missing, at: offset, pointer, "\"\(field.name)\" is missing",
        hint: field.example.map { "\(field.summary) For example: \"\(field.name)\": \($0.compactText)" }
          ?? field.summary)
    }
    return nil
  }

  private mutating func reportDuplicate(
    _ member: JSONValue.Member, first: JSONValue.Member, _ pointer: JSONPointer
  ) {
    report(
      .duplicateKey, at: member.nameOffset, pointer.appending(member.name), "\"\(member.name)\" stands twice",
      hint: "the first one is at \(source.place(at: first.nameOffset)); remove one of the two")
  }

  private mutating func union(
    _ value: JSONValue, _ declaration: UnionDeclaration, _ pointer: JSONPointer, _ context: Context
  ) -> ConfigurationValue? {
    guard let members = value.members else {
      wrongKind(value, "an object", pointer, context)
      return nil
    }
    let names = declaration.cases.map(\.name)
    let typePointer = pointer.appending("type")
    guard let type = members.first(where: { $0.name == "type" }) else {
      let known = names.map { "\"\($0)\"" }.joined(separator: ", ")
      if let other = members.first(where: { Spelling.nearest(to: $0.name, among: ["type"]) != nil }) {
        report(
          .unknownKey, at: other.nameOffset, pointer.appending(other.name), "unknown key \"\(other.name)\"",
          hint: "did you mean \"type\"?")
      } else {
        report(
          .missing, at: value.offset, typePointer, "\"type\" is missing",
          hint: "the type of a \(declaration.noun) is one of \(known)")
      }
      return nil
    }
    guard let name = type.value.string else {
      wrongKind(type.value, "a string", typePointer, context)
      return nil
    }
    guard let match = declaration.cases.first(where: { $0.name == name }) else {
      report(
        .unknownType, at: type.value.offset, typePointer, "unknown \(declaration.noun) type \"\(name)\"",
        hint: Spelling.hint(for: name, among: names))
      return nil
    }
    return object(value, match.object, pointer, context, type: name, typeNames: ["type"]).map {
      ConfigurationValue(.object($0), offset: $0.offset, pointer: pointer, isSecret: context.isSecret)
    }
  }

  // MARK: Values

  private mutating func value(
    _ value: JSONValue, _ kind: ValueKind, _ pointer: JSONPointer, _ context: Context
  ) -> ConfigurationValue? {
    var context = context
    let offset = context.defaultOffset ?? value.offset
    var content: ConfigurationValue.Content?
    switch kind {
    case .object(let declaration):
      content = object(value, declaration, pointer, context).map { .object($0) }
    case .union(let declaration): return union(value, declaration, pointer, context)
    case .array(let element, let count): content = array(value, element, count, pointer, context)
    case .map(let element, let rule): content = map(value, element, rule, pointer, context)
    case .json: content = .json(value)
    case .string, .path, .integer, .number, .boolean, .duration, .size, .enumeration:
      content = scalar(value, kind, pointer, &context)
    }
    return content.map { ConfigurationValue($0, offset: offset, pointer: pointer, isSecret: context.isSecret) }
  }

  private mutating func scalar(
    _ value: JSONValue, _ kind: ValueKind, _ pointer: JSONPointer, _ context: inout Context
  ) -> ConfigurationValue.Content? {
    let offset = context.defaultOffset ?? value.offset
    var content = value.content
    if let text = value.string, let substitution, context.defaultOffset == nil {
      do throws(Substitution.Failure) {
        let result = try substitution.resolve(text)
        context.isSecret = context.isSecret || result.isSecret
        content = kind.reread(result)
      } catch {
        report(.substitution, at: offset, pointer, error.message, hint: error.hint)
        return nil
      }
    }
    do throws(ScalarProblem) {
      return try ScalarReader(directory: directory, isSecret: context.isSecret).read(content, as: kind)
    } catch {
      report(error.kind, at: offset, pointer, error.message, hint: error.hint)
      return nil
    }
  }

  private mutating func wrongKind(
    _ value: JSONValue, _ expected: String, _ pointer: JSONPointer, _ context: Context
  ) {
    report(
      .wrongKind, at: context.defaultOffset ?? value.offset, pointer,
      "\(expected) was expected, and this is \(value.kindDescription)")
  }

  private mutating func array(
    _ value: JSONValue, _ element: ValueKind, _ count: ClosedRange<Int>, _ pointer: JSONPointer, _ context: Context
  ) -> ConfigurationValue.Content? {
    guard let elements = value.elements else {
      wrongKind(value, "an array", pointer, context)
      return nil
    }
    checkCount(elements.count, count, "elements", value, pointer, context)
    var decoded: [ConfigurationValue] = []
    for (index, child) in elements.enumerated() {
      if let result = self.value(child, element, pointer.appending(index), context) { decoded.append(result) }
    }
    return .array(decoded)
  }

  private mutating func map(
    _ value: JSONValue, _ element: ValueKind, _ rule: MapRule, _ pointer: JSONPointer, _ context: Context
  ) -> ConfigurationValue.Content? {
    guard let members = value.members else {
      wrongKind(value, "an object", pointer, context)
      return nil
    }
    checkCount(members.count, rule.count, "entries", value, pointer, context)
    var first: [String: JSONValue.Member] = [:]
    var decoded: [(name: String, value: ConfigurationValue)] = []
    for member in members {
      let place = pointer.appending(member.name)
      if let earlier = first[member.name] {
        reportDuplicate(member, first: earlier, pointer)
        continue
      }
      first[member.name] = member
      if let reason = rule.reserved[member.name] {
        report(
          .reservedName, at: member.nameOffset, place, "\"\(member.name)\" cannot be set: \(reason)",
          hint: "remove it")
        continue
      }
      var context = context
      context.isSecret = context.isSecret || rule.secret.contains(member.name)
      guard let result = self.value(member.value, element, place, context) else { continue }
      if case .string(let text) = result.content, let problem = rule.check?(member.name, text) {
        report(.invalidValue, at: member.nameOffset, place, problem.message, hint: problem.hint)
        continue
      }
      decoded.append((member.name, result))
    }
    return .map(decoded)
  }

  private mutating func checkCount(
    _ count: Int, _ permitted: ClosedRange<Int>, _ noun: String, _ value: JSONValue, _ pointer: JSONPointer,
    _ context: Context
  ) {
    guard !permitted.contains(count) else { return }
    let isTooFew = count < permitted.lowerBound
    report(
      .invalidValue, at: context.defaultOffset ?? value.offset, pointer,
      count == 0 ? "this is empty" : "too \(isTooFew ? "few" : "many") \(noun): \(count)",
      hint: isTooFew
        ? "at least \(permitted.lowerBound) must stand here" : "at most \(permitted.upperBound) are permitted")
  }
}
