import DatabusCommandLine
import Testing

/// Examples of help are command lines that the program takes.
struct HelpExampleTests {
  /// The calls of `databus` in a line of shell: words without quotes, up to a pipe, a redirection or the next command.
  private func calls(in line: String) -> [[String]] {
    var calls: [[String]] = []
    var words: [String] = []
    var word: String?
    var quote: Character?
    func endWord() {
      if let whole = word { words.append(whole) }
      word = nil
    }
    func endCall() {
      endWord()
      if words.first == "databus" { calls.append(Array(words.dropFirst())) }
      words = []
    }
    var isSkipping = false
    for character in line {
      if let open = quote {
        if character == open { quote = nil } else { word = (word ?? "") + String(character) }
      } else {
        switch character {
        case "'", "\"":
          quote = character
          word = word ?? ""
        case "|", ";", "&", "(", ")":
          endCall()
          isSkipping = false
        case "<", ">":
          // The file behind it, and the descriptor's number before it, are the shell's.
          if word == "2" { word = nil }
          endCall()
          isSkipping = true
        case " ": isSkipping ? () : endWord()
        default: if !isSkipping { word = (word ?? "") + String(character) }
        }
      }
    }
    if !isSkipping { endCall() }
    return calls
  }

  private func commands(_ command: Command) -> [Command] { [command] + command.subcommands.flatMap(commands) }

  @Test func everyExampleIsACommandLineThatIsTaken() {
    var count = 0
    for command in commands(DatabusCommand.program) {
      for example in command.examples {
        for words in calls(in: example.line) {
          count += 1
          do {
            let invocation = try ArgumentParser.parse(words, program: DatabusCommand.program)
            if case .help = invocation, !words.contains("--help") { Issue.record("no whole command: \(example.line)") }
          } catch {
            Issue.record("\(example.line): \(error)")
          }
        }
      }
    }
    #expect(count > 30)
  }

  @Test func callsAreFoundInLinesOfShell() {
    #expect(calls(in: "databus route --rules 'a b' < x > y") == [["route", "--rules", "a b"]])
    #expect(calls(in: "a | databus tail x | jq .y") == [["tail", "x"]])
    #expect(
      calls(in: "databus events send e && databus status --wait-idle") == [
        ["events", "send", "e"], ["status", "--wait-idle"],
      ])
    #expect(calls(in: "source <(databus completion bash)") == [["completion", "bash"]])
    #expect(calls(in: "databus run 2>> log") == [["run"]])
  }
}
