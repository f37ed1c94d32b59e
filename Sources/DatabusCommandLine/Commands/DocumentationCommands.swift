import DatabusCore

extension DatabusCommand {
  static let schema = Command(
    "schema", summary: "Write the JSON Schema of the configuration or of a rule",
    discussion: """
      The schemas (draft 2020-12) are made from the declarations that decode and check: that of the configuration with the
      transports and state backends of this program. Editors use it for completion and checks: name it in the file as
      "$schema".
      """,
    examples: [
      .init("databus schema > databus.schema.json", "Then write \"$schema\": \"databus.schema.json\"."),
      .init("databus schema rule > rule.schema.json", "For programs that write rules."),
    ],
    operands: [
      Operand("SUBJECT", kind: .choice(["config", "rule"]), count: .optional, "What the schema is of (config)")
    ]
  ) { arguments, context in
    let isRule = arguments.operand("SUBJECT") == "rule"
    try context.output.write(isRule ? ConfigurationSchema.ruleJSON() : ConfigurationSchema.json(context.registry))
    return .done
  }

  static let reference = Command(
    "reference", summary: "Write the reference page of the configuration as Markdown",
    discussion: "Every key with its values, default and meaning, made from the declarations that decode the file.",
    examples: [.init("databus reference > docs/configuration.md", "Make the page anew.")]
  ) { _, context in
    try context.output.write(ConfigurationSchema.referencePage(context.registry))
    return .done
  }

  static let completion = Command(
    "completion", summary: "Write a completion script for a shell",
    examples: [
      .init("source <(databus completion bash)", "For this shell."),
      .init("databus completion zsh > \"${fpath[1]}/_databus\"", "For every zsh from now on."),
      .init("databus completion fish > ~/.config/fish/completions/databus.fish", "For every fish from now on."),
    ],
    operands: [Operand("SHELL", kind: .choice(ShellCompletion.allCases.map(\.rawValue)), "bash, zsh or fish")]
  ) { arguments, context in
    guard let shell = arguments.operand("SHELL").flatMap(ShellCompletion.init) else { return .usage }
    try context.output.write(shell.script(for: context.program))
    return .done
  }

  static let help = Command(
    "help", summary: "Show the help of a subcommand",
    examples: [.init("databus help validate", "The same as 'databus validate --help'.")],
    operands: [Operand("SUBCOMMAND", count: .any, "The subcommand's words")]
  ) { arguments, context in
    let words = arguments.operands("SUBCOMMAND")
    guard case .help(let command, let path) = try ArgumentParser.parse(words + ["--help"], program: context.program)
    else { return .usage }
    try context.output.write(HelpText.write(command, path: path, width: context.terminal.width ?? 100))
    return .done
  }

  static let versionCommand = Command(
    "version", summary: "Show the version of this program",
    examples: [.init("databus version", "For a bug report.")]
  ) { _, context in
    try context.output.write("\(context.program.name) \(version)\n")
    return .done
  }
}
