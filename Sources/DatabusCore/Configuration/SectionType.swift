/// A section of the configuration file that belongs to another part than the engine: its name, its settings, and what must hold
/// between them and the rest of the file.
public struct SectionType: Sendable {
  /// Says what the section's declaration cannot. It is called where the section itself is as declared, whatever the rest of the
  /// file is like.
  public typealias Check = @Sendable (ConfigurationObject, SectionContext) -> [SectionProblem]

  public var name: String
  public var declaration: ObjectDeclaration
  /// One sentence, for the table of all sections.
  public var summary: String
  /// What is where the section is absent: "no server".
  public var defaultMeaning: String?
  public var example: JSONValue?
  public var check: Check

  public init(
    _ name: String, _ declaration: ObjectDeclaration, defaultMeaning: String? = nil, example: JSONValue? = nil,
    _ summary: String, check: @escaping Check = { _, _ in [] }
  ) {
    self.name = name
    self.declaration = declaration
    self.summary = summary
    self.defaultMeaning = defaultMeaning
    self.example = example
    self.check = check
  }

  var field: FieldDeclaration {
    FieldDeclaration(name, .object(declaration), defaultMeaning: defaultMeaning, example: example, summary)
  }
}

/// The rest of the file, as the check of a section sees it.
public struct SectionContext: Sendable {
  /// The names under `transports`, whether what stands under them is valid or not: a broken transport exists all the same.
  public var transportNames: [String]
  /// nil where something outside of the section is wrong: what depends on it is then not said yet.
  public var configuration: DatabusConfiguration?
  private let registry: ComponentRegistry

  init(transportNames: [String], configuration: DatabusConfiguration?, registry: ComponentRegistry) {
    self.transportNames = transportNames
    self.configuration = configuration
    self.registry = registry
  }

  /// What a transport can do; nil where there is none of this name, or where it is not valid.
  public func capabilities(of transport: String) -> TransportCapabilities? {
    guard let found = configuration?.transport(transport) else { return nil }
    return registry.transport(found.type)?.capabilities(found.settings)
  }
}

/// One thing that is wrong with a section. The loader makes a `Diagnostic` with line and column of it.
public struct SectionProblem: Sendable {
  public var kind: Diagnostic.Kind
  public var offset: Int
  public var pointer: JSONPointer
  /// A sentence without its full stop. Never holds a secret.
  public var message: String
  /// What to do about it.
  public var hint: String?

  public init(
    _ kind: Diagnostic.Kind, at offset: Int, _ pointer: JSONPointer, _ message: String, hint: String? = nil
  ) {
    self.kind = kind
    self.offset = offset
    self.pointer = pointer
    self.message = message
    self.hint = hint
  }

  /// At a value, or at the object that would have it.
  public init(
    _ kind: Diagnostic.Kind, at member: String, of object: ConfigurationObject, _ message: String, hint: String? = nil
  ) {
    let value = object[member]
    self.init(
      kind, at: value?.offset ?? object.offset, value?.pointer ?? object.pointer.appending(member), message, hint: hint)
  }
}
