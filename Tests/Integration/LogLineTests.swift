import Foundation
import Testing

/// A log line that somebody may have to act on says what, where, and what to do.
struct LogLineTests {
  /// A call of a logger: where it stands, and its text up to the closing parenthesis.
  private struct Call {
    var place: String
    var text: String
  }

  private static func calls(in source: String, file: String) -> [Call] {
    var calls: [Call] = []
    // By Unicode's rules "self.log" is one word.
    let logger = /\b(?:log|logger)\??\.(?:named\([^)]*\)\.)?(?:warning|error)\(/.wordBoundaryKind(.simple)
    for match in source.matches(of: logger) {
      var depth = 1
      var end = match.range.upperBound
      while depth > 0, end < source.endIndex {
        if source[end] == "(" { depth += 1 }
        if source[end] == ")" { depth -= 1 }
        end = source.index(after: end)
      }
      let line = source[..<match.range.lowerBound].count { $0 == "\n" } + 1
      calls.append(Call(place: "\(file):\(line)", text: String(source[match.range.lowerBound..<end])))
    }
    return calls
  }

  @Test func everyWarningAndErrorSaysWhereAndWhatToDo() throws {
    let sources = Repository.root.appendingPathComponent("Sources")
    let files = FileManager.default.enumerator(atPath: sources.path)?.compactMap { $0 as? String } ?? []
    var count = 0
    for file in files where file.hasSuffix(".swift") {
      for call in LogLineTests.calls(in: try Repository.text("Sources/" + file), file: file) {
        count += 1
        #expect(call.text.contains(" at: "), "\(call.place) does not say where")
        #expect(call.text.contains("remedy: "), "\(call.place) does not say what to do")
      }
    }
    #expect(count >= 20)
  }

  @Test func callsAreFoundWhole() {
    let source = """
      log.error("a (b)", at: "c")
      self.logger?.warning(
        "\\(x(y))", remedy: "z")
      log.named("a").error("b")
      dialog.error("no")
      """
    #expect(LogLineTests.calls(in: source, file: "f").map(\.place) == ["f:1", "f:2", "f:4"])
    #expect(LogLineTests.calls(in: source, file: "f").map { $0.text.last } == [")", ")", ")"])
  }
}
