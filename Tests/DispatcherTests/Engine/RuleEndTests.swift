import DatabusCore
import Dispatcher
import Testing

/// Deliveries whose rule was deleted or disabled, where the dispatcher reads the rules (`dispatcher.rules`).
@Suite struct RuleEndTests {
  private static let settings = DispatchFixture.settings {
    $0.rules = .init(StreamReference(transport: "m", stream: "rules"), schemes: ["https"])
  }

  private static func put(_ id: String, _ fixture: DispatchFixture, more: String = "") throws {
    try fixture.memory.append(
      to: "rules", key: id, #"{"ruleId":"\#(id)","events":["e"],"destinationUrl":"https://a.example/hook"\#(more)}"#)
  }

  @Test func whatARuleMadeIsSentWhileTheRuleIsInForce() async throws {
    let fixture = try await DispatchFixture()
    try RuleEndTests.put("r", fixture)
    try RuleEndTests.put("off", fixture, more: #","enabled":false"#)
    try RuleEndTests.put("deleted", fixture)
    try fixture.memory.append(to: "rules", key: Array("deleted".utf8), value: nil)
    for rule in ["r", "off", "deleted"] { try fixture.result("of-\(rule)", rule: rule) }
    try await fixture.runUntilIdle(RuleEndTests.settings)
    #expect(fixture.channel.sent.map(\.id) == ["of-r"])
    #expect(Set(fixture.deadLetters.map { $0["dx-id"] }) == ["of-off", "of-deleted"])
    #expect(fixture.deadLetters.allSatisfy { $0["dx-reason"] == "rule_gone" })
    #expect(
      Set(fixture.deadLetters.map { $0["dx-detail"] })
        == [#"the rule "off" is disabled"#, #"the rule "deleted" was deleted"#])
    #expect(fixture.committed == 3)
  }

  @Test func aRuleThatGoesTakesWhatWaitsWithIt() async throws {
    let fixture = try await DispatchFixture(pace: .microseconds(500))
    try RuleEndTests.put("r", fixture)
    try RuleEndTests.put("s", fixture)
    for number in 0..<50 {
      try fixture.result("r-\(number)", to: "https://a.example/r", rule: "r")
      try fixture.result("s-\(number)", to: "https://a.example/s", rule: "s")
    }
    var settings = RuleEndTests.settings
    settings.delivery.rate = 5
    let process = try fixture.start(settings)
    await eventually("some are sent") { fixture.channel.sent(to: "https://a.example/r").count >= 5 }
    try fixture.memory.append(to: "rules", key: "r", #"{"ruleId":"r","deleted":true}"#)
    await eventually("the rest is given up") {
      fixture.deadLetters.count + fixture.channel.sent(to: "https://a.example/r").count == 50
    }
    #expect(fixture.deadLetters.count > 10)
    #expect(fixture.deadLetters.allSatisfy { $0["dx-rule"] == "r" })
    await eventually("the other's are sent") { fixture.channel.sent(to: "https://a.example/s").count == 50 }
    try await process.stop()
  }

  @Test func aRuleThatTheStreamDoesNotHoldIsGoneForWhatIsOlderThanTheReading() async throws {
    let fixture = try await DispatchFixture()
    try RuleEndTests.put("other", fixture)
    // Long ago; the deleted rule's tombstone has been compacted away since.
    try fixture.result("old", rule: "forgotten")
    fixture.clock.advance(by: .seconds(120))
    let process = try fixture.start(RuleEndTests.settings)
    await eventually("the old one is given up") { fixture.deadLetters.count == 1 }
    #expect(fixture.deadLetters.first?["dx-reason"] == "rule_gone")
    // The rule of a result that has just been written may not have been read yet.
    try fixture.result("new", rule: "not-read-yet")
    await eventually("the new one is sent") { fixture.channel.sent.map(\.id) == ["new"] }
    // Results of others name no rule.
    try fixture.memory.append(
      to: "results-http", #"{"destination":"https://a.example/hook","payload":1,"id":"none"}"#)
    await eventually("that of nobody's rule is sent") { fixture.channel.sent.map(\.id).last == "none" }
    try await process.stop()
  }

  @Test func aVersionThatIsRefusedEndsNothing() async throws {
    let fixture = try await DispatchFixture()
    // The version before, which the router keeps in force, may have been compacted away.
    try fixture.memory.append(to: "rules", key: "r", #"{"ruleId":"r","events":["e"],"destinationUrl":7}"#)
    try fixture.result("a", rule: "r")
    fixture.clock.advance(by: .seconds(120))
    try await fixture.runUntilIdle(RuleEndTests.settings)
    #expect(fixture.channel.sent.map(\.id) == ["a"])
  }

  @Test func nothingIsSentUntilTheRulesHaveBeenRead() async throws {
    let fixture = try await DispatchFixture()
    try RuleEndTests.put("r", fixture)
    try fixture.result("a", rule: "r")
    fixture.memory.control.fail(.next, on: "rules", with: TransportError(.transport, "the broker is away"), times: nil)
    let process = try fixture.start(RuleEndTests.settings)
    await eventually("it says so") {
      process.health.health(at: fixture.clock.now()).reasons.contains {
        $0.message.contains("the rules cannot be read: the broker is away")
      }
    }
    #expect(fixture.channel.sent.isEmpty)
    fixture.memory.control.recover(.next, on: "rules")
    await eventually("it is sent") { fixture.channel.sent.map(\.id) == ["a"] }
    await eventually("it is well again") { process.health.health(at: fixture.clock.now()).isReady }
    // And where they cannot be read for a while later.
    fixture.memory.control.fail(.next, on: "rules", with: TransportError(.transport, "the broker is away"), times: nil)
    await eventually("it says so again") {
      process.health.health(at: fixture.clock.now()).reasons.contains {
        $0.message.contains("the rules cannot be read")
      }
    }
    fixture.memory.control.recover(.next, on: "rules")
    await eventually("it is well once more") { process.health.health(at: fixture.clock.now()).isReady }
    try await process.stop()
  }
}
