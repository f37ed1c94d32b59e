/// What a setting may hold. One declaration drives decoding, validation, the JSON Schema and the reference page.
public indirect enum ValueKind: Sendable {
  case string(StringRule = StringRule())
  /// A file or directory. A relative one is relative to the configuration file; `-` (standard input or output) stays.
  case path
  case integer(ClosedRange<Int>)
  /// A number, with or without a fraction.
  case number(ClosedRange<Double>)
  case boolean
  /// A string with a unit: "250ms", "1s", "5m", "1h", "7d".
  case duration(ClosedRange<Duration>)
  /// Bytes: a string with a unit ("16MiB", "64KiB", "1000") or a whole number.
  case size(ClosedRange<Int>)
  case enumeration([EnumerationCase])
  case object(ObjectDeclaration)
  case array(of: ValueKind, count: ClosedRange<Int> = 0...Int.max)
  /// An object whose names are free and whose values are all of one kind.
  case map(of: ValueKind, MapRule = MapRule())
  /// An object whose member `type` says which declaration holds for its other members.
  case union(UnionDeclaration)
  /// Any JSON, handed on as it is.
  case json
}

/// What a string must be like.
public struct StringRule: Sendable {
  /// Permitted length in bytes of UTF-8.
  public var length: ClosedRange<Int>
  /// What the string is, for the reference page: "`earliest`, `latest` or an RFC 3339 time".
  public var form: String?
  /// A regular expression (ECMA-262) for the JSON Schema: never stricter than `check`.
  public var pattern: String?
  /// Returns what is wrong with a string, as the end of the sentence "it ...": "contains a space"; nil where nothing is.
  public var check: (@Sendable (String) -> String?)?

  public init(
    length: ClosedRange<Int> = 0...Int.max, form: String? = nil, pattern: String? = nil,
    check: (@Sendable (String) -> String?)? = nil
  ) {
    self.length = length
    self.form = form
    self.pattern = pattern
    self.check = check
  }

  /// A string that is not empty.
  public static let notEmpty = StringRule(length: 1...Int.max)
}

/// One permitted string, and what it means.
public struct EnumerationCase: Sendable {
  public var name: String
  public var summary: String
  /// The value is known, and refused as not built yet.
  public var isBuilt: Bool

  public init(_ name: String, _ summary: String, isBuilt: Bool = true) {
    self.name = name
    self.summary = summary
    self.isBuilt = isBuilt
  }
}

/// What the names of a map may be.
public struct MapRule: Sendable {
  public var count: ClosedRange<Int>
  /// Names that are refused, with the reason as a sentence: for settings that the promises rest on.
  public var reserved: [String: String]
  /// Names whose values never appear in messages, logs or dumps.
  public var secret: Set<String>
  /// Says what is wrong with an entry whose value is a string, as a sentence without its full stop, and what to do: nil where nothing is.
  public var check: (@Sendable (_ name: String, _ value: String) -> (message: String, hint: String?)?)?
  /// What a name stands for: "a name of your choice", "the scheme of a destination's URL".
  public var nameMeaning: String

  public init(
    count: ClosedRange<Int> = 0...Int.max, reserved: [String: String] = [:], secret: Set<String> = [],
    nameMeaning: String = "a name of your choice",
    check: (@Sendable (_ name: String, _ value: String) -> (message: String, hint: String?)?)? = nil
  ) {
    self.check = check
    self.count = count
    self.reserved = reserved
    self.secret = secret
    self.nameMeaning = nameMeaning
  }
}

/// One member of an object.
public struct FieldDeclaration: Sendable {
  public var name: String
  public var kind: ValueKind
  public var isRequired: Bool
  /// As it would stand in the file; decoded and checked like a value from there.
  public var defaultValue: JSONValue?
  /// Where the default is not a constant: "the only transport there is".
  public var defaultMeaning: String?
  /// One sentence.
  public var summary: String
  public var example: JSONValue?
  /// The value never appears in messages, logs or dumps.
  public var isSecret: Bool
  /// `null` means the default (or absence).
  public var acceptsNull: Bool
  /// The member is known and refused as not built yet.
  public var isBuilt: Bool

  public init(
    _ name: String, _ kind: ValueKind, required: Bool = false, default defaultValue: JSONValue? = nil,
    defaultMeaning: String? = nil, example: JSONValue? = nil, secret: Bool = false, acceptsNull: Bool = false,
    isBuilt: Bool = true, _ summary: String
  ) {
    self.name = name
    self.kind = kind
    self.isRequired = required
    self.defaultValue = defaultValue
    self.defaultMeaning = defaultMeaning
    self.summary = summary
    self.example = example
    self.isSecret = secret
    self.acceptsNull = acceptsNull
    self.isBuilt = isBuilt
  }

  /// A decoded object always has this member.
  var isAlwaysPresent: Bool { isRequired || defaultValue != nil }
}

/// An object and its members.
public struct ObjectDeclaration: Sendable {
  public var summary: String
  public var fields: [FieldDeclaration]
  /// Members that are not declared are left alone. Otherwise they are errors with a "did you mean".
  public var acceptsUnknown: Bool

  public init(_ summary: String = "", acceptsUnknown: Bool = false, _ fields: [FieldDeclaration]) {
    self.summary = summary
    self.fields = fields
    self.acceptsUnknown = acceptsUnknown
  }

  public func field(_ name: String) -> FieldDeclaration? { fields.first { $0.name == name } }
}

/// Objects told apart by their member `type`.
public struct UnionDeclaration: Sendable {
  public struct Case: Sendable {
    public var name: String
    /// Members besides `type`.
    public var object: ObjectDeclaration

    public init(_ name: String, _ object: ObjectDeclaration) {
      self.name = name
      self.object = object
    }
  }

  /// What the cases are, for messages: "transport".
  public var noun: String
  public var cases: [Case]

  public init(noun: String, _ cases: [Case]) {
    self.noun = noun
    self.cases = cases
  }
}
