import MemoryState
import Testing

@testable import DatabusCore

/// A state backend that loses its last writes while the pipeline runs: a failover, an older copy put in its place.
@Suite(.timeLimit(.minutes(1))) struct StateLossTests {
  private func storedRules(_ fixture: PipelineFixture) async throws -> [String] {
    try await RuleStore(MemoryState(fixture.store).open(.pipeline)).rules().map(\.ruleID)
  }

  @Test func aPartitionWhoseStateHasLostWritesGoesOnFromItsCommit() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start()
    try fixture.events(0..<5)
    await eventually("committed") { fixture.committed() == 5 }
    let snapshot = fixture.store.snapshot()
    try fixture.events(5..<10)
    await eventually("committed") { fixture.committed() == 10 }
    fixture.store.restore(snapshot)
    try fixture.events(10..<15)
    await eventually("committed") { fixture.committed() == 15 }
    #expect(await process.pipeline.presence().isReady)
    try await process.stop()
    // What was checkpointed and committed before the loss does not come again.
    #expect(fixture.numbers.prefix(10) == Array(0..<10)[...])
    #expect(Set(fixture.numbers) == Set(0..<15))
    try fixture.events(15..<16)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers.last == 15 && fixture.numbers.filter { $0 < 10 }.count == 10)
  }

  @Test(arguments: [1, 2]) func rulesThatTheStoreHasLostAreReadAgainWhileTheTableStays(_ processes: Int) async throws {
    let fixture = PipelineFixture(isShared: true)
    try fixture.rule("r1")
    try fixture.rule("gone")
    let running = (0..<processes).map { _ in fixture.start() }
    try await eventually("stored") { try await storedRules(fixture) == ["gone", "r1"] }
    let snapshot = fixture.store.snapshot()
    try fixture.rule("r2")
    try fixture.memory.append(to: "rules", key: Array("gone".utf8), value: nil)
    try await eventually("stored") { try await storedRules(fixture) == ["r1", "r2"] }
    fixture.store.restore(snapshot)
    try fixture.rule("r3", ["b"])
    // No event misses a rule while they are read again.
    for number in 0..<50 { try fixture.events(number..<number + 1) }
    try await eventually("stored") { try await storedRules(fixture) == ["r1", "r2", "r3"] }
    try fixture.events(50..<51)
    await eventually("routed") { Set(fixture.numbers) == Set(0..<51) }
    for process in running { try await process.stop() }
    let results = Set(fixture.results.map { "\($0["rule"]?.string ?? "") \($0["payload"]?["n"]?.integer ?? -1)" })
    #expect(results == Set((0..<51).flatMap { ["r1 \($0)", "r2 \($0)"] }))
    // The state alone has them now.
    fixture.control.truncate("rules", partition: 0, before: 5)
    try fixture.events(51..<52)
    try fixture.events(52..<53, type: "b")
    try await fixture.runUntilIdle()
    #expect(fixture.results.suffix(3).compactMap { $0["rule"]?.string } == ["r1", "r2", "r3"])
  }

  @Test func aStoreThatWasEmptiedIsFilledAgainAlsoWithoutANewRule() async throws {
    let fixture = PipelineFixture()
    try fixture.rule("r1")
    let process = fixture.start()
    await eventually("it is ready") { await process.pipeline.presence().ruleCount == 1 }
    try fixture.events(0..<1)
    await eventually("committed") { fixture.committed() == 1 }
    let snapshot = fixture.store.snapshot()
    for number in 2..<1500 { try fixture.rule("r\(number)", ["x"]) }
    try fixture.events(1..<2)
    try await eventually("all stored") { try await storedRules(fixture).count == 1499 && fixture.committed() == 2 }
    fixture.store.restore(snapshot)
    // A checkpoint finds out.
    try fixture.events(2..<3)
    try await eventually("all stored") { try await storedRules(fixture).count == 1499 }
    try await process.stop()
    #expect(Set(fixture.numbers) == Set(0..<3))
  }
}
