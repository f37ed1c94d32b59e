import DatabusCore
import Dispatcher
import Synchronization
import Testing

/// Results that are older than what is remembered: whether they were delivered cannot be known, and that is said at start.
@Suite struct ForgottenRecordTests {
  private final class Warnings: LogSink {
    private let lines = Mutex<[LogLine]>([])
    func write(_ line: LogLine) {
      if line.level == .warning { lines.withLock { $0.append(line) } }
    }
    var all: [LogLine] { lines.withLock { $0 } }
    var logger: Logger { Logger(part: "dispatcher", sink: self) }
  }

  @Test func aStartBehindWhatIsRememberedWarnsOnceForAPartition() async throws {
    let fixture = try await DispatchFixture()
    for number in 0..<3 { try fixture.result("old-\(number)") }
    fixture.clock.advance(by: .seconds(3 * 3600))
    try fixture.result("young")
    let settings = DispatchFixture.settings { $0.memory = .seconds(3600) }
    let log = Warnings()
    try await fixture.start(settings, stopsWhenIdle: true, log: log.logger).task.value
    #expect(fixture.channel.sent.count == 4)
    #expect(log.all.map(\.place) == ["results-http/0/0"], "\(log.all)")
    let line = try #require(log.all.first)
    #expect(line.what.contains("what has arrived is remembered for 1h: repeats of what is older are not recognised"))
    #expect(line.remedy?.contains("databus positions set 0 POSITION --stream results-http") == true)
    // All of it is committed.
    try fixture.result("younger")
    try await fixture.start(settings, stopsWhenIdle: true, log: log.logger).task.value
    #expect(fixture.channel.sent.count == 5)
    #expect(log.all.count == 1)
  }

  @Test func whatHasWaitedInARetryStreamAsLongAsItHadToIsNotOld() async throws {
    let fixture = try await DispatchFixture { $0.attempts == 0 ? .status(503, $0, after: .seconds(7200)) : .ok($0) }
    let settings = DispatchFixture.settings {
      $0.memory = .seconds(3600)
      $0.retry.tiers = [.seconds(7200)]
    }
    try fixture.result("a")
    let process = try fixture.start(settings)
    await eventually("it is stored") { fixture.records(of: "results-http-retry-2h") == 1 }
    await eventually("its position is passed") { fixture.committed == 1 }
    try await process.stop()
    fixture.clock.advance(by: .seconds(7200))
    let log = Warnings()
    let next = try fixture.start(settings, log: log.logger)
    await eventually("it is tried again") { fixture.channel.sent.count == 2 }
    try await next.stop()
    #expect(log.all.isEmpty, "\(log.all)")
  }
}
