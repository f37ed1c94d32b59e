import DatabusCore
import MemoryTransport
import Testing

@Suite struct SourceControlTests {
  let clock = TestClock()
  let transport: MemoryTransport

  init() {
    transport = MemoryTransport(MemoryLog(clock: clock, nonce: "test"))
  }

  private var control: MemoryTransport.Control { transport.control }

  private func mark(_ assignment: Assignment, _ position: UInt64) -> CommitMark {
    CommitMark(assignment: assignment, position: Position(next: position), metadata: "m")
  }

  @Test func aRevokedPartitionIsLostAtTheDeadlineAndNotBefore() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    let assignment = try await begin(source)[0]
    control.revoke("events", group: "g", partition: 0, within: .seconds(3))
    #expect(try await tell(source) == "~events/0 1")
    try transport.append(to: "events", "a")
    #expect(try await tell(source) == "idle")
    clock.advance(by: .seconds(2))
    #expect(try await source.commit([mark(assignment, 0)]) == [])
    clock.advance(by: .seconds(1))
    #expect(try await source.commit([mark(assignment, 1)]) == [assignment])
    #expect(try await tell(source) == "-events/0 1")
    #expect(control.committed("events", group: "g", partition: 0)?.position.next == 0)
  }

  @Test func aWaitingMemberGetsAPartitionWhenItsOwnerLetsTheDeadlinePass() async throws {
    try await transport.createTopic("events", partitions: 2)
    let first = try await transport.makeSource("events", .group("g"))
    _ = try await begin(first)
    let second = try await transport.makeSource("events", .group("g"))
    #expect(try await tell(first) == "~events/1 2")
    let waiting = Task { try await tell(second, wait: .seconds(60)) }
    await clock.waitForSleepers()
    clock.advance(by: MemoryTransport.Options().revocationWindow)
    #expect(try await waiting.value == "+events/1 3")
    #expect(try await tell(first) == "-events/1 2")
  }

  @Test func aMemberThatJoinsTakesItsShareAfterTheRelease() async throws {
    try await transport.createTopic("events", partitions: 3)
    let first = try await transport.makeSource("events", .group("g"))
    #expect(try await tell(first) == "+events/0 1 +events/1 2 +events/2 3")
    let second = try await transport.makeSource("events", .group("g"))
    #expect(try await tell(second) == "idle")
    #expect(try await tell(first) == "~events/2 3")
    let partition = PartitionID(stream: "events", incarnation: "test-1", index: 2)
    try await first.release([Assignment(partition: partition, generation: 3)])
    #expect(try await tell(second) == "+events/2 4")
    await first.close()
    #expect(try await tell(second) == "+events/0 5 +events/1 6")
  }

  @Test func aLostPartitionGoesWhereTheTestSays() async throws {
    let first = try await transport.makeSource("events", .group("g"))
    let second = try await transport.makeSource("events", .group("g"))
    let assignment = try await begin(first)[0]
    control.lose("events", group: "g", partition: 0)
    #expect(try await tell(first) == "-events/0 1")
    #expect(try await tell(second) == "idle")
    #expect(control.assign("events", group: "g", partition: 0, member: 1))
    #expect(try await tell(second) == "+events/0 2")
    #expect(try await first.commit([mark(assignment, 1)]) == [assignment])
  }

  @Test func anAssignmentCanBeToldTwice() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    #expect(control.repeatAssignment("events", group: "g", partition: 0))
    #expect(try await tell(source) == "+events/0 1")
    try transport.append(to: "events", "a")
    #expect(try await tell(source) == "a")
  }

  @Test func aGapInTheMiddleIsToldBetweenItsNeighbours() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    try transport.append(to: "events", "a")
    control.leaveGap("events", partition: 0, positions: 3)
    try transport.append(to: "events", "b")
    #expect(try await tell(source) == "a")
    #expect(try await tell(source) == "gap 1..<4")
    #expect(try await tell(source) == "b")
    #expect(try await tell(source) == "idle")
  }

  @Test func positionsLeftOutAreNoGap() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    try transport.append(to: "events", "a")
    control.skipPositions("events", partition: 0, positions: 3)
    let (_, position) = try transport.append(to: "events", "b")
    #expect(position == 4)
    #expect(try await tell(source) == "a")
    #expect(try await tell(source) == "b")
  }

  @Test func truncationIsTold() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    let partition = try await begin(source)[0].partition
    for text in ["a", "b", "c"] { try transport.append(to: "events", text) }
    control.truncate("events", partition: 0, before: 2)
    #expect(try await tell(source) == "gap 0..<2")
    #expect(try await tell(source) == "c")
    let bounds = try await source.bounds(of: [partition])
    #expect(bounds == [PartitionBounds(first: Position(next: 2), end: Position(next: 3), isTruncated: true)])
  }

  @Test func aStreamMadeAnewIsLostAndAssignedAgain() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    let assignment = try await begin(source)[0]
    try transport.append(to: "events", "old")
    _ = try await source.commit([mark(assignment, 1)])
    control.recreate("events")
    try transport.append(to: "events", "new")
    #expect(try await tell(source) == "-events/0 1")
    let next = try await begin(source)
    #expect(next.map(\.partition.incarnation) == ["test-2"])
    #expect(try await source.committed(next) == [nil])
    #expect(try await tell(source) == "new")
    #expect(try await source.commit([mark(assignment, 1)]) == [assignment])
  }

  @Test func aDeletedStreamFailsUntilItIsThereAgain() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    try await transport.deleteTopic("events")
    #expect(try await tell(source) == "-events/0 1")
    let error = await #expect(throws: TransportError.self) { try await tell(source) }
    #expect(error?.class == .transport)
    try await transport.createTopic("events", partitions: 1)
    #expect(try await tell(source) == "+events/0 1")
  }

  @Test func aStreamThatIsOverEndsBehindItsLastRecord() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    try transport.append(to: "events", "a")
    control.finish("events")
    #expect(try await tell(source) == "a")
    #expect(try await tell(source) == "end")
  }

  @Test func plannedFailuresComeInTurnAndThenItGoesOn() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    let assignment = try await begin(source)[0]
    try transport.append(to: "events", "a")
    control.fail(.next, on: "events", with: TransportError(.transport, "away"), times: 2)
    control.fail(.next, on: "events", with: TransportError(.fatal, "broken"))
    for expected in [TransportError.Class.transport, .transport, .fatal] {
      let error = await #expect(throws: TransportError.self) { try await tell(source) }
      #expect(error?.class == expected)
    }
    #expect(try await tell(source) == "a")
    control.fail(.commit, on: "events", with: TransportError(.transport, "away"), times: nil)
    for _ in 0..<3 {
      await #expect(throws: TransportError.self) { try await source.commit([mark(assignment, 1)]) }
    }
    control.recover(.commit, on: "events")
    #expect(try await source.commit([mark(assignment, 1)]) == [])
  }

  @Test func readingEverythingNeedsNoGroupAndStartsWhereItIsTold() async throws {
    try await transport.createTopic("rules", partitions: 2)
    for (partition, text) in [(0, "a"), (0, "b"), (1, "c")] {
      try transport.append(to: "rules", partition: partition, text)
    }
    let start = PartitionID(stream: "rules", incarnation: "test-1", index: 0)
    let source = try await transport.makeSource("rules", .everything(from: [start: Position(next: 1)]))
    #expect(!source.capabilities.commits && !source.capabilities.groups)
    #expect(try await tell(source) == "+rules/0 1 +rules/1 1")
    #expect(try await [tell(source), tell(source)].sorted() == ["b", "c"])
    control.addPartition(to: "rules")
    try transport.append(to: "rules", partition: 2, "d")
    #expect(try await tell(source) == "+rules/2 1")
    #expect(try await tell(source) == "d")
  }

  @Test func batchesRespectRecordsAndBytes() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    for text in ["aaaa", "bb", "cc", "d"] { try transport.append(to: "events", text) }
    #expect(try await tell(source, bytes: 1) == "aaaa")
    #expect(try await tell(source, bytes: 4) == "bb cc")
    try transport.append(to: "events", "e")
    #expect(try await tell(source, records: 1) == "d")
  }

  @Test func aBatchOutlivesItsStream() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    _ = try await begin(source)
    for number in 0..<1000 {
      try transport.append(
        to: "events", value: Array("v\(number)".utf8), headers: [Header(name: "n", value: [UInt8(number % 251)])])
    }
    let event = try await source.next(records: 10, bytes: 1 << 20, wait: .zero)
    switch consume event {
    case .batch(let batch):
      control.recreate("events")
      #expect(batch.count == 10 && batch.padding >= 64)
      #expect(batch.headers(at: 7) == [Header(name: "n", value: [7])])
      #expect(text(batch, 9) == "v9")
    default: Issue.record("no batch came")
    }
  }

  @Test func whatEveryGroupHasCommittedIsGivenBack() async throws {
    try transport.createTopic("events", partitions: 1, retention: .untilCommitted)
    let first = try await transport.makeSource("events", .group("g"))
    let second = try await transport.makeSource("events", .group("h"))
    let owners = [try await begin(first)[0], try await begin(second)[0]]
    for number in 0..<1000 { try transport.append(to: "events", "\(number)") }
    _ = try await first.commit([mark(owners[0], 1000)])
    #expect(transport.records(of: "events").count == 1000)
    _ = try await second.commit([mark(owners[1], 300)])
    let bounds = try await first.bounds(of: [owners[0].partition])
    #expect(bounds[0].first.next > 0 && bounds[0].first.next <= 300)
  }

  @Test func aGroupWithALiveMemberKeepsItsPosition() async throws {
    let source = try await transport.makeSource("events", .group("g"))
    let assignment = try await begin(source)[0]
    _ = try await source.commit([mark(assignment, 1)])
    await #expect(throws: TransportError.self) {
      try await transport.setGroupPosition("g", assignment.partition, to: Position(next: 0))
    }
    await source.close()
    try await transport.setGroupPosition("g", assignment.partition, to: Position(next: 0))
    let positions = try await transport.groupPositions("g", stream: "events")
    #expect(positions.map(\.committed) == [CommittedPosition(position: Position(next: 0), metadata: "")])
  }

  @Test func positionsAreFoundByTime() async throws {
    for timestamp in [10, 20, 30] as [Int64] {
      try transport.append(to: "events", value: [], timestamp: timestamp)
    }
    let source = try await transport.makeSource("events", .group("g"))
    let partitions = try await source.partitions()
    #expect(try await source.positions(of: partitions, at: 20).map(\.next) == [1])
    #expect(try await source.positions(of: partitions, at: 31).map(\.next) == [3])
  }
}
