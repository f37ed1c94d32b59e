import DatabusCommandLine
import DatabusCore
import Testing

struct ArgumentParserTests {
  static let program = Command(
    "tool", summary: "A tool",
    subcommands: [
      Command(
        "send", summary: "Send files",
        options: [
          .config, .json, .value("rate", "N", short: "r", kind: .integer(1...100), "Files a second"),
          .value("wait", "TIME", kind: .duration, "How long to wait"),
          .value("most", "SIZE", kind: .size, "The largest file"),
          .value("header", "TEXT", repeatable: true, "A header"),
          .value("mode", "MODE", kind: .choice(["fast", "safe"]), "How"),
        ], operands: [Operand("STREAM", "Where to"), Operand("FILE", kind: .file, count: .any, "What")]
      ) { _, _ in .done },
      Command(
        "topics", summary: "Topics",
        subcommands: [
          Command("list", summary: "List them") { _, _ in .done },
          Command(
            "create", summary: "Make one",
            options: [.value("partitions", "N", kind: .integer(1...9), required: true, "How many")]
          ) { _, _ in .done },
        ]),
    ])

  private func parse(_ words: String...) throws -> ParsedArguments {
    guard case .run(_, let arguments) = try ArgumentParser.parse(words, program: ArgumentParserTests.program) else {
      throw CommandFailure(.failed, "help was asked for")
    }
    return arguments
  }

  private func problems(_ words: String...) -> [UsageError.Problem] {
    do throws(UsageError) {
      _ = try ArgumentParser.parse(words, program: ArgumentParserTests.program)
      return []
    } catch {
      return error.problems
    }
  }

  @Test func optionsMayStandAnywhereAndInEachForm() throws {
    let arguments = try parse(
      "send", "--rate=5", "events", "-c", "file.json", "--wait", "250ms", "--json", "a", "--most", "16MiB", "--header",
      "x", "--header", "y", "-", "--", "--json")
    #expect(arguments.integer("rate") == 5)
    #expect(arguments.value("config") == "file.json")
    #expect(arguments.duration("wait") == .milliseconds(250))
    #expect(arguments.size("most") == 16 << 20)
    #expect(arguments.flag("json"))
    #expect(!arguments.flag("help"))
    #expect(arguments.values("header") == ["x", "y"])
    #expect(arguments.operand("STREAM") == "events")
    #expect(arguments.operands("FILE") == ["a", "-", "--json"])
    #expect(try parse("send", "-r7", "s").integer("rate") == 7)
  }

  @Test func nestedSubcommandsHaveTheirOwnOptions() throws {
    #expect(try parse("topics", "create", "--partitions", "3").integer("partitions") == 3)
    #expect(try parse("topics", "list").command.name == "list")
  }

  @Test(
    "a wrong command line is told with a way out",
    arguments: [
      (["sned"], "there is no subcommand \"sned\"", "did you mean \"send\"?"),
      (["topics", "lits"], "there is no subcommand \"lits\"", "did you mean \"list\"?"),
      (["send", "s", "--confg", "f"], "unknown option --confg", "did you mean --config?"),
      (["send"], "STREAM is missing", "Where to"),
      (["send", "s", "--rate"], "--rate needs a value: --rate N", nil),
      (["send", "s", "--rate", "--json"], "--rate needs a value: --rate N", nil),
      (["send", "s", "--rate", "101"], "--rate: \"101\" is no whole number from 1 to 100", nil),
      (["send", "s", "--rate", "-1"], "--rate: \"-1\" is no whole number from 1 to 100", nil),
      (["send", "s", "--rate", "1", "--rate", "2"], "--rate is given twice", nil),
      (["send", "s", "--json=1"], "--json takes no value", nil),
      (
        ["send", "s", "--wait", "5"], "--wait: \"5\" is no duration", "write one like \"250ms\", \"1s\" or \"5m\""
      ),
      (["send", "s", "--most", "x"], "--most: \"x\" is no size", "write one like \"64KiB\" or \"16MiB\""),
      (["send", "s", "--mode", "fsat"], "--mode: \"fsat\" is not permitted", "did you mean \"fast\"?"),
      (["topics", "list", "x"], "\"x\" is one argument too many", nil),
      (["topics", "create"], "--partitions N is missing", "How many"),
    ] as [([String], String, String?)])
  func usage(_ words: [String], _ message: String, _ hint: String?) {
    do throws(UsageError) {
      _ = try ArgumentParser.parse(words, program: ArgumentParserTests.program)
      Issue.record("\(words) was taken")
    } catch {
      #expect(error.problems == [.init(message: message, hint: hint)])
      #expect(error.description.hasPrefix("\(error.command): \(message)"))
    }
  }

  @Test func allProblemsAreToldAtOnce() {
    #expect(problems("send", "--rate", "x", "--nothing-like-it").count == 3)
  }

  @Test func helpIsShownWhateverElseIsWrong() throws {
    let invocation = try ArgumentParser.parse(["send", "--help", "--rate", "x"], program: ArgumentParserTests.program)
    guard case .help(let command, let path) = invocation else {
      Issue.record("no help")
      return
    }
    #expect(command.name == "send")
    #expect(path == ["tool", "send"])
  }

  @Test func helpShowsUsageArgumentsOptionsAndExamples() {
    guard let command = DatabusCommand.program.subcommand("validate") else {
      Issue.record("no validate")
      return
    }
    let help = HelpText.write(command, path: ["databus", "validate"], width: 60)
    #expect(help.contains("Usage: databus validate [--config FILE] [--json]\n"))
    #expect(help.contains("  -c, --config FILE  "))
    #expect(help.contains("Examples:\n  databus validate\n      Check"))
    let options = help.split(separator: "\n").filter { $0.hasPrefix("  -") || $0.hasPrefix("      -") }
    #expect(options.count == 3 && options.allSatisfy { $0.count <= 60 })
  }

  @Test func everySubcommandTeachesWithAnExample() {
    func check(_ command: Command) {
      #expect(!command.examples.isEmpty, "\(command.name)")
      #expect(!command.summary.hasSuffix("."), "\(command.name)")
      for one in command.subcommands { check(one) }
    }
    check(DatabusCommand.program)
  }
}
