/// One subcommand: what it is called with, what its help says, and what it does. Parsing, help and shell completion are all
/// made from this.
public struct Command: Sendable {
  public typealias Run = @Sendable (ParsedArguments, CommandContext) async throws -> ExitCode

  public var name: String
  /// One line, without a full stop.
  public var summary: String
  /// What a person has to know, in paragraphs; lines are not broken anew.
  public var discussion: String
  public var examples: [Example]
  public var options: [Option]
  public var operands: [Operand]
  public var subcommands: [Command]
  /// Left out of help and completion.
  public var isHidden: Bool
  /// SIGINT and SIGTERM come as `CommandContext.signals` instead of ending the process.
  public var handlesSignals: Bool
  /// nil for a command that only has subcommands.
  public var run: Run?

  public struct Example: Sendable {
    public var line: String
    public var explanation: String
    public init(_ line: String, _ explanation: String) {
      self.line = line
      self.explanation = explanation
    }
  }

  /// - Parameter subcommands: of a command that does something by itself too (`dispatch`, `dispatch cancel`). It has no operands then: a
  ///   word behind it is a subcommand.
  public init(
    _ name: String, summary: String, discussion: String = "", examples: [Example] = [], options: [Option] = [],
    operands: [Operand] = [], subcommands: [Command] = [], isHidden: Bool = false, handlesSignals: Bool = false,
    run: @escaping Run
  ) {
    precondition(operands.isEmpty || subcommands.isEmpty, "\(name): a word is an operand or a subcommand, never either")
    self.init(
      name: name, summary: summary, discussion: discussion, examples: examples, options: options, operands: operands,
      subcommands: subcommands, isHidden: isHidden, handlesSignals: handlesSignals, run: run)
  }

  /// A command that only has subcommands: `rules`.
  public init(
    _ name: String, summary: String, discussion: String = "", examples: [Example] = [], subcommands: [Command]
  ) {
    self.init(
      name: name, summary: summary, discussion: discussion, examples: examples, options: [], operands: [],
      subcommands: subcommands, isHidden: false, handlesSignals: false, run: nil)
  }

  private init(
    name: String, summary: String, discussion: String, examples: [Example], options: [Option], operands: [Operand],
    subcommands: [Command], isHidden: Bool, handlesSignals: Bool, run: Run?
  ) {
    self.name = name
    self.summary = summary
    self.discussion = discussion
    self.examples = examples
    self.options = options
    self.operands = operands
    self.subcommands = subcommands
    self.isHidden = isHidden
    self.handlesSignals = handlesSignals
    self.run = run
  }

  public func subcommand(_ name: String) -> Command? { subcommands.first { $0.name == name } }

  /// Every command takes `--help`.
  var allOptions: [Option] { options + [.help] }
}

/// What an option's or operand's value must be.
public enum ArgumentKind: Sendable {
  case string
  /// A path; `-` is standard input or output where the command says so.
  case file
  case integer(ClosedRange<Int>)
  /// "250ms", "1s", "5m", "1h".
  case duration
  /// "64KiB", "16MiB", "1000".
  case size
  case choice([String])
}

/// `--name VALUE`, or a flag `--name`.
public struct Option: Sendable {
  /// Without its dashes.
  public var name: String
  public var short: Character?
  /// nil: a flag.
  public var kind: ArgumentKind?
  /// What help calls the value: `FILE`.
  public var placeholder: String
  public var isRepeatable: Bool
  public var isRequired: Bool
  /// One sentence, without a full stop.
  public var summary: String

  private init(
    name: String, short: Character?, kind: ArgumentKind?, placeholder: String, repeatable: Bool, required: Bool,
    summary: String
  ) {
    self.name = name
    self.short = short
    self.kind = kind
    self.placeholder = placeholder
    isRepeatable = repeatable
    isRequired = required
    self.summary = summary
  }

  public static func flag(_ name: String, short: Character? = nil, _ summary: String) -> Option {
    Option(
      name: name, short: short, kind: nil, placeholder: "", repeatable: false, required: false, summary: summary)
  }

  public static func value(
    _ name: String, _ placeholder: String, short: Character? = nil, kind: ArgumentKind = .string,
    repeatable: Bool = false, required: Bool = false, _ summary: String
  ) -> Option {
    Option(
      name: name, short: short, kind: kind, placeholder: placeholder, repeatable: repeatable, required: required,
      summary: summary)
  }

  public static let help = Option.flag("help", short: "h", "Show this help")
  public static let config = Option.value(
    "config", "FILE", short: "c", kind: .file,
    "The configuration; without it $DATABUS_CONFIG, else ./databus.json")
  public static let json = Option.flag("json", "Write JSON for scripts instead of text for people")
  public static let logLevel = Option.value(
    "log-level", "LEVEL", kind: .choice(["debug", "info", "warning", "error"]),
    "The least log level that is written to standard error (info)")
}

/// A value that is told by its place.
public struct Operand: Sendable {
  public enum Count: Sendable {
    case one
    case optional
    /// None or more; only the last operand.
    case any
    /// One or more; only the last operand.
    case several
  }

  /// As help shows it: `FILE`.
  public var name: String
  public var kind: ArgumentKind
  public var count: Count
  public var summary: String

  public init(_ name: String, kind: ArgumentKind = .string, count: Count = .one, _ summary: String) {
    self.name = name
    self.kind = kind
    self.count = count
    self.summary = summary
  }
}
