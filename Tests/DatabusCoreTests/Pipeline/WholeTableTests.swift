import DatabusCore
import MemoryTransport
import Synchronization
import Testing

/// Memory, whose every stream is a whole table at each assignment, as a rules file is.
private struct WholeTableTransport: Transport {
  let memory: MemoryTransport

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    WholeTableSource(source: try await memory.makeSource(stream, mode))
  }
  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    try await memory.makeSink(stream, completions)
  }
}

private struct WholeTableSource: EventSource {
  let source: any EventSource
  var capabilities: SourceCapabilities {
    var capabilities = source.capabilities
    capabilities.wholeTable = true
    return capabilities
  }
  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    // One record at a time: a whole table that is read in part must not be seen.
    try await source.next(records: 1, bytes: bytes, wait: wait)
  }
  func commit(_ marks: [CommitMark]) async throws -> [Assignment] { try await source.commit(marks) }
  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try await source.committed(assignments)
  }
  func seek(_ assignment: Assignment, to position: Position) async throws {
    try await source.seek(assignment, to: position)
  }
  func pause(_ assignments: [Assignment], _ paused: Bool) async throws { try await source.pause(assignments, paused) }
  func release(_ assignments: [Assignment]) async throws { try await source.release(assignments) }
  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try await source.bounds(of: partitions)
  }
  func partitions() async throws -> [PartitionID] { try await source.partitions() }
  func close() async { await source.close() }
}

/// Memory, whose stream is made anew as soon as somebody has looked where it ends.
private struct RenewedTransport: Transport {
  let memory: MemoryTransport
  let renew: @Sendable () throws -> Void

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    RenewedSource(source: try await memory.makeSource(stream, mode), renew: renew)
  }
  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    try await memory.makeSink(stream, completions)
  }
}

private final class RenewedSource: EventSource {
  let source: any EventSource
  let renew: @Sendable () throws -> Void
  private let isRenewed = Atomic<Bool>(false)

  init(source: any EventSource, renew: @escaping @Sendable () throws -> Void) {
    self.source = source
    self.renew = renew
  }

  var capabilities: SourceCapabilities { source.capabilities }
  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    try await source.next(records: records, bytes: bytes, wait: wait)
  }
  func commit(_ marks: [CommitMark]) async throws -> [Assignment] { try await source.commit(marks) }
  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try await source.committed(assignments)
  }
  func seek(_ assignment: Assignment, to position: Position) async throws {
    try await source.seek(assignment, to: position)
  }
  func pause(_ assignments: [Assignment], _ paused: Bool) async throws { try await source.pause(assignments, paused) }
  func release(_ assignments: [Assignment]) async throws { try await source.release(assignments) }
  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    let bounds = try await source.bounds(of: partitions)
    if !isRenewed.exchange(true, ordering: .relaxed) { try renew() }
    return bounds
  }
  func partitions() async throws -> [PartitionID] { try await source.partitions() }
  func close() async { await source.close() }
}

@Suite(.timeLimit(.minutes(1))) struct WholeTableTests {
  @Test func aStreamThatIsMadeAnewWhileItIsReadAtTheStartIsReadInItsNewLife() async throws {
    let fixture = PipelineFixture()
    for number in 0..<50 { try fixture.rule("r\(number)") }
    try fixture.events(0..<1)
    let transport = RenewedTransport(memory: MemoryTransport(fixture.memory.log)) {
      fixture.control.recreate("rules")
      for number in 0..<20 { try fixture.rule("n\(number)") }
    }
    let process = fixture.start(rulesTransport: transport)
    await eventually("it is ready") { await process.pipeline.presence().isReady }
    await eventually("results") { fixture.committed() == 1 }
    #expect(fixture.results.count == 20)
    try await process.stop()
  }

  private func run(_ fixture: PipelineFixture) async throws {
    let transport = WholeTableTransport(memory: MemoryTransport(fixture.memory.log))
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
    let transport = WholeTableTransport(memory: MemoryTransport(fixture.memory.log))
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
