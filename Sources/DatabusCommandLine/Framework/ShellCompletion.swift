/// Completion scripts for shells, from the declarations.
public enum ShellCompletion: String, CaseIterable, Sendable {
  case bash, zsh, fish

  public func script(for program: Command) -> String {
    let commands = ShellCompletion.flatten(program, path: [])
    switch self {
    case .bash: return ShellCompletion.bash(program.name, commands)
    case .zsh: return ShellCompletion.zsh(program.name, commands)
    case .fish: return ShellCompletion.fish(program.name, commands)
    }
  }

  private struct Entry {
    var path: [String]
    var command: Command
  }

  private static func flatten(_ command: Command, path: [String]) -> [Entry] {
    [Entry(path: path, command: command)]
      + command.subcommands.filter { !$0.isHidden }.flatMap { flatten($0, path: path + [$0.name]) }
  }

  /// What may follow the words of an entry.
  private static func words(_ command: Command) -> [String] {
    var words = command.subcommands.filter { !$0.isHidden }.map(\.name)
    words += command.allOptions.map { "--\($0.name)" }
    for operand in command.operands {
      if case .choice(let choices) = operand.kind { words += choices }
    }
    return words
  }

  private static func takesFile(_ command: Command) -> Bool {
    command.operands.contains { if case .file = $0.kind { true } else { false } }
  }

  /// Finds the subcommand among the words typed so far, in bash and zsh alike. `$found` is then its path.
  private static func walk(_ entries: [Entry]) -> String {
    let known = entries.dropFirst().map { "\"\($0.path.joined(separator: " "))\"" }.joined(separator: "|")
    return """
        local found="" word
        for word in "${typed[@]}"; do
          case "${found:+$found }$word" in
            \(known)) found="${found:+$found }$word" ;;
          esac
        done
      """
  }

  /// The values that may follow the word before the one that is typed.
  private static func valueCases(_ entries: [Entry], choices: (String) -> String, files: String) -> String {
    var seen: Set<String> = []
    var text = ""
    for option in entries.flatMap(\.command.allOptions) where seen.insert(option.name).inserted {
      switch option.kind {
      case .file: text += "      --\(option.name)) \(files) ;;\n"
      case .choice(let values): text += "      --\(option.name)) \(choices(values.joined(separator: " "))) ;;\n"
      case nil: break
      default: text += "      --\(option.name)) return ;;\n"
      }
    }
    return text
  }

  private static func bash(_ name: String, _ entries: [Entry]) -> String {
    let function = "_\(identifier(name))"
    let cases = entries.map { entry in
      let files = takesFile(entry.command) ? " $(compgen -f -- \"$current\")" : ""
      return "      \"\(entry.path.joined(separator: " "))\") "
        + "COMPREPLY=($(compgen -W \"\(words(entry.command).joined(separator: " "))\" -- \"$current\")\(files)) ;;"
    }
    return """
      # bash completion for \(name): source <(\(name) completion bash)
      \(function)() {
        local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"
        local typed=("${COMP_WORDS[@]:1:COMP_CWORD-1}")
        case "$previous" in
      \(valueCases(entries, choices: { "COMPREPLY=($(compgen -W \"\($0)\" -- \"$current\")); return" }, files: "COMPREPLY=($(compgen -f -- \"$current\")); return"))  esac
      \(walk(entries))
        case "$found" in
      \(cases.joined(separator: "\n"))
        esac
      }
      complete -o filenames -F \(function) \(name)

      """
  }

  private static func zsh(_ name: String, _ entries: [Entry]) -> String {
    let function = "_\(identifier(name))"
    let cases = entries.map { entry in
      let files = takesFile(entry.command) ? "; _files" : ""
      return "      \"\(entry.path.joined(separator: " "))\") compadd -- "
        + "\(words(entry.command).joined(separator: " "))\(files) ;;"
    }
    return """
      #compdef \(name)
      # zsh completion for \(name): \(name) completion zsh > "${fpath[1]}/_\(name)"
      \(function)() {
        local previous="${words[CURRENT-1]}"
        local -a typed
        typed=("${(@)words[2,CURRENT-1]}")
        case "$previous" in
      \(valueCases(entries, choices: { "compadd -- \($0); return" }, files: "_files; return"))  esac
      \(walk(entries))
        case "$found" in
      \(cases.joined(separator: "\n"))
        esac
      }
      if [ "$funcstack[1]" = "\(function)" ]; then \(function) "$@"; else compdef \(function) \(name); fi

      """
  }

  private static func fish(_ name: String, _ entries: [Entry]) -> String {
    var text = "# fish completion for \(name): \(name) completion fish | source\ncomplete -c \(name) -f\n"
    for entry in entries {
      let path = entry.path
      let next = entry.command.subcommands.filter { !$0.isHidden }
      var condition = path.map { "__fish_seen_subcommand_from \($0)" }
      if !next.isEmpty {
        condition.append("not __fish_seen_subcommand_from \(next.map(\.name).joined(separator: " "))")
      }
      let start =
        "complete -c \(name)" + (condition.isEmpty ? "" : " -n \(quote(condition.joined(separator: "; and ")))")
      for command in next { text += "\(start) -a \(command.name) -d \(quote(command.summary))\n" }
      for option in entry.command.allOptions {
        var line = "\(start) -l \(option.name)"
        if let short = option.short { line += " -s \(short)" }
        switch option.kind {
        case nil: break
        case .file: line += " -r -F"
        case .choice(let values): line += " -x -a \(quote(values.joined(separator: " ")))"
        default: line += " -x"
        }
        text += "\(line) -d \(quote(option.summary))\n"
      }
      for operand in entry.command.operands {
        switch operand.kind {
        case .file: text += "\(start) -F\n"
        case .choice(let values): text += "\(start) -a \(quote(values.joined(separator: " ")))\n"
        default: break
        }
      }
    }
    return text
  }

  private static func quote(_ text: String) -> String {
    var quoted = ""
    for character in text { quoted += character == "'" || character == "\\" ? "\\\(character)" : String(character) }
    return "'\(quoted)'"
  }

  private static func identifier(_ name: String) -> String {
    String(name.map { $0.isLetter || $0.isNumber ? $0 : "_" })
  }
}
