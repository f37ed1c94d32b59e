import DatabusCore
import MemoryState
import MemoryTransport
import Testing

/// Rules ahead of events, refusals, deletes, and what a restart finds.
@Suite(.timeLimit(.minutes(1))) struct RulesStreamTests {
  private func tombstone(_ fixture: PipelineFixture, _ key: String) throws {
    try fixture.memory.append(to: "rules", key: Array(key.utf8), value: nil)
  }

  private func rule(_ id: String, _ events: String, key: String?, url: String = "https://x.y") -> (String?, String) {
    (key, #"{"ruleId":"\#(id)","events":[\#(events)],"destinationUrl":"\#(url)"}"#)
  }

  private func put(_ fixture: PipelineFixture, _ record: (String?, String)) throws {
    try fixture.memory.append(to: "rules", key: record.0, record.1)
  }

  @Test(arguments: [RulesConsistency.default, .strict]) func aRuleIsInForceForEventsThatComeAfterIt(
    _ consistency: RulesConsistency
  ) async throws {
    let fixture = PipelineFixture()
    let process = fixture.start(consistency: consistency)
    await eventually("it is ready") { await process.pipeline.presence().isReady }
    for number in 0..<30 {
      // On and off: each event is decided by the rule before it.
      try fixture.rule("r", [number % 2 == 0 ? "a" : "b"])
      try fixture.events(number..<number + 1)
      let expected = UInt64(number + 1)
      await eventually("committed") { fixture.committed() == expected }
    }
    try await process.stop()
    #expect(fixture.numbers == Array(stride(from: 0, to: 30, by: 2)))
  }

  @Test func noEventIsRoutedUntilTheRulesHaveBeenReadToTheirEnd() async throws {
    let fixture = PipelineFixture()
    for number in 0..<3000 { try fixture.rule("other\(number)", ["x"]) }
    try fixture.rule()
    try fixture.events(0..<10)
    fixture.control.fail(.next, on: "rules", with: down, times: 3)
    fixture.control.fail(.bounds, on: "rules", with: down, times: 3)
    fixture.control.fail(.seek, on: "rules", with: down, times: 3)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<10))
  }

  @Test func rulesComeFromTheStateAtARestart() async throws {
    let fixture = PipelineFixture()
    for number in 0..<10 { try fixture.rule("r\(number)", ["a"]) }
    try await fixture.runUntilIdle()
    // Retention takes the records away: the rules are in the state.
    fixture.control.truncate("rules", partition: 0, before: 10)
    try fixture.events(0..<1)
    try await fixture.runUntilIdle()
    #expect(fixture.results.count == 10)
  }

  @Test func aRefusedVersionLeavesTheOneBeforeInForceAndIsOneDeadLetter() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try await fixture.runUntilIdle()
    try fixture.memory.append(to: "rules", #"{"ruleId":"r","events":["b"],"destinationUrl":"nowhere"}"#)
    try fixture.events(0..<2)
    try await fixture.runUntilIdle()
    #expect(fixture.deadLetters == ["rule_invalid r"])
    try fixture.events(2..<4)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<4))
    #expect(fixture.deadLetters.count == 1)
    // Without the state the record is read and refused again: the same dead letter.
    let again = MemoryStore()
    let pipeline = Pipeline(
      .init(
        configuration: PipelineConfiguration(
          name: "p", events: EventsConfiguration(StreamReference(transport: "m", stream: "none")),
          rules: RulesConfiguration(StreamReference(transport: "m", stream: "rules")),
          results: ResultsConfiguration(transport: "m"),
          deadLetters: StreamReference(transport: "m", stream: "p-dead-letters")),
        transports: ["m": MemoryTransport(fixture.memory.log)], state: MemoryState(again), clock: fixture.clock,
        stopsWhenIdle: true))
    try await pipeline.run()
    #expect(fixture.deadLetterIDs.count == 2)
    #expect(Set(fixture.deadLetterIDs).count == 1)
  }

  @Test func aRefusedVersionThatFollowsSeveralInOneReadKeepsTheLastValidOne() async throws {
    let fixture = PipelineFixture()
    try fixture.rule("r", ["x"])
    try await fixture.runUntilIdle()
    try fixture.rule("r", ["a"])
    try fixture.memory.append(to: "rules", #"{"ruleId":"r","events":1}"#)
    try fixture.memory.append(to: "rules", #"{"ruleId":"r","events":2}"#)
    try await fixture.runUntilIdle()
    try fixture.events(0..<1)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == [0])
    #expect(fixture.deadLetters.count == 2)
  }

  @Test func stateThatIsAwayWhileRulesAreReadLosesNoRule() async throws {
    let fixture = PipelineFixture()
    try fixture.rule("r", ["x"])
    let process = fixture.start()
    await eventually("it is ready") { await process.pipeline.presence().ruleCount == 1 }
    fixture.store.setUnavailable("away")
    try fixture.memory.append(to: "rules", #"{"ruleId":"r","events":1}"#)
    try fixture.rule("s", ["a"])
    await eventually("the rules are read") { await process.pipeline.presence().ruleCount == 2 }
    fixture.store.setUnavailable(nil)
    try fixture.events(0..<3)
    await eventually("all results") { fixture.numbers == Array(0..<3) }
    try await process.stop()
    try fixture.events(3..<4, type: "x")
    try fixture.events(4..<5)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<5))
    #expect(fixture.deadLetters == ["rule_invalid r"])
  }

  @Test func aTombstoneRemovesWhatItsKeyMadeNowAndAfterARestart() async throws {
    let fixture = PipelineFixture()
    for restarts in [false, true] {
      try put(fixture, rule("r1", "\"a\"", key: "k1"))
      try put(fixture, rule("r2", "\"a\"", key: "r2"))
      try put(fixture, rule("r3", "\"a\"", key: nil))
      try put(fixture, rule("r4", "\"a\"", key: "k4"))
      // A refused version with another key does not change which key made the rule.
      try fixture.memory.append(to: "rules", key: "other", #"{"ruleId":"r4","events":0}"#)
      if restarts { try await fixture.runUntilIdle() }
      for key in ["k1", "r2", "r3", "k4", "nothing"] { try tombstone(fixture, key) }
      try await fixture.runUntilIdle()
      let before = fixture.results.count
      try fixture.events(0..<1)
      try await fixture.runUntilIdle()
      #expect(fixture.results.count == before, "restarts: \(restarts)")
    }
  }

  @Test func aKeyThatMakesAnotherRuleRemovesTheOneItMadeBefore() async throws {
    let fixture = PipelineFixture()
    try put(fixture, rule("r1", "\"a\"", key: "k"))
    try await fixture.runUntilIdle()
    try put(fixture, rule("r2", "\"a\"", key: "k"))
    try fixture.events(0..<1)
    try await fixture.runUntilIdle()
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["r2"])
  }

  @Test func rulesOfAStreamThatIsMadeAnewStayUntilTheyAreReplaced() async throws {
    let fixture = PipelineFixture()
    try fixture.rule("r", ["a"])
    try fixture.rule("s", ["a"])
    let process = fixture.start()
    try fixture.events(0..<1)
    await eventually("two results") { fixture.results.count == 2 }
    fixture.control.recreate("rules")
    try fixture.rule("s", ["b"])
    await eventually("the new life is read") { await process.pipeline.presence().rules.positions.values.contains(1) }
    try fixture.events(1..<2)
    await eventually("the rest") { fixture.committed() == 2 }
    try await process.stop()
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["r", "s", "r"])
    try fixture.events(2..<3)
    try await fixture.runUntilIdle()
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["r", "s", "r", "r"])
  }

  @Test func aProcessThatIsBehindDoesNotTakeTheRuleStoreBack() async throws {
    let fixture = PipelineFixture(isShared: true)
    try fixture.rule("r", ["x"])
    // This one stops reading rules.
    let slow = MemoryTransport(fixture.memory.log)
    let behind = fixture.start(rulesTransport: slow)
    await eventually("it is ready") { await behind.pipeline.presence().isReady }
    let process = fixture.start()
    for number in 0..<20 { try fixture.rule("r", [number == 19 ? "a" : "x\(number)"]) }
    await eventually("both have read") {
      let one = await behind.pipeline.presence().rules
      let two = await process.pipeline.presence().rules
      return one == two && one.positions.values.contains(21)
    }
    try await behind.stop()
    try await process.stop()
    fixture.control.truncate("rules", partition: 0, before: 21)
    try fixture.events(0..<1)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == [0])
  }

  @Test func positionsWithoutRecordsAtTheEndAreNoReasonToWait() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    fixture.control.skipPositions("rules", partition: 0, positions: 3)
    try fixture.events(0..<2)
    fixture.control.skipPositions("events", partition: 0, positions: 2)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == [0, 1])
    #expect(fixture.committed() == 4)
  }

  /// Two rules, of which the first one's record goes away without a trace, as a deleted rule's does once compaction has removed its
  /// tombstone as well.
  private func withoutFirstRecord(after age: Duration) async throws -> PipelineFixture {
    var options = MemoryTransport.Options()
    options.tombstoneRetention = .seconds(100)
    let fixture = PipelineFixture(options: options)
    try fixture.rule("a", ["a"])
    try fixture.rule("b", ["a"])
    try await fixture.runUntilIdle()
    fixture.control.truncate("rules", partition: 0, before: 1)
    try await letTimePass(age, fixture)
    try fixture.events(0..<1)
    try await fixture.runUntilIdle()
    return fixture
  }

  @Test func aStoreThatIsTooOldForACompactedStreamIsComparedWithAllOfIt() async throws {
    let fixture = try await withoutFirstRecord(after: .seconds(60))
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["b"])
    // And what was compared is new again.
    try fixture.events(1..<2)
    try await fixture.runUntilIdle()
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["b", "b"])
  }

  @Test func aStoreThatIsYoungerThanTombstonesIsBelieved() async throws {
    let fixture = try await withoutFirstRecord(after: .zero)
    #expect(fixture.results.compactMap { $0["rule"]?.string } == ["a", "b"])
  }
}
