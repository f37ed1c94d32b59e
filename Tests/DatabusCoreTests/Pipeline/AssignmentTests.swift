import DatabusCore
import MemoryState
import MemoryTransport
import Testing

/// Partitions that come and go, restarts, and state that is away.
@Suite(.timeLimit(.minutes(1))) struct AssignmentTests {
  private let group = PipelineFixture.name

  @Test func aRevokedPartitionIsDrainedCommittedAndGivenBack() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<50)
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start()
    await eventually("all held") { fixture.control.held(on: "results-http").count == 50 }
    fixture.control.revoke("events", group: group, partition: 0, within: .seconds(1000))
    try await letTimePass(.seconds(1), fixture)
    #expect(await process.pipeline.presence().partitions.count == 1)
    fixture.control.holdEnds(on: "results-http", false)
    try fixture.control.release(on: "results-http")
    await eventually("it is gone") { await process.pipeline.presence().partitions.isEmpty }
    #expect(fixture.committed() == 50)
    fixture.control.assign("events", group: group, partition: 0)
    try fixture.events(50..<60)
    await eventually("it goes on") { fixture.numbers == Array(0..<60) }
    try await process.stop()
  }

  @Test func aRevokePastItsDeadlineCommitsNothingMore() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<10)
    let process = fixture.start()
    await eventually("all committed") { fixture.committed() == 10 }
    fixture.control.holdEnds(on: "results-http")
    try fixture.events(10..<20)
    await eventually("all held") { fixture.control.held(on: "results-http").count == 10 }
    fixture.control.revoke("events", group: group, partition: 0, within: .seconds(2))
    await eventually("it is gone") { await process.pipeline.presence().partitions.isEmpty }
    #expect(fixture.committed() == 10)
    fixture.control.holdEnds(on: "results-http", false)
    try fixture.control.release(on: "results-http")
    try await letTimePass(.seconds(1), fixture)
    #expect(fixture.committed() == 10)
    fixture.control.assign("events", group: group, partition: 0)
    await eventually("sent again") { fixture.results.count == 30 && fixture.committed() == 20 }
    #expect(Set(fixture.ids).count == 20)
    try await process.stop()
  }

  @Test func aLostPartitionIsDroppedWithoutACommit() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<10)
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start()
    await eventually("all held") { fixture.control.held(on: "results-http").count == 10 }
    fixture.control.lose("events", group: group, partition: 0)
    await eventually("it is gone") { await process.pipeline.presence().partitions.isEmpty }
    fixture.control.holdEnds(on: "results-http", false)
    try fixture.control.release(on: "results-http")
    try await letTimePass(.seconds(1), fixture)
    #expect(fixture.committed() == 0)
    try await process.stop()
    #expect(fixture.committed() == 0)
  }

  @Test func anAssignmentThatIsToldTwiceGoesOnAsItWas() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start()
    try fixture.events(0..<10)
    await eventually("all held") { fixture.control.held(on: "results-http").count == 10 }
    fixture.control.repeatAssignment("events", group: group, partition: 0)
    try fixture.events(10..<20)
    await eventually("all held") { fixture.control.held(on: "results-http").count == 20 }
    fixture.control.holdEnds(on: "results-http", false)
    try fixture.control.release(on: "results-http")
    await eventually("all committed") { fixture.committed() == 20 }
    try await process.stop()
    #expect(fixture.numbers == Array(0..<20))
  }

  @Test func aRestartResumesAndRepeatsHaveTheSameIDs() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<30)
    try await fixture.runUntilIdle()
    let snapshot = fixture.store.snapshot()
    let committed = try #require(fixture.control.committed("events", group: group, partition: 0))
    let first = fixture.ids
    try fixture.events(30..<60)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<60))
    // The last checkpoint and its commit are lost, as in a crash: the second half comes again, and nothing else.
    fixture.store.restore(snapshot)
    fixture.control.setCommitted(
      "events", group: group, partition: 0, to: committed.position.next, metadata: committed.metadata)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<60) + Array(30..<60))
    #expect(Array(fixture.ids[30..<60]) == Array(fixture.ids[60..<90]))
    #expect(Array(fixture.ids.prefix(30)) == first)
    #expect(Set(fixture.ids).count == 60)
  }

  @Test func aCrashBetweenTheFirstCheckpointAndItsCommitDoesNotPark() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<10)
    let process = fixture.start()
    await eventually("the start is committed") { fixture.committed() != nil }
    fixture.control.fail(.commit, on: "events", with: down, times: nil)
    await eventually("all results") { fixture.results.count == 10 }
    try await letTimePass(.seconds(1), fixture)
    try await process.stop()
    fixture.control.recover(.commit, on: "events")
    try fixture.events(10..<20)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers.suffix(10) == Array(10..<20)[...])
    #expect(Set(fixture.numbers) == Set(0..<20))
  }

  @Test func stateThatIsAwayStopsIntakeUntilItIsBack() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start(limits: Limits(batchRecords: 10))
    try fixture.events(0..<10)
    await eventually("all committed") { fixture.committed() == 10 }
    fixture.store.setUnavailable("the disk is full")
    try fixture.events(10..<20)
    await eventually("it says so") { await process.pipeline.presence().reason?.contains("the disk is full") == true }
    let read = await process.pipeline.presence().counts.events
    try fixture.events(20..<50)
    try await letTimePass(.seconds(3), fixture)
    // One batch may have been on its way.
    #expect(await process.pipeline.presence().counts.events <= read + 10)
    #expect(fixture.committed() == 10)
    fixture.store.setUnavailable(nil)
    await eventually("it goes on") { fixture.committed() == 50 }
    #expect(fixture.numbers == Array(0..<50))
    try await process.stop()
  }

  @Test func aPartitionThatGoesWhileTheStateIsAwayDoesNotStopThePipeline() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start()
    try fixture.events(0..<5)
    await eventually("all committed") { fixture.committed() == 5 }
    fixture.store.setUnavailable("away")
    try fixture.events(5..<10)
    await eventually("it says so") { await process.pipeline.presence().isReady == false }
    fixture.control.lose("events", group: group, partition: 0)
    fixture.store.setUnavailable(nil)
    try await letTimePass(.seconds(1), fixture)
    fixture.control.assign("events", group: group, partition: 0)
    try fixture.events(10..<15)
    await eventually("it goes on") { fixture.committed() == 15 }
    try await process.stop()
    #expect(Set(fixture.numbers) == Set(0..<15))
  }

  @Test func checkpointsWhoseAnswersAreLostLeaveStateAndCommitAlike() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start(limits: Limits(batchRecords: 3))
    for round in 0..<20 {
      fixture.store.loseAnswers(2)
      try fixture.events(round * 10..<round * 10 + 10)
      let expected = UInt64(round * 10 + 10)
      await eventually("committed") { fixture.committed() == expected }
    }
    fixture.store.loseAnswers(0)
    try await process.stop()
    // The state is what the commit says: nothing comes again.
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<200))
  }

  @Test func aFencedCheckpointGivesThePartitionUp() async throws {
    let fixture = PipelineFixture(isShared: true)
    try fixture.rule()
    let process = fixture.start()
    try fixture.events(0..<5)
    await eventually("committed") { fixture.committed() == 5 }
    fixture.control.assignByHand("events", group: group)
    let partition = try #require(await fixture.memory.topics().first { $0.name == "events" }?.partitions.first)
    _ = try await MemoryState(fixture.store).open(.partition(partition))
    try fixture.events(5..<10)
    await eventually("it is given up") { await process.pipeline.presence().partitions.isEmpty }
    #expect(await process.pipeline.presence().counts.fenced == 1)
    #expect(fixture.committed() == 5)
    try await process.stop()
  }

  @Test func twoProcessesDivideTwoPartitionsAndTakeOver() async throws {
    let fixture = PipelineFixture(isShared: true)
    try await fixture.memory.createTopic("events", partitions: 2)
    try fixture.rule()
    let one = fixture.start()
    let two = fixture.start()
    await eventually("both own one") {
      let first = await one.pipeline.presence().partitions
      let second = await two.pipeline.presence().partitions
      return first.count == 1 && second.count == 1 && first != second
    }
    try fixture.events(0..<100, partition: 0)
    try fixture.events(100..<200, partition: 1)
    await eventually("all results") { Set(fixture.numbers) == Set(0..<200) }
    try await one.stop()
    await eventually("the other takes over") { await two.pipeline.presence().partitions.count == 2 }
    try fixture.events(200..<250, partition: 0)
    try fixture.events(250..<300, partition: 1)
    await eventually("all results") { Set(fixture.numbers) == Set(0..<300) }
    try await two.stop()
    #expect(fixture.ids.count == 300)
    #expect(fixture.committed(0) == 150 && fixture.committed(1) == 150)
  }

  @Test(arguments: [
    (StartPosition.earliest, [0, 1, 2, 3]), (.latest, [3]), (.time(1_795_000_000_000 + 1000), [1, 2, 3]),
  ]) func theFirstStartBeginsWhereItIsTold(_ start: StartPosition, _ expected: [Int]) async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    for number in 0..<3 {
      try fixture.memory.append(
        to: "events", value: Array(#"{"type":"a","n":\#(number)}"#.utf8),
        timestamp: 1_795_000_000_000 + Int64(number) * 1000)
    }
    try await fixture.runUntilIdle(start: start)
    try fixture.events(3..<4)
    try await fixture.runUntilIdle(start: start)
    #expect(fixture.numbers == expected)
  }

  @Test func aPartitionThatAppearsLaterStartsAtItsBeginning() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<5)
    try await fixture.runUntilIdle(start: .latest)
    #expect(fixture.results.isEmpty)
    fixture.control.addPartition(to: "events")
    try fixture.events(5..<10, partition: 1)
    try await fixture.runUntilIdle(start: .latest)
    #expect(fixture.numbers == Array(5..<10))
  }

  @Test func aGapIsADeadLetterAndReadingGoesOn() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<3)
    fixture.control.leaveGap("events", partition: 0, positions: 4)
    fixture.control.skipPositions("events", partition: 0, positions: 2)
    try fixture.events(3..<6)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<6))
    #expect(fixture.deadLetters == ["gap"])
    #expect(fixture.committed() == 12)
  }

  @Test func aGapParksThePartitionWhereThatIsAskedFor() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<3)
    fixture.control.leaveGap("events", partition: 0, positions: 4)
    try fixture.events(3..<6)
    let process = fixture.start(onGap: .park)
    await eventually("it is parked") { await process.pipeline.presence().partitions.first?.parked != nil }
    try await letTimePass(.seconds(12), fixture)
    #expect(fixture.numbers == Array(0..<3))
    #expect(fixture.committed() == 3)
    #expect(await process.pipeline.presence().isReady == false)
    try await process.stop()
    #expect(fixture.committed() == 3)
  }
}
