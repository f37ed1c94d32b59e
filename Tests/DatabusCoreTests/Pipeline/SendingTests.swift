import DatabusCore
import MemoryTransport
import Testing

/// What a sink does to a pipeline: nothing is lost, nothing is counted twice.
@Suite(.timeLimit(.minutes(1))) struct SendingTests {
  @Test func aSinkWithoutRoomStopsIntakeAndLetsItGoOn() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<3000)
    fixture.control.limitRoom(on: "results-http", to: 10)
    let process = fixture.start(limits: Limits(batchRecords: 50, inFlightRecords: 500))
    await eventually("ten results") { fixture.results.count == 10 }
    try await letTimePass(.seconds(2), fixture)
    let presence = await process.pipeline.presence()
    #expect(presence.counts.events <= 600)
    #expect(fixture.results.count == 10)
    #expect(fixture.committed() == 10)
    fixture.control.limitRoom(on: "results-http", to: nil)
    await eventually("all results") { fixture.numbers == Array(0..<3000) }
    try await process.stop()
    #expect(fixture.committed() == 3000)
  }

  @Test func aSinkThatIsAwayIsTriedAgainAndNothingIsLost() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<500)
    fixture.control.fail(.send, on: "results-http", with: down, times: 7)
    let process = fixture.start(limits: Limits(batchRecords: 20))
    await eventually("all results") { Set(fixture.numbers) == Set(0..<500) }
    try await process.stop()
    #expect(fixture.ids.count == 500)
    #expect(fixture.committed() == 500)
    #expect(fixture.deadLetters.isEmpty)
  }

  @Test func aSinkThatIsAwayAtAStopIsTriedUntilTheDrainTime() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<100)
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start()
    await eventually("all held") { fixture.control.held(on: "results-http").count == 100 }
    process.pipeline.stop()
    fixture.control.holdEnds(on: "results-http", false)
    try fixture.control.fail(on: "results-http", with: down)
    try await process.task.value
    #expect(fixture.numbers == Array(0..<100))
    #expect(fixture.committed() == 100)
  }

  @Test func aRecordThatTheSinkCanNeverTakeIsADeadLetter() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.rule("s", ["a"], url: "https://z.z")
    fixture.control.reject(on: "results-http", with: TransportError(.record, "too odd")) { value in
      let text = String(decoding: value ?? [], as: UTF8.self)
      return text.contains("\"n\":3}") && text.contains("\"rule\":\"s\"")
    }
    try fixture.events(0..<6)
    try await fixture.runUntilIdle()
    #expect(fixture.results.count == 11)
    #expect(fixture.deadLetters == ["sink_rejected s"])
    #expect(fixture.memory.records(of: "p-dead-letters").first?.text == #"{"type":"a","n":3}"#)
    #expect(fixture.committed() == 6)
  }

  @Test(arguments: [1, 2, 4]) func aFatalSinkIsMadeAnewAndUnconfirmedDeliveriesGoAgainInOrder(_ workers: Int)
    async throws
  {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<1000)
    fixture.control.holdEnds(on: "results-http")
    fixture.control.limitRoom(on: "results-http", to: 130)
    let process = fixture.start(limits: Limits(batchRecords: 50), workers: workers)
    await eventually("130 held") { fixture.control.held(on: "results-http").count == 130 }
    let held = fixture.control.held(on: "results-http")
    // Some are safe, the rest is unconfirmed when the client dies, in the middle of a batch.
    try fixture.control.release(on: "results-http", held.prefix(20).map(\.id))
    fixture.control.holdEnds(on: "results-http", false)
    try fixture.control.fail(on: "results-http", [held[20].id], with: TransportError(.fatal, "the client died"))
    fixture.control.limitRoom(on: "results-http", to: nil)
    await eventually("all results") { fixture.numbers.count >= 1000 }
    try await process.stop()
    #expect(fixture.numbers == Array(0..<1000))
    #expect(fixture.committed() == 1000)
    #expect(await process.pipeline.presence().counts.results == 1000)
  }

  @Test func aSinkThatThrowsFatalAgainAndAgainIsMadeAnewUntilItWorks() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<300)
    fixture.control.fail(.send, on: "results-http", with: TransportError(.fatal, "the client died"), times: 25)
    try fixture.memory.append(to: "events", "broken")
    fixture.control.fail(.send, on: "p-dead-letters", with: TransportError(.fatal, "the client died"), times: 5)
    try await fixture.runUntilIdle(limits: Limits(batchRecords: 32))
    #expect(fixture.numbers == Array(0..<300))
    #expect(fixture.deadLetters == ["not_json"])
  }

  @Test func manyFailuresOfEveryKindLoseNothingWhileWorkersRoute() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.rule("s", ["a"], url: "http://z.z")
    try fixture.events(0..<4000)
    for round in 0..<40 {
      fixture.control.fail(
        .send, on: "results-http", with: TransportError(round % 3 == 0 ? .fatal : .transport, "round \(round)"),
        times: 1)
    }
    let process = fixture.start(limits: Limits(batchRecords: 64, inFlightRecords: 512), workers: 4)
    await eventually("all results") { Set(fixture.ids).count == 8000 && fixture.committed() == 4000 }
    try await process.stop()
    #expect(fixture.deadLetters.isEmpty)
  }

  @Test func oneByOneTheNextRecordIsReadOnceTheOneBeforeIsStored() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<10)
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start(limits: Limits(batchRecords: 1), checkpointsEachBatch: true)
    for number in 0..<10 {
      await eventually("the next one") { fixture.control.held(on: "results-http").count == 1 }
      try await letTimePass(.seconds(1), fixture)
      // Whatever ends the process now, the stored position is this record's.
      #expect(fixture.control.held(on: "results-http").count == 1)
      #expect(await process.pipeline.presence().counts.events == number + 1)
      #expect(fixture.committed() ?? 0 == number)
      try fixture.control.release(on: "results-http")
    }
    await eventually("all is stored") { fixture.committed() == 10 }
    #expect(fixture.numbers == Array(0..<10))
    try await process.stop()
  }

  @Test func positionsWaitForADeadLetterSinkThatIsAway() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<2)
    try fixture.memory.append(to: "events", "broken")
    try fixture.events(2..<5)
    fixture.control.fail(.send, on: "p-dead-letters", with: down, times: nil)
    let process = fixture.start()
    await eventually("results") { fixture.results.count == 5 }
    try await letTimePass(.seconds(3), fixture)
    #expect(fixture.committed() == 2)
    #expect(await process.pipeline.presence().isReady == false)
    fixture.control.recover(.send, on: "p-dead-letters")
    await eventually("the position moves on") { fixture.committed() == 6 }
    #expect(fixture.deadLetters == ["not_json"])
    try await process.stop()
  }

  @Test func aRefusedDeadLetterParksItsPartitionWhichGoesOnByItself() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start(limits: Limits(batchRecords: 10))
    fixture.control.reject(on: "p-dead-letters", with: TransportError(.record, "never")) { _ in true }
    try fixture.events(0..<20)
    try fixture.memory.append(to: "events", "broken")
    await eventually("it is parked") { await process.pipeline.presence().partitions.first?.parked != nil }
    let presence = await process.pipeline.presence()
    #expect(!presence.isReady)
    #expect(presence.partitions.first?.parked?.contains("p-dead-letters: never") == true)
    // What comes while it is parked is not lost.
    try fixture.events(20..<200)
    try await letTimePass(.seconds(12), fixture)
    #expect(fixture.committed() == 20)
    fixture.control.acceptAll(on: "p-dead-letters")
    await eventually("it goes on") { Set(fixture.numbers) == Set(0..<200) && fixture.committed() == 201 }
    #expect(fixture.deadLetters == ["not_json"])
    await eventually("it is ready") { await process.pipeline.presence().isReady }
    try await process.stop()
    #expect(fixture.ids.count == 200)
  }

  @Test func partitionsThatAreParkedAgainAndAgainLoseNothing() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start(limits: Limits(batchRecords: 7), workers: 3)
    var sent = 0
    for _ in 0..<5 {
      fixture.control.reject(on: "p-dead-letters", with: TransportError(.record, "never")) { _ in true }
      for _ in 0..<10 {
        try fixture.events(sent..<sent + 37)
        sent += 37
        try fixture.memory.append(to: "events", "broken")
      }
      await eventually("it is parked") { await process.pipeline.presence().partitions.first?.parked != nil }
      fixture.control.acceptAll(on: "p-dead-letters")
      let expected = sent
      await eventually("it goes on") { Set(fixture.numbers) == Set(0..<expected) }
    }
    await eventually("all is committed") { fixture.committed() == UInt64(sent + 50) }
    #expect(Set(fixture.deadLetterIDs).count == 50)
    try await process.stop()
  }

  @Test func stopDrainsAndTheDrainTimeIsKept() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<10)
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start(drainTime: .seconds(20))
    await eventually("all held") { fixture.control.held(on: "results-http").count == 10 }
    try fixture.control.release(on: "results-http", fixture.control.held(on: "results-http").prefix(4).map(\.id))
    let before = fixture.clock.now()
    try await process.stop()
    #expect(fixture.clock.now() - before >= .seconds(20))
    #expect(fixture.committed() == 4)
    fixture.control.holdEnds(on: "results-http", false)
    try await fixture.runUntilIdle()
    #expect(fixture.numbers == Array(0..<10))
  }

  @Test func aStopEndsRetriesThatWouldNeverEnd() async throws {
    let fixture = PipelineFixture()
    fixture.control.fail(.bounds, on: "rules", with: down, times: nil)
    let waiting = fixture.start()
    try await letTimePass(.seconds(1), fixture)
    try await waiting.stop()
    fixture.control.recover(.bounds, on: "rules")
    fixture.control.fail(.committed, on: "events", with: down, times: nil)
    let restoring = fixture.start()
    try await letTimePass(.seconds(1), fixture)
    try await restoring.stop()
    fixture.control.recover(.committed, on: "events")
    fixture.control.fail(.send, on: "results-http", with: down, times: nil)
    try fixture.rule()
    try fixture.events(0..<5)
    let sending = fixture.start(drainTime: .seconds(5))
    try await letTimePass(.seconds(1), fixture)
    try await sending.stop()
    #expect(fixture.results.isEmpty)
  }
}
