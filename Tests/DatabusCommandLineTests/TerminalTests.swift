import DatabusCommandLine
import DatabusCore
import Synchronization
import Testing

final class StandingClock: EngineClock {
  private let nanoseconds = Atomic<UInt64>(0)
  func advance(_ duration: Duration) { nanoseconds.add(duration.wholeNanoseconds, ordering: .relaxed) }
  func now() -> Instant { Instant(nanoseconds: nanoseconds.load(ordering: .relaxed)) }
  func wallMilliseconds() -> Int64 { 0 }
  func sleep(until moment: Instant) async throws {}
}

struct TerminalTests {
  @Test func columnsAreAligned() {
    var table = Table([("name", .left), ("count", .right)])
    table.add(["a", "1"])
    table.add(["longer", "1000"])
    #expect(table.text(width: nil) == "name    count\na           1\nlonger   1000\n")
  }

  @Test(arguments: [20, 30, 40, 60])
  func theWidestColumnIsCutUntilALineFits(_ width: Int) {
    var table = Table(["id", "value"])
    table.add(["12345678", String(repeating: "x", count: 100)])
    let lines = table.text(width: width).split(separator: "\n")
    #expect(lines.allSatisfy { $0.count <= width })
    #expect(lines.last?.hasPrefix("12345678") == true && lines.last?.last == "…")
  }

  @Test func inputCannotSteerTheTerminal() {
    var table = Table(["x"])
    table.add(["a\u{1B}[2Jb\nc\u{9B}d"])
    #expect(table.text(width: nil) == "x\na [2Jb c d\n")
  }

  @Test func progressIsOneLineThatIsWrittenOverAndRemoved() throws {
    let output = Output(descriptor: nil, isTerminal: true)
    let clock = StandingClock()
    var progress = ProgressLine(output, width: 10, clock: clock)
    try progress.update("1 of 3")
    try progress.update("too soon")
    clock.advance(.milliseconds(100))
    try progress.update("2 of 3 and more")
    try progress.clear()
    #expect(output.text == "\r\u{1B}[K1 of 3\r\r\u{1B}[K2 of 3 an\r\r\u{1B}[K")
  }

  @Test func progressIsNothingWhereNobodyWatches() throws {
    let output = Output(descriptor: nil)
    var progress = ProgressLine(output)
    try progress.update("1 of 3")
    try progress.clear()
    #expect(output.text.isEmpty)
  }
}
