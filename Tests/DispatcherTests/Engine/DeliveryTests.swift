import DatabusCore
import Dispatcher
import Synchronization
import Testing

/// What becomes of deliveries: over real streams in memory and a real store on disk, through a channel that does as it is told.
@Suite struct DeliveryTests {
  @Test func eachResultIsDeliveredOnceAndItsPositionIsPassed() async throws {
    let fixture = try await DispatchFixture()
    for number in 0..<200 { try fixture.result("id-\(number)", payload: #"{"n":\#(number)}"#) }
    try await fixture.runUntilIdle()
    #expect(Set(fixture.channel.sent.map(\.id)) == Set((0..<200).map { "id-\($0)" }))
    #expect(fixture.channel.sent.count == 200)
    #expect(fixture.channel.sent.contains { $0.body == #"{"n":77}"# })
    #expect(fixture.committed == 200)
    #expect(fixture.deadLetters.isEmpty)
  }

  @Test func theSameDeliveryIsSentOnceHoweverOftenItComes() async throws {
    let fixture = try await DispatchFixture()
    for _ in 0..<50 { try fixture.result("same") }
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.count == 1)
    #expect(fixture.committed == 50)
    // Nor by another process that reads the stream from its beginning.
    for _ in 0..<3 { try fixture.result("same") }
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.count == 1)
    #expect(fixture.committed == 53)
  }

  @Test func aResultWithoutAnIDHasOneOfItsOwn() async throws {
    let fixture = try await DispatchFixture()
    try fixture.result(nil)
    try fixture.result(nil)
    try await fixture.runUntilIdle()
    let ids = fixture.channel.sent.map(\.id)
    #expect(Set(ids).count == 2)
    #expect(ids.allSatisfy { DeliveryID($0) != nil })
  }

  @Test func whatFailsIsTriedAgainUnderTheSameID() async throws {
    let fixture = try await DispatchFixture { $0.attempts < 3 ? .status(503, $0) : .ok($0) }
    try fixture.result("a")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.map(\.id) == ["a", "a", "a", "a"])
    #expect(fixture.channel.sent.map(\.attempts) == [0, 1, 2, 3])
    #expect(fixture.records(of: "results-http-retry-1m") == 0)
    #expect(fixture.committed == 1)
  }

  @Test func aLongPauseIsSpentInARetryStream() async throws {
    let fixture = try await DispatchFixture { $0.attempts == 0 ? .status(503, $0, after: .seconds(90)) : .ok($0) }
    try fixture.result("a")
    let process = try fixture.start()
    await eventually("it is stored") { fixture.records(of: "results-http-retry-1m") == 1 }
    await eventually("its position is passed") { fixture.committed == 1 }
    let before = fixture.clock.now()
    await eventually("it is tried again") { fixture.channel.sent.count == 2 }
    #expect(fixture.clock.now() - before >= .seconds(30))
    #expect(fixture.channel.sent.map(\.attempts) == [0, 1])
    #expect(fixture.channel.sent.map(\.id) == ["a", "a"])
    try await process.stop()
    #expect(fixture.deadLetters.isEmpty)
  }

  @Test func whatFailsTooOftenIsADeadLetter() async throws {
    let fixture = try await DispatchFixture { .status(500, $0) }
    try fixture.result("a", to: "https://a.example/hook?token=secret")
    try await fixture.runUntilIdle(DispatchFixture.settings { $0.retry.attempts = 4 })
    #expect(fixture.channel.sent.count == 4)
    let letter = try #require(fixture.deadLetters.first)
    #expect(fixture.deadLetters.count == 1)
    #expect(letter["dx-reason"] == "exhausted")
    #expect(letter["dx-id"] == "a")
    #expect(letter["dx-status"] == "500")
    #expect(letter["dx-attempts"] == "4")
    #expect(letter["dx-rule"] == "r")
    #expect(letter["dx-dest"] == "https://a.example/hook?…")
    #expect(letter["dx-topic"] == "results-http")
    #expect(letter["dx-offset"] == "0")
    #expect(letter["dx-response"] == "try later")
    // It is remembered: the same delivery again is not sent.
    try fixture.result("a")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.count == 4)
    #expect(fixture.deadLetters.count == 1)
  }

  @Test func whatIsTooOldIsADeadLetter() async throws {
    let fixture = try await DispatchFixture { .status(503, $0, after: .seconds(20)) }
    try fixture.result("a")
    try await fixture.runUntilIdle(DispatchFixture.settings { $0.retry.age = .seconds(50) })
    #expect(fixture.deadLetters.map { $0["dx-reason"] } == ["expired"])
    #expect(fixture.channel.sent.count >= 2)
  }

  @Test func aRefusalIsADeadLetterAtOnce() async throws {
    let fixture = try await DispatchFixture { .rejected(.refused, 404, $0) }
    try fixture.result("a")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.count == 1)
    #expect(fixture.deadLetters.map { $0["dx-reason"] } == ["http_4xx"])
    #expect(fixture.committed == 1)
  }

  @Test func whoIsGoneIsNotAskedAgain() async throws {
    let fixture = try await DispatchFixture { $0.id == "a" ? .rejected(.gone, 410, $0, ends: true) : .ok($0) }
    try fixture.result("a")
    try await fixture.runUntilIdle()
    try fixture.result("b")
    try fixture.result("c", to: "https://a.example/other")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.map(\.id) == ["a", "c"])
    #expect(fixture.deadLetters.map { $0["dx-reason"] } == ["gone", "disabled"])
    let marks = try await fixture.store.marks()
    #expect(marks.map(\.subject) == [.destination("https://a.example/hook")])
    try await fixture.store.remove(.destination("https://a.example/hook"), .disabled)
    try fixture.result("d")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.last?.id == "d")
  }

  @Test func whatIsNoResultIsADeadLetterAndCostsNothingElse() async throws {
    let fixture = try await DispatchFixture()
    let bad = [
      "", "nope", "[]", #"{"payload":1}"#, #"{"destination":"https://a.example/"}"#, #"{"destination":7,"payload":1}"#,
      #"{"destination":"https://a.example/","payload":1,"destination":"https://b.example/"}"#,
      #"{"destination":"gopher://a.example/","payload":1}"#, #"{"destination":"http://denied/","payload":1}"#,
    ]
    for value in bad { try fixture.memory.append(to: "results-http", value) }
    try fixture.result("good")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.map(\.id) == ["good"])
    #expect(
      fixture.deadLetters.map { $0["dx-reason"] } == [
        "poison", "poison", "poison", "poison", "poison", "poison", "poison", "bad_url", "ssrf_denied",
      ])
    #expect(fixture.committed == UInt64(bad.count + 1))
  }

  @Test func nothingIsSentWhileTheStoreIsAway() async throws {
    let fixture = try await DispatchFixture()
    fixture.store.setAway(true)
    for number in 0..<20 { try fixture.result("id-\(number)") }
    let process = try fixture.start()
    await eventually("it says so") {
      process.health.health(at: fixture.clock.now()).reasons.contains { $0.message.contains("the store is away") }
    }
    #expect(fixture.channel.sent.isEmpty)
    fixture.store.setAway(false)
    await eventually("all are sent") { fixture.channel.sent.count == 20 }
    await eventually("all positions are passed") { fixture.committed == 20 }
    await eventually("it is well again") { process.health.health(at: fixture.clock.now()).isReady }
    try await process.stop()
    #expect(Set(fixture.channel.sent.map(\.id)).count == 20)
  }

  @Test func aStopWaitsForWhatIsUnderWayAndLeavesTheRest() async throws {
    let fixture = try await DispatchFixture { $0.id == "waits" ? .status(503, $0, after: .seconds(20)) : .ok($0) }
    try fixture.result("waits")
    try fixture.result("ok")
    let process = try fixture.start()
    await eventually("both are sent") { fixture.channel.sent.count == 2 }
    try await process.stop()
    // What waits for its next attempt pins its position, and comes again.
    #expect(fixture.committed == 0 || fixture.committed == nil)
    fixture.channel.setScript { .ok($0) }
    try await fixture.runUntilIdle()
    #expect(fixture.committed == 2)
    #expect(fixture.channel.sent.map(\.id).filter { $0 == "ok" }.count == 1)
    #expect(fixture.channel.sent.last.map { "\($0.id) \($0.attempts)" } == "waits 1")
  }

  @Test func atMostOnceIsNeverSentAgain() async throws {
    let fixture = try await DispatchFixture()
    // A claim that nobody settles: the process was killed.
    _ = try await fixture.store.process([
      .claim(.init(id: DeliveryID(named: "a"), token: 1, lease: .seconds(1), retention: .seconds(3600)))
    ])
    try fixture.result("a")
    try await fixture.runUntilIdle(DispatchFixture.settings { $0.mode = .atMostOnce })
    #expect(fixture.channel.sent.isEmpty)
    #expect(fixture.deadLetters.map { $0["dx-reason"] } == ["ambiguous"])
  }

  @Test func aClaimOfAKilledProcessIsWaitedFor() async throws {
    let fixture = try await DispatchFixture()
    _ = try await fixture.store.process([
      .claim(.init(id: DeliveryID(named: "a"), token: 1, lease: .seconds(20), retention: .seconds(3600)))
    ])
    let claimed = fixture.clock.now()
    try fixture.result("a")
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.map(\.id) == ["a"])
    #expect(fixture.clock.now() - claimed >= .seconds(20))
  }
}
