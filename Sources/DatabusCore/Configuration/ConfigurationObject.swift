/// A decoded value: valid, with defaults filled in, and with its place.
public struct ConfigurationValue: Sendable {
  public enum Content: Sendable {
    /// Strings, paths (made absolute or relative to the working directory) and enumeration values.
    case string(String)
    case integer(Int)
    case number(Double)
    case boolean(Bool)
    case duration(Duration)
    case object(ConfigurationObject)
    case array([ConfigurationValue])
    case map([(name: String, value: ConfigurationValue)])
    case json(JSONValue)
  }

  public var content: Content
  /// Where it stands in the source; for a default, where the object stands that it was filled into.
  public var offset: Int
  public var pointer: JSONPointer
  /// It must never be shown.
  public var isSecret: Bool

  public init(_ content: Content, offset: Int, pointer: JSONPointer, isSecret: Bool = false) {
    self.content = content
    self.offset = offset
    self.pointer = pointer
    self.isSecret = isSecret
  }
}

/// An object that was decoded by its declaration.
///
/// The accessors that return no optional are for members that are required or have a default; asking for another one, or
/// for another kind than declared, is an error in the program, found by its first run whatever the file says.
public struct ConfigurationObject: Sendable {
  public let declaration: ObjectDeclaration
  /// The value of `type`, where the object is a case of a union.
  public let type: String?
  public let offset: Int
  public let pointer: JSONPointer
  private var values: [String: ConfigurationValue]

  init(
    declaration: ObjectDeclaration, type: String?, offset: Int, pointer: JSONPointer,
    values: [String: ConfigurationValue]
  ) {
    self.declaration = declaration
    self.type = type
    self.offset = offset
    self.pointer = pointer
    self.values = values
  }

  /// The value; nil where the file has none and there is no default.
  public subscript(name: String) -> ConfigurationValue? { values[name] }

  private func value(_ name: String, optional: Bool) -> ConfigurationValue? {
    guard let field = declaration.field(name) else {
      preconditionFailure("the setting \"\(name)\" is not declared")
    }
    precondition(optional || field.isAlwaysPresent, "the setting \"\(name)\" is optional and has no default")
    return values[name]
  }

  private func mismatch(_ name: String) -> Never {
    preconditionFailure("the setting \"\(name)\" is declared as another kind")
  }

  // MARK: Members that may be absent

  public func optionalString(_ name: String) -> String? {
    switch value(name, optional: true)?.content {
    case .string(let text): text
    case nil: nil
    default: mismatch(name)
    }
  }

  public func optionalInteger(_ name: String) -> Int? {
    switch value(name, optional: true)?.content {
    case .integer(let number): number
    case nil: nil
    default: mismatch(name)
    }
  }

  public func optionalNumber(_ name: String) -> Double? {
    switch value(name, optional: true)?.content {
    case .number(let number): number
    case nil: nil
    default: mismatch(name)
    }
  }

  /// Bytes.
  public func optionalSize(_ name: String) -> Int? { optionalInteger(name) }

  public func optionalBoolean(_ name: String) -> Bool? {
    switch value(name, optional: true)?.content {
    case .boolean(let flag): flag
    case nil: nil
    default: mismatch(name)
    }
  }

  public func optionalDuration(_ name: String) -> Duration? {
    switch value(name, optional: true)?.content {
    case .duration(let duration): duration
    case nil: nil
    default: mismatch(name)
    }
  }

  public func optionalObject(_ name: String) -> ConfigurationObject? {
    switch value(name, optional: true)?.content {
    case .object(let object): object
    case nil: nil
    default: mismatch(name)
    }
  }

  public func optionalJSON(_ name: String) -> JSONValue? {
    switch value(name, optional: true)?.content {
    case .json(let value): value
    case nil: nil
    default: mismatch(name)
    }
  }

  // MARK: Members that are always there

  public func string(_ name: String) -> String { always(name, optionalString) }
  public func integer(_ name: String) -> Int { always(name, optionalInteger) }
  public func number(_ name: String) -> Double { always(name, optionalNumber) }
  /// Bytes.
  public func size(_ name: String) -> Int { always(name, optionalInteger) }
  public func boolean(_ name: String) -> Bool { always(name, optionalBoolean) }
  public func duration(_ name: String) -> Duration { always(name, optionalDuration) }
  public func object(_ name: String) -> ConfigurationObject { always(name, optionalObject) }

  private func always<Value>(_ name: String, _ get: (String) -> Value?) -> Value {
    _ = value(name, optional: false)
    guard let found = get(name) else { mismatch(name) }
    return found
  }

  /// The elements of an array; none where it is absent.
  public func array(_ name: String) -> [ConfigurationValue] {
    switch value(name, optional: true)?.content {
    case .array(let elements): elements
    case nil: []
    default: mismatch(name)
    }
  }

  /// The strings of an array of strings; none where it is absent.
  public func strings(_ name: String) -> [String] {
    array(name).map { element in
      guard case .string(let text) = element.content else { mismatch(name) }
      return text
    }
  }

  /// The entries of a map, in the file's order; none where it is absent.
  public func map(_ name: String) -> [(name: String, value: ConfigurationValue)] {
    switch value(name, optional: true)?.content {
    case .map(let entries): entries
    case nil: []
    default: mismatch(name)
    }
  }

  /// The entries of a map of strings, in the file's order; none where it is absent.
  public func stringMap(_ name: String) -> [(name: String, value: String)] {
    map(name).map { entry in
      guard case .string(let text) = entry.value.content else { mismatch(name) }
      return (entry.name, text)
    }
  }

  /// The object as JSON with all defaults, for people: secrets are replaced by `"(secret)"`.
  public var dump: JSONValue {
    var members: [(String, JSONValue)] = []
    if let type { members.append(("type", JSONValue(.string(type)))) }
    for field in declaration.fields {
      if let value = values[field.name] { members.append((field.name, value.dump(as: field.kind))) }
    }
    return JSONValue(members: members)
  }
}

extension ConfigurationValue {
  /// A number as it would be written in a file: whole ones without a fraction.
  static func text(_ number: Double) -> String { Int(exactly: number).map(String.init) ?? "\(number)" }

  func dump(as kind: ValueKind) -> JSONValue {
    if isSecret { return "(secret)" }
    switch content {
    case .string(let text): return JSONValue(.string(text))
    case .integer(let number):
      if case .size = kind { return JSONValue(.string(Quantity.text(bytes: number))) }
      return JSONValue(integerLiteral: number)
    case .number(let number): return JSONValue(.number(ConfigurationValue.text(number)))
    case .boolean(let flag): return JSONValue(.bool(flag))
    case .duration(let duration): return JSONValue(.string(Quantity.text(duration)))
    case .object(let object): return object.dump
    case .array(let elements):
      guard case .array(let kind, _) = kind else { return JSONValue(.null) }
      return JSONValue(.array(elements.map { $0.dump(as: kind) }))
    case .map(let entries):
      guard case .map(let kind, _) = kind else { return JSONValue(.null) }
      return JSONValue(members: entries.map { ($0.name, $0.value.dump(as: kind)) })
    case .json(let value): return value
    }
  }
}
