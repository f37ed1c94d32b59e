import DatabusCore
import Dispatcher
import Testing

/// Nothing slow stops anything else.
@Suite struct SlowDestinationTests {
  private static let hanging = "https://slow.example/hook"

  @Test func oneThatHangsStopsNobody() async throws {
    let fixture = try await DispatchFixture { $0.target.url == SlowDestinationTests.hanging ? nil : .ok($0) }
    for number in 0..<300 {
      try fixture.result("slow-\(number)", to: SlowDestinationTests.hanging)
      try fixture.result("ok-\(number)", to: "https://ok.example/\(number % 10)")
    }
    let process = try fixture.start()
    await eventually("the others get theirs") {
      fixture.channel.sent.filter { $0.id.hasPrefix("ok-") }.count == 300
    }
    #expect(fixture.channel.most(at: SlowDestinationTests.hanging) <= 16)
    // What it holds up is set aside, so that positions move.
    await eventually("positions are passed") { fixture.committed == 600 }
    try await process.stop()
  }

  @Test func aFullQueueIsSetAside() async throws {
    let fixture = try await DispatchFixture { _ in nil }
    for number in 0..<100 { try fixture.result("\(number)", to: SlowDestinationTests.hanging) }
    let process = try fixture.start(
      DispatchFixture.settings {
        $0.queue = 10
        $0.delivery.concurrency = 2
      })
    await eventually("what has no room is stored") { fixture.records(of: "results-http-retry-1m") >= 80 }
    #expect(process.counter("databus_dispatch_spilled_total") >= 80)
    #expect(fixture.channel.most(at: SlowDestinationTests.hanging) <= 2)
    try await process.stop()
  }

  @Test func theBacklogOfOneThatAnswersIsNotSetAside() async throws {
    // On a clock that runs ahead of this machine, nobody answers in time.
    let fixture = try await DispatchFixture(pace: .microseconds(200))
    for number in 0..<3000 { try fixture.result("\(number)") }
    let process = try fixture.start(DispatchFixture.settings { $0.queue = 10 }, stopsWhenIdle: true)
    try await process.task.value
    #expect(fixture.channel.sent.count == 3000)
    #expect(process.counter("databus_dispatch_spilled_total") == 0)
  }

  @Test func whatOneDoesNotTakeSoonIsSetAsideAndComesBackInTime() async throws {
    let fixture = try await DispatchFixture()
    for number in 0..<600 { try fixture.result("\(number)") }
    let start = fixture.clock.now()
    let process = try fixture.start(
      DispatchFixture.settings {
        $0.queue = 10
        $0.delivery.rate = 10
      }, stopsWhenIdle: true)
    try await process.task.value
    #expect(Set(fixture.channel.sent.map(\.id)).count == 600 && fixture.channel.sent.count == 600)
    // Half a minute's worth stays in memory.
    #expect(process.counter("databus_dispatch_spilled_total") >= 250)
    // It is taken all the time, and does not wait for a retry stream of ten minutes.
    #expect(fixture.clock.now() - start < .seconds(300))
    #expect(fixture.records(of: "results-http-retry-10m") == 0)
  }

  @Test func oneWithMoreThanItTakesDoesNotKeepOthersFromTheirsForLong() async throws {
    let busy = "https://busy.example/hook"
    let fixture = try await DispatchFixture()
    for number in 0..<4000 {
      try fixture.result("\(number)", to: number % 50 == 49 ? "https://ok.example/hook" : busy)
    }
    let process = try fixture.start(
      DispatchFixture.settings {
        $0.queue = 10
        $0.delivery.concurrency = 1
        $0.maximumInFlight = 100
        $0.retry.tiers = [.seconds(2), .seconds(600)]
      })
    await eventually("the others get theirs") { fixture.channel.sent(to: "https://ok.example/hook").count == 80 }
    #expect(fixture.channel.sent(to: busy).count < 3000)
    #expect(process.counter("databus_dispatch_spilled_total") > 0)
    try await process.stop()
  }

  @Test func whileTheStoreIsAwayNothingIsSetAside() async throws {
    let fixture = try await DispatchFixture()
    fixture.store.setAway(true)
    for number in 0..<500 { try fixture.result("\(number)") }
    let process = try fixture.start(DispatchFixture.settings { $0.queue = 10 })
    try await fixture.clock.sleep(for: .seconds(120))
    fixture.store.setAway(false)
    await eventually("all arrive") { fixture.channel.sent.count == 500 && fixture.committed == 500 }
    #expect(process.counter("databus_dispatch_spilled_total") == 0)
    try await process.stop()
  }

  @Test func oneThatIsIllIsLeftAloneAndTriedByProbes() async throws {
    let fixture = try await DispatchFixture { .status(500, $0) }
    for number in 0..<100 { try fixture.result("\(number)", to: SlowDestinationTests.hanging) }
    let process = try fixture.start(DispatchFixture.settings { $0.delivery.concurrency = 4 })
    await eventually("the breaker opens") { fixture.channel.sent.count >= 10 }
    let opened = fixture.channel.sent.count
    // Those under way when it opened, and no more until its time is over.
    let opening = fixture.clock.now()
    await eventually("a probe is made") {
      fixture.channel.sent.count > opened + 4 || fixture.clock.now() - opening > .seconds(45)
    }
    #expect(opened <= 14)
    fixture.channel.setScript { .ok($0) }
    await eventually("all arrive") {
      Set(fixture.channel.sent.map(\.id)).count == 100 && fixture.committed == 100
    }
    try await process.stop()
  }

  @Test func aServerGetsNoMoreThanAQuarterOfAllAttempts() async throws {
    let fixture = try await DispatchFixture { _ in nil }
    for number in 0..<200 { try fixture.result("\(number)", to: "https://big.example/\(number)") }
    let process = try fixture.start(DispatchFixture.settings { $0.slots = 40 })
    await eventually("attempts are made") { fixture.channel.sent.count >= 10 }
    #expect(fixture.channel.sent.count <= 20)
    try await process.stop()
  }

  @Test func aRateIsKept() async throws {
    let fixture = try await DispatchFixture()
    for number in 0..<60 { try fixture.result("\(number)") }
    let start = fixture.clock.now()
    try await fixture.runUntilIdle(DispatchFixture.settings { $0.delivery.rate = 10 })
    #expect(fixture.channel.sent.count == 60)
    // A second's worth at once, then ten a second.
    #expect(fixture.clock.now() - start >= .seconds(4))
  }

  @Test func whatIsPausedWaitsInTheRetryStreams() async throws {
    let fixture = try await DispatchFixture()
    try await fixture.store.set(DispatchMark(.destination("https://a.example/hook"), .paused, at: 0))
    let process = try fixture.start()
    // Marks are read at the start of a process; what comes after is held back.
    try await fixture.clock.sleep(for: .seconds(5))
    try fixture.result("a")
    await eventually("it is stored") { fixture.records(of: "results-http-retry-1m") == 1 }
    #expect(fixture.channel.sent.isEmpty)
    try await fixture.store.remove(.destination("https://a.example/hook"), .paused)
    await eventually("it is sent") { fixture.channel.sent.map(\.id) == ["a"] }
    try await process.stop()
  }

  @Test func whatIsCancelledWhileItWaitsInARetryStreamIsADeadLetterToo() async throws {
    let fixture = try await DispatchFixture()
    try await fixture.store.set(DispatchMark(.destination("https://a.example/hook"), .paused, at: 0))
    try fixture.result("a")
    let process = try fixture.start()
    await eventually("it is stored") { fixture.records(of: "results-http-retry-1m") == 1 }
    try await fixture.store.set(
      DispatchMark(.rule("r"), .cancelled, at: fixture.clock.wallMilliseconds(), detail: "by an operator"))
    try await fixture.store.remove(.destination("https://a.example/hook"), .paused)
    await eventually("it is given up") { fixture.deadLetters.map { $0["dx-reason"] } == ["rule_gone"] }
    #expect(fixture.channel.sent.isEmpty)
    try await process.stop()
  }

  @Test func whatIsPausedIsNotSentBeforeThatIsKnown() async throws {
    let fixture = try await DispatchFixture()
    try await fixture.store.set(DispatchMark(.destination("https://a.example/hook"), .paused, at: 0))
    for number in 0..<100 { try fixture.result("\(number)") }
    let process = try fixture.start()
    await eventually("all are stored") { fixture.records(of: "results-http-retry-1m") == 100 }
    #expect(fixture.channel.sent.isEmpty)
    try await process.stop()
  }

  @Test func whatIsCancelledIsADeadLetter() async throws {
    let fixture = try await DispatchFixture { _ in nil }
    for number in 0..<40 { try fixture.result("\(number)", rule: "old") }
    let process = try fixture.start(DispatchFixture.settings { $0.delivery.concurrency = 1 })
    await eventually("one is under way") { fixture.channel.sent.count == 1 }
    try await fixture.store.set(
      DispatchMark(.rule("old"), .cancelled, at: fixture.clock.wallMilliseconds(), detail: "by an operator"))
    await eventually("the rest is given up") {
      fixture.deadLetters.filter { $0["dx-reason"] == "rule_gone" }.count >= 39
    }
    fixture.channel.setScript { .ok($0) }
    try fixture.result("new", rule: "old")
    await eventually("what is routed later is sent") { fixture.channel.sent.contains { $0.id == "new" } }
    try await process.stop()
  }
}
