import DatabusCore
import Synchronization
import Testing

final class CollectingLogSink: LogSink {
  private let collected = Mutex<[LogLine]>([])
  var lines: [LogLine] { collected.withLock { $0 } }
  func write(_ line: LogLine) { collected.withLock { $0.append(line) } }
}

struct LoggerTests {
  static let line = LogLine(
    level: .warning, timestamp: 1_795_398_001_250, part: "router", what: "rule refused\u{1B}[31m", place: "rules/0/7",
    remedy: "send it again", fields: [LogField("rule", "a b"), LogField("count", 3), LogField("ok", false)])

  private func text(_ format: LogFormat, _ line: LogLine = LoggerTests.line) -> String {
    var buffer = ByteBuffer()
    format.append(line, to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
  }

  @Test func aLevelThatIsOffIsNotEvaluated() {
    let sink = CollectingLogSink()
    let logger = Logger(part: "router", minimum: .warning, sink: sink)
    var evaluations = 0
    func what() -> String {
      evaluations += 1
      return "something"
    }
    logger.info(what())
    Logger.off.error(what())
    #expect(evaluations == 0)
    logger.warning(what(), remedy: "do it")
    #expect(evaluations == 1)
    #expect(sink.lines.map(\.remedy) == ["do it"])
    #expect(sink.lines.map(\.part) == ["router"])
  }

  @Test func peopleReadALineAndTheRemedyBelow() {
    #expect(
      text(.text(color: false)) == """
        01:40:01.250 warning router: rule refused [31m (rules/0/7) rule="a b" count=3 ok=false
            send it again

        """)
  }

  @Test func colorIsOnlyWhereItWasAskedFor() {
    #expect(text(.text(color: true)).contains("\u{1B}[33mwarning\u{1B}[0m"))
    #expect(!text(.text(color: false)).contains("\u{1B}"))
    #expect(!DescriptorLogSink.allowsColor { $0 == "NO_COLOR" ? "1" : nil })
    #expect(DescriptorLogSink.allowsColor { $0 == "NO_COLOR" ? "" : nil })
    #expect(!DescriptorLogSink.allowsColor { $0 == "TERM" ? "dumb" : nil })
  }

  @Test func scriptsReadOneJSONObject() throws {
    let json = text(.json)
    #expect(json.last == "\n" && !json.dropLast().contains("\n"))
    let value = try JSONDocument.value(of: Array(json.utf8))
    #expect(value["time"]?.string == "2026-11-23T01:40:01.250Z")
    #expect(value["level"]?.string == "warning")
    #expect(value["where"]?.string == "rules/0/7")
    #expect(value["fields"]?["count"]?.integer == 3)
    #expect(value["fields"]?["ok"]?.bool == false)
  }

  @Test func jsonHasNoInfinity() throws {
    let line = LogLine(level: .info, timestamp: 0, part: "p", what: "w", fields: [LogField("rate", Double.infinity)])
    #expect(try JSONDocument.value(of: Array(text(.json, line).utf8))["fields"]?["rate"]?.isNull == true)
  }
}
