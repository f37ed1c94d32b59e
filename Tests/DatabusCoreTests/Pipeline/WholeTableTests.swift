import DatabusCore
import MemoryTransport
import Synchronization
import Testing

@Suite(.timeLimit(.minutes(1))) struct WholeTableTests {
  @Test func aStreamThatIsMadeAnewWhileItIsReadAtTheStartIsReadInItsNewLife() async throws {
    let fixture = PipelineFixture()
    for number in 0..<50 { try fixture.rule("r\(number)") }
    try fixture.events(0..<1)
    let isRenewed = Mutex(false)
    let transport = InterposedTransport(
      base: MemoryTransport(fixture.memory.log),
      afterBounds: {
        let isFirst = isRenewed.withLock { isRenewed in
          defer { isRenewed = true }
          return !isRenewed
        }
        guard isFirst else { return }
        fixture.control.recreate("rules")
        for number in 0..<20 { try fixture.rule("n\(number)") }
      })
    let process = fixture.start(rulesTransport: transport)
    await eventually("it is ready") { await process.pipeline.presence().isReady }
    await eventually("results") { fixture.committed() == 1 }
    #expect(fixture.results.count == 20)
    try await process.stop()
  }

  /// One record at a time: a whole table that is read in part must not be seen.
  private func wholeTables(_ fixture: PipelineFixture) -> InterposedTransport {
    InterposedTransport(base: MemoryTransport(fixture.memory.log), isWholeTable: true, records: 1)
  }

  private func run(_ fixture: PipelineFixture) async throws {
    let transport = wholeTables(fixture)
    try await fixture.start(stopsWhenIdle: true, rulesTransport: transport).task.value
  }

  @Test func whatDoesNotStandInTheTableAnyMoreIsGone() async throws {
    let fixture = PipelineFixture()
    for id in ["r", "s", "t"] { try fixture.rule(id) }
    try fixture.memory.append(to: "rules", key: "u", #"{"ruleId":"u","events":0}"#)
    try fixture.events(0..<1)
    try await run(fixture)
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["r", "s", "t"])
    fixture.control.recreate("rules")
    try fixture.rule("s")
    try fixture.rule("v")
    try fixture.events(1..<2)
    try await run(fixture)
    #expect(fixture.results.dropFirst(3).compactMap { $0["rule"]?.string } == ["s", "v"])
  }

  @Test func aTableThatIsReplacedWhileItRunsIsSeenWholeOrNotAtAll() async throws {
    let fixture = PipelineFixture()
    for number in 0..<50 { try fixture.rule("r\(number)") }
    let transport = wholeTables(fixture)
    let process = fixture.start(rulesTransport: transport)
    await eventually("it is ready") { await process.pipeline.presence().isReady }
    fixture.control.recreate("rules")
    for number in 0..<20 { try fixture.rule("r\(number)") }
    await eventually("the new table") { await process.pipeline.presence().ruleCount == 20 }
    try fixture.events(0..<1)
    await eventually("results") { fixture.committed() == 1 }
    #expect(fixture.results.count == 20)
    try await process.stop()
  }

  @Test func thePartitionsOfATableDoNotRemoveEachOthersRules() async throws {
    let fixture = PipelineFixture()
    try await fixture.memory.createTopic("rules", partitions: 2)
    try fixture.memory.append(to: "rules", partition: 0, PipelineFixture.rule)
    try fixture.memory.append(to: "rules", partition: 1, PipelineFixture.rule.replacing("\"r\"", with: "\"s\""))
    for number in 0..<2 {
      try fixture.events(number..<number + 1)
      try await run(fixture)
    }
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["r", "s", "r", "s"])
  }
}

@Suite(.timeLimit(.minutes(1))) struct WorkersTests {
  @Test func theBytesAreTheSameWhateverTheNumberOfWorkers() async throws {
    var seen: [[String]] = []
    for workers in [1, 2, 5] {
      let fixture = PipelineFixture(nonce: "fixed")
      try fixture.rule("r", ["a*"])
      try fixture.rule("s", ["a1"])
      for number in 0..<3000 {
        let text =
          number % 50 == 0 ? "broken \(number)" : #"{"type":"a\#(number % 3)","n":\#(number),"x":"\#(number * 7)"}"#
        try fixture.memory.append(to: "events", value: Array(text.utf8), timestamp: Int64(number))
      }
      try await fixture.runUntilIdle(limits: Limits(batchRecords: 40), workers: workers)
      seen.append(fixture.memory.records(of: "results-http").map(\.text))
      #expect(fixture.deadLetters.count == 60)
    }
    #expect(seen[0].count > 3000)
    #expect(seen[0] == seen[1] && seen[1] == seen[2])
  }

  @Test func aProcessThatHasStoppedSaysNothingMore() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start()
    await eventually("it is ready") { await process.pipeline.presence().isReady }
    try await eventually("it says so") { try await fixture.presences().count == 1 }
    try await process.stop()
    #expect(try await fixture.presences().isEmpty)
    try await letTimePass(.seconds(3), fixture)
    #expect(try await fixture.presences().isEmpty)
  }
}
