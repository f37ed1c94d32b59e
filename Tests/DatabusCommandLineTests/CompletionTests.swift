import DatabusCommandLine
import Foundation
import Testing

struct CompletionTests {
  /// What bash offers behind these words.
  private func bash(_ words: [String]) throws -> [String] {
    let script =
      ShellCompletion.bash.script(for: ArgumentParserTests.program) + """
        COMP_WORDS=(\(words.map { "'\($0)'" }.joined(separator: " ")))
        COMP_CWORD=\(words.count - 1)
        _tool
        printf '%s\\n' "${COMPREPLY[@]}"
        """
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", script]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let bytes = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
  }

  @Test func bashOffersWhatCanFollow() throws {
    #expect(try bash(["tool", ""]) == ["send", "topics", "--help"])
    #expect(try bash(["tool", "to"]) == ["topics"])
    #expect(try bash(["tool", "topics", ""]) == ["list", "create", "--help"])
    #expect(try bash(["tool", "topics", "create", "--p"]) == ["--partitions"])
    #expect(try bash(["tool", "send", "--mode", ""]) == ["fast", "safe"])
    #expect(try bash(["tool", "send", "--config", "/bin/bas"]).contains("/bin/bash"))
  }

  @Test(arguments: ShellCompletion.allCases)
  func everyShellKnowsEverySubcommandAndOption(_ shell: ShellCompletion) {
    let script = shell.script(for: ArgumentParserTests.program)
    for word in ["send", "topics", "list", "create", "partitions", "rate", "fast safe"] {
      #expect(script.contains(word), "\(word)")
    }
  }

  @Test func hiddenSubcommandsAreNotOffered() {
    let program = Command(
      "tool", summary: "A tool",
      subcommands: [Command("secret", summary: "Hidden", isHidden: true) { _, _ in .done }])
    for shell in ShellCompletion.allCases { #expect(!shell.script(for: program).contains("secret")) }
    #expect(!HelpText.write(program, path: ["tool"], width: 80).contains("secret"))
  }
}
