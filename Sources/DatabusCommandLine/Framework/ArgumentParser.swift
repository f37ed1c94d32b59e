import DatabusCore

/// What a command line asks for.
public enum Invocation: Sendable {
  case run(Command, ParsedArguments)
  /// Help of a command; its path begins with the program's name.
  case help(Command, path: [String])
}

/// Takes a command line apart by the declarations. `--name VALUE`, `--name=VALUE`, `-n VALUE`, flags, operands between
/// options, and `--` behind which everything is an operand.
public struct ArgumentParser {
  private let command: Command
  private let path: [String]
  private var arguments: ParsedArguments
  private var operands: [String] = []
  private var problems: [UsageError.Problem] = []
  private var wantsHelp = false

  private init(_ command: Command, path: [String]) {
    self.command = command
    self.path = path
    arguments = ParsedArguments(command: command)
  }

  /// - Parameter words: without the program's name.
  public static func parse(_ words: [String], program: Command) throws(UsageError) -> Invocation {
    var command = program
    var path = [program.name]
    var rest = words[...]
    while !command.subcommands.isEmpty {
      // One that does something by itself is meant itself where no word follows.
      if command.run != nil, rest.first?.hasPrefix("-") ?? true { break }
      guard let word = rest.first else { return .help(command, path: path) }
      if word == "--help" || word == "-h" { return .help(command, path: path) }
      if word == "--version", path.count == 1, let version = command.subcommand("version") {
        return .run(version, ParsedArguments(command: version))
      }
      guard let next = command.subcommand(word) else {
        let names = command.subcommands.filter { !$0.isHidden }.map(\.name)
        let what = word.hasPrefix("-") ? "unknown option \(word)" : "there is no subcommand \"\(word)\""
        throw UsageError(
          command: path.joined(separator: " "),
          problems: [.init(message: what, hint: word.hasPrefix("-") ? nil : Spelling.hint(for: word, among: names))])
      }
      command = next
      path.append(word)
      rest = rest.dropFirst()
    }
    var parser = ArgumentParser(command, path: path)
    parser.read(Array(rest))
    if parser.wantsHelp { return .help(command, path: path) }
    parser.assignOperands()
    parser.checkRequired()
    guard parser.problems.isEmpty else {
      throw UsageError(command: path.joined(separator: " "), problems: parser.problems)
    }
    return .run(command, parser.arguments)
  }

  private mutating func report(_ message: String, _ hint: String? = nil) {
    problems.append(.init(message: message, hint: hint))
  }

  private mutating func read(_ words: [String]) {
    var index = 0
    while index < words.count {
      let word = words[index]
      index += 1
      if word == "--" {
        operands += words[index...]
        return
      }
      guard word.hasPrefix("-"), word != "-" else {
        operands.append(word)
        continue
      }
      let (name, attached) = split(word)
      guard let option = find(name) else {
        // The value of what was probably meant is not one argument too many.
        if reportUnknown(name)?.kind != nil, attached == nil, index < words.count, !words[index].hasPrefix("-") {
          index += 1
        }
        continue
      }
      if option.name == "help" { wantsHelp = true }
      guard let kind = option.kind else {
        if attached != nil { report("--\(option.name) takes no value") }
        arguments.set(flag: option.name)
        continue
      }
      let value: String
      if let attached {
        value = attached
      } else if index < words.count, words[index] == "-" || !words[index].hasPrefix("-") || isNumber(words[index]) {
        value = words[index]
        index += 1
      } else {
        report("--\(option.name) needs a value: --\(option.name) \(option.placeholder)")
        continue
      }
      if arguments.hasOption(option.name), !option.isRepeatable { report("--\(option.name) is given twice") }
      check(value, kind, of: "--\(option.name)")
      arguments.append(value, toOption: option.name)
    }
  }

  /// `--name=value` and `-nvalue`.
  private func split(_ word: String) -> (name: String, value: String?) {
    if word.hasPrefix("--") {
      guard let equals = word.firstIndex(of: "=") else { return (word, nil) }
      return (String(word[..<equals]), String(word[word.index(after: equals)...]))
    }
    let name = String(word.prefix(2))
    return (name, word.count > 2 ? String(word.dropFirst(2)) : nil)
  }

  private func find(_ name: String) -> Option? {
    if name.hasPrefix("--") { return command.allOptions.first { "--\($0.name)" == name } }
    return command.allOptions.first { option in option.short.map { "-\($0)" == name } ?? false }
  }

  private func isNumber(_ word: String) -> Bool { Int(word) != nil }

  /// - Returns: the option that was probably meant.
  private mutating func reportUnknown(_ name: String) -> Option? {
    let near = Spelling.nearest(to: name, among: command.allOptions.map { "--\($0.name)" })
    report("unknown option \(name)", near.map { "did you mean \($0)?" })
    return near.flatMap(find)
  }

  private mutating func check(_ value: String, _ kind: ArgumentKind, of what: String) {
    switch kind {
    case .string: break
    case .file:
      if value.isEmpty { report("\(what) is an empty path") }
    case .integer(let range):
      guard let number = Int(value), range.contains(number) else {
        return report("\(what): \"\(value)\" is no whole number from \(range.lowerBound) to \(range.upperBound)")
      }
    case .duration:
      if Quantity.duration(value) == nil {
        report("\(what): \"\(value)\" is no duration", "write one like \"250ms\", \"1s\" or \"5m\"")
      }
    case .size:
      if Quantity.size(value) == nil {
        report("\(what): \"\(value)\" is no size", "write one like \"64KiB\" or \"16MiB\"")
      }
    case .choice(let choices):
      if !choices.contains(value) {
        report("\(what): \"\(value)\" is not permitted", Spelling.hint(for: value, among: choices))
      }
    }
  }

  private mutating func assignOperands() {
    var rest = operands[...]
    for operand in command.operands {
      switch operand.count {
      case .one, .optional:
        guard let value = rest.popFirst() else {
          if case .one = operand.count { report("\(operand.name) is missing", operand.summary) }
          continue
        }
        check(value, operand.kind, of: operand.name)
        arguments.append(value, toOperand: operand.name)
      case .any, .several:
        if rest.isEmpty, case .several = operand.count { report("\(operand.name) is missing", operand.summary) }
        while let value = rest.popFirst() {
          check(value, operand.kind, of: operand.name)
          arguments.append(value, toOperand: operand.name)
        }
      }
    }
    for value in rest {
      let isSubcommand = command.subcommand(value) != nil
      report("\"\(value)\" is one argument too many", isSubcommand ? "write a subcommand before all options" : nil)
    }
  }

  private mutating func checkRequired() {
    for option in command.options where option.isRequired && !arguments.hasOption(option.name) {
      report("--\(option.name) \(option.placeholder) is missing", option.summary)
    }
  }
}
