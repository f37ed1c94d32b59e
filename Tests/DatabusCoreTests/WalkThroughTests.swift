import DatabusCore
import MemoryState
import MemoryTransport
import Testing

/// The walk-through of the original proof of concept, word for word, over memory.
@Suite struct WalkThroughTests {
  static let ruleA =
    #"{"ruleId": "rule_a", "events": ["user:signup", "subscription:created"], "destinationUrl": "https://foo.bar/baz", "transforms": [], "filters": []}"#
  static let ruleB =
    #"{"ruleId": "rule_b", "events": ["subscription:created"], "destinationUrl": "https://themoney.com/hook", "transforms": [], "filters": []}"#
  static let events = [
    #"{"type": "user:signup", "data": {"userId": 123}}"#,
    #"{"type": "user:login", "data": {"userId": 123}}"#,
    #"{"type": "user:signup", "data": {"userId": 999}}"#,
    #"{"type": "subscription:created", "data": {"userId": 123, "subscriptionId": 11}}"#,
    #"{"type": "user:signup", "data": {"userId": 456}}"#,
    #"{"type": "user:signup", "data": {"userId": 789}}"#,
    #"{"type": "user:login", "data": {"userId": 456}}"#,
    #"{"type": "user:signup", "data": {"userId": 789}}"#,
    #"{"type": "subscription:created", "data": {"userId": 456, "subscriptionId": 66}}"#,
    #"{"type": "user:login", "data": {"userId": 789}}"#,
    #"{"type": "subscription:created", "data": {"userId": 789, "subscriptionId": 33}}"#,
  ]

  /// One run until everything has been routed; positions and rules go on in `state`.
  private func run(_ memory: MemoryTransport, _ state: MemoryStore) async throws {
    let pipeline = Pipeline(
      .init(
        configuration: PipelineConfiguration(
          name: "walk", events: EventsConfiguration(StreamReference(transport: "memory", stream: "events")),
          rules: RulesConfiguration(StreamReference(transport: "memory", stream: "rules")),
          results: ResultsConfiguration(transport: "memory")), transports: ["memory": memory],
        state: MemoryState(state), stopsWhenIdle: true))
    try await pipeline.run()
  }

  private func results(_ memory: MemoryTransport, from start: Int = 0) -> [JSONValue] {
    memory.records(of: "results-http").dropFirst(start).compactMap { record in
      record.value.flatMap { try? JSONDocument.value(of: $0) }
    }
  }

  @Test func theWalkThroughRoutesWhatTheRulesSay() async throws {
    let memory = MemoryTransport()
    let state = MemoryStore()
    for stream in ["events", "rules", "results-http"] { try await memory.createTopic(stream, partitions: 1) }

    try memory.append(to: "events", WalkThroughTests.events[0])
    try await run(memory, state)
    #expect(results(memory).isEmpty)

    try memory.append(to: "rules", WalkThroughTests.ruleA)
    try memory.append(to: "rules", WalkThroughTests.ruleB)
    for event in WalkThroughTests.events { try memory.append(to: "events", event) }
    try await run(memory, state)
    var seen = results(memory)
    #expect(seen.count == 11)
    #expect(seen.filter { $0["destination"]?.string == "https://foo.bar/baz" }.count == 8)
    #expect(seen.filter { $0["destination"]?.string == "https://themoney.com/hook" }.count == 3)
    #expect(Set(seen.compactMap { $0["id"]?.string }).count == 11)
    let first = memory.records(of: "results-http")[0].value.map { String(decoding: $0, as: UTF8.self) } ?? ""
    #expect(
      first.hasPrefix(
        #"{"destination":"https://foo.bar/baz","payload":{"type": "user:signup", "data": {"userId": 123}},"id":""#))
    #expect(first.contains(#","rule":"rule_a","event":"events/0/"#))

    // rule_a is sent again with user:login added: the next login event is routed.
    try memory.append(
      to: "rules",
      WalkThroughTests.ruleA.replacing(#""subscription:created"]"#, with: #""subscription:created", "user:login"]"#))
    try memory.append(to: "events", WalkThroughTests.events[1])
    try await run(memory, state)
    seen = results(memory, from: 11)
    #expect(seen.count == 1)
    #expect(seen.first?["payload"]?["type"]?.string == "user:login")

    // Without subscription:created, those stop going to foo.bar.
    try memory.append(to: "rules", WalkThroughTests.ruleA.replacing(#", "subscription:created""#, with: ""))
    try memory.append(to: "events", WalkThroughTests.events[3])
    try await run(memory, state)
    seen = results(memory, from: 12)
    #expect(seen.map { $0["destination"]?.string } == ["https://themoney.com/hook"])

    // rule_b is deleted by a tombstone, put back, and deleted by a record.
    try memory.append(to: "rules", key: Array("rule_b".utf8), value: nil)
    try memory.append(to: "events", WalkThroughTests.events[3])
    try await run(memory, state)
    #expect(results(memory).count == 13)
    try memory.append(to: "rules", WalkThroughTests.ruleB)
    try memory.append(to: "events", WalkThroughTests.events[3])
    try await run(memory, state)
    #expect(results(memory).count == 14)
    try memory.append(to: "rules", #"{"ruleId": "rule_b", "deleted": true}"#)
    try memory.append(to: "events", WalkThroughTests.events[3])
    try await run(memory, state)
    #expect(results(memory).count == 14)
  }
}
