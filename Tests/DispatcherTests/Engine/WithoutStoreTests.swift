import DatabusCore
import Dispatcher
import Testing

/// While the store is away, where deliveries are to go on without it (`onUnavailable`: `send`).
@Suite struct WithoutStoreTests {
  private static let settings = DispatchFixture.settings { $0.withoutStore = .send }

  @Test func whatThisProcessDoesNotRememberIsSent() async throws {
    let fixture = try await DispatchFixture()
    fixture.store.setAway(true)
    for number in 0..<20 { try fixture.result("id-\(number)") }
    let process = try fixture.start(WithoutStoreTests.settings)
    await eventually("all are sent") { fixture.channel.sent.count == 20 }
    await eventually("all positions are passed") { fixture.committed == 20 }
    await eventually("it says so") {
      process.health.health(at: fixture.clock.now()).reasons.contains { $0.message.contains("the store is away") }
    }
    // What it remembers itself is not sent again.
    for number in 0..<20 { try fixture.result("id-\(number)") }
    await eventually("they are passed") { fixture.committed == 40 }
    #expect(fixture.channel.sent.count == 20)
    #expect(process.counter("databus_dispatch_without_store_total") == 20)
    #expect(process.counter("databus_dispatch_duplicates_total") == 20)

    fixture.store.setAway(false)
    try await eventually("the store is told what it has missed") {
      try await fixture.store.states(of: (0..<20).map { DeliveryID(named: "id-\($0)") }).allSatisfy {
        $0?.state == .done
      }
    }
    await eventually("it is well again") { process.health.health(at: fixture.clock.now()).isReady }
    try await process.stop()
    // Another process asks the store.
    for number in 0..<20 { try fixture.result("id-\(number)") }
    try await fixture.runUntilIdle()
    #expect(fixture.channel.sent.count == 20)
    #expect(fixture.committed == 60)
  }

  @Test func whatTheStoreKnewBeforeIsRememberedHereToo() async throws {
    let fixture = try await DispatchFixture()
    try fixture.result("before")
    let process = try fixture.start(WithoutStoreTests.settings)
    await eventually("it is passed") { fixture.committed == 1 }
    #expect(process.counter("databus_dispatch_without_store_total") == 0)
    fixture.store.setAway(true)
    try fixture.result("before")
    try fixture.result("during")
    await eventually("both are passed") { fixture.committed == 3 }
    #expect(fixture.channel.sent.map(\.id) == ["before", "during"])
    fixture.store.setAway(false)
    try fixture.result("after")
    await eventually("the last one is passed") { fixture.committed == 4 }
    try await eventually("the store knows it") {
      try await fixture.store.states(of: [DeliveryID(named: "after")])[0]?.state == .done
    }
    try await process.stop()
    #expect(fixture.channel.sent.map(\.id) == ["before", "during", "after"])
  }

  @Test func attemptsAreCountedAndSetAsideWithoutIt() async throws {
    let fixture = try await DispatchFixture { attempt in
      switch attempt.id {
      case "never": .status(500, attempt)
      case "later": attempt.attempts == 0 ? .status(503, attempt, after: .seconds(90)) : .ok(attempt)
      default: .ok(attempt)
      }
    }
    fixture.store.setAway(true)
    try fixture.result("never", to: "https://a.example/never")
    try fixture.result("later", to: "https://a.example/later")
    let process = try fixture.start(
      DispatchFixture.settings {
        $0.withoutStore = .send
        $0.retry.attempts = 4
      })
    await eventually("one is given up") { fixture.deadLetters.count == 1 }
    #expect(fixture.deadLetters.map { $0["dx-reason"] } == ["exhausted"])
    #expect(fixture.deadLetters.map { $0["dx-attempts"] } == ["4"])
    await eventually("the other is tried again") { fixture.channel.sent(to: "https://a.example/later").count == 2 }
    #expect(fixture.channel.sent(to: "https://a.example/later").map(\.attempts) == [0, 1])
    await eventually("both are passed") { fixture.committed == 2 }
    try await process.stop()
    #expect(fixture.channel.sent(to: "https://a.example/never").count == 4)
  }
}
