/// The help of a command, from its declaration.
public enum HelpText {
  /// - Parameters:
  ///   - path: the words that call the command: `["databus", "rules", "put"]`.
  ///   - width: columns to fit into.
  public static func write(_ command: Command, path: [String], width: Int) -> String {
    let name = path.joined(separator: " ")
    var text = "\(command.summary).\n\nUsage: \(usage(command, name))\n"
    if !command.discussion.isEmpty { text += "\n\(command.discussion)\n" }
    section("Subcommands", command.subcommands.filter { !$0.isHidden }.map { ($0.name, $0.summary) }, width, &text)
    section("Arguments", command.operands.map { (operand($0), $0.summary) }, width, &text)
    section("Options", command.allOptions.map { (option($0), $0.summary) }, width, &text)
    if !command.examples.isEmpty {
      text += "\nExamples:\n"
      for example in command.examples { text += "  \(example.line)\n      \(example.explanation)\n" }
    }
    if !command.subcommands.isEmpty { text += "\n'\(name) SUBCOMMAND --help' shows more about one of them.\n" }
    return text
  }

  static func usage(_ command: Command, _ name: String) -> String {
    if command.run == nil { return "\(name) SUBCOMMAND ..." }
    var words = [name]
    for option in command.options {
      let word = option.kind == nil ? "--\(option.name)" : "--\(option.name) \(option.placeholder)"
      words.append(option.isRequired ? word : "[\(word)]")
    }
    words += command.operands.map(operand)
    let line = words.joined(separator: " ")
    return command.subcommands.isEmpty ? line : "\(line)\n       \(name) SUBCOMMAND ..."
  }

  private static func operand(_ operand: Operand) -> String {
    switch operand.count {
    case .one: operand.name
    case .optional: "[\(operand.name)]"
    case .any: "[\(operand.name) ...]"
    case .several: "\(operand.name) ..."
    }
  }

  private static func option(_ option: Option) -> String {
    let short = option.short.map { "-\($0), " } ?? "    "
    return "\(short)--\(option.name)\(option.kind == nil ? "" : " \(option.placeholder)")"
  }

  private static func section(_ title: String, _ rows: [(String, String)], _ width: Int, _ text: inout String) {
    guard !rows.isEmpty else { return }
    text += "\n\(title):\n"
    let column = min(rows.map(\.0.count).max() ?? 0, 30) + 4
    for (left, right) in rows {
      text += "  \(left)"
      var used = left.count + 2
      if used + 2 > column {
        text += "\n"
        used = 0
      }
      text += String(repeating: " ", count: column - used)
      let lines = wrap(right, to: max(width - column, 24))
      text += lines.joined(separator: "\n" + String(repeating: " ", count: column)) + "\n"
    }
  }

  private static func wrap(_ text: String, to width: Int) -> [String] {
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + 1 + word.count > width {
        lines.append(line)
        line = ""
      }
      line += line.isEmpty ? String(word) : " \(word)"
    }
    lines.append(line)
    return lines
  }
}
