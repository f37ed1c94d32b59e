import DatabusCore

/// The options and operands that a command was called with, checked against its declaration.
///
/// Asking for a name that is not declared is an error in the program, found by the first call.
public struct ParsedArguments: Sendable {
  public let command: Command
  private var flags: Set<String> = []
  private var optionValues: [String: [String]] = [:]
  private var operandValues: [String: [String]] = [:]

  init(command: Command) { self.command = command }

  mutating func set(flag name: String) { flags.insert(name) }
  mutating func append(_ value: String, toOption name: String) { optionValues[name, default: []].append(value) }
  mutating func append(_ value: String, toOperand name: String) { operandValues[name, default: []].append(value) }

  func hasOption(_ name: String) -> Bool { optionValues[name] != nil }

  public func flag(_ name: String) -> Bool {
    precondition(command.allOptions.contains { $0.name == name }, "the flag --\(name) is not declared")
    return flags.contains(name)
  }

  /// All values of an option, in their order.
  public func values(_ name: String) -> [String] {
    precondition(command.options.contains { $0.name == name }, "the option --\(name) is not declared")
    return optionValues[name] ?? []
  }

  /// The value of an option; nil where it was not given.
  public func value(_ name: String) -> String? { values(name).last }
  public func integer(_ name: String) -> Int? { value(name).flatMap { Int($0) } }
  public func duration(_ name: String) -> Duration? { value(name).flatMap(Quantity.duration) }
  public func size(_ name: String) -> Int? { value(name).flatMap(Quantity.size) }

  /// All values of an operand, in their order.
  public func operands(_ name: String) -> [String] {
    precondition(command.operands.contains { $0.name == name }, "the operand \(name) is not declared")
    return operandValues[name] ?? []
  }

  /// The value of an operand; nil where it was not given.
  public func operand(_ name: String) -> String? { operands(name).first }
}

/// What is wrong with a command line.
public struct UsageError: Error, Sendable, Hashable, CustomStringConvertible {
  public struct Problem: Sendable, Hashable {
    public var message: String
    public var hint: String?

    public init(message: String, hint: String? = nil) {
      self.message = message
      self.hint = hint
    }
  }

  /// `databus rules put`.
  public var command: String
  /// Never empty.
  public var problems: [Problem]

  public var description: String {
    var text = ""
    for problem in problems {
      text += "\(command): \(problem.message)"
      if let hint = problem.hint { text += "; \(hint)" }
      text += "\n"
    }
    return text + "'\(command) --help' shows how it is used.\n"
  }
}
