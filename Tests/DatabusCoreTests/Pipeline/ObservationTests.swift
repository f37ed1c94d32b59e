import DatabusCore
import MemoryTransport
import Synchronization
import Testing

/// What a pipeline tells of itself is what was sent through it.
@Suite(.timeLimit(.minutes(1))) struct ObservationTests {
  @Test func countersAreWhatWasSent() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.rule("s", ["a"], url: "https://z.z")
    try fixture.memory.append(to: "rules", #"{"ruleId":"bad"}"#)
    try fixture.events(0..<10)
    try fixture.events(10..<14, type: "nobody")
    try fixture.memory.append(to: "events", "broken")
    let process = fixture.start()
    #expect(process.metric("databus_dead_letters_total", ["reason": "not_json"]) == 0, "known before it happens")
    await eventually("all is counted") {
      process.metric("databus_events_total") == 15 && process.ofPartition("databus_position") == 15
        && process.ofPartition("databus_lag_records") == 0
        && process.metric("databus_rules_lag_records", ["stream": "rules", "partition": "0"]) == 0
    }
    #expect(process.metric("databus_results_total") == 20)
    #expect(process.metric("databus_events_filtered_total") == 4)
    #expect(process.metric("databus_events_declined_total") == 0)
    #expect(process.metric("databus_gaps_total") == 0)
    #expect(process.metric("databus_dead_letters_total", ["reason": "not_json"]) == 1)
    #expect(process.metric("databus_dead_letters_total", ["reason": "rule_invalid"]) == 1)
    #expect(process.metric("databus_rules_in_force") == 2)
    #expect(process.metric("databus_rules_refused") == 1)
    #expect(process.metric("databus_rule_table_version") ?? 0 > 0)
    #expect(process.metric("databus_rules_position", ["stream": "rules", "partition": "0"]) == 3)
    #expect(process.metric("databus_partitions", ["status": "running"]) == 1)
    #expect(process.metric("databus_partitions", ["status": "parked"]) == 0)
    #expect(process.ofPartition("databus_open_records") == 0)
    #expect(process.ofPartition("databus_partition_parked") == 0)
    #expect(process.metric("databus_checkpoints_total") ?? 0 > 0)
    #expect(process.metric("databus_checkpoints_failed_total") == 0)
    #expect(process.histogram("databus_checkpoint_duration_seconds")?.count ?? 0 > 0)
    // Ten with results, and the dead letter: what no rule wants has no latency.
    #expect(process.histogram("databus_processing_latency_seconds")?.count == 11)
    #expect(process.histogram("databus_event_latency_seconds")?.count == 11)
    await eventually("it is ready") { process.health.health(at: fixture.clock.now()).isReady }
    #expect(process.metric("databus_ready") == 1)
    try await process.stop()
    #expect(process.metric("databus_ready") == 0)
    #expect(process.health.health(at: fixture.clock.now()).reasons.map(\.message) == ["it has ended"])
  }

  @Test func lagAndAgeGrowWhileASinkHoldsBack() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    fixture.control.holdEnds(on: "results-http")
    let process = fixture.start()
    try fixture.events(0..<30)
    await eventually("they are open") { process.ofPartition("databus_open_records") == 30 }
    await eventually("the lag is seen") { process.ofPartition("databus_lag_records") == 30 }
    await eventually("they grow old") { process.ofPartition("databus_oldest_open_record_age_seconds") ?? 0 > 5000 }
    #expect(process.histogram("databus_processing_latency_seconds")?.count == 0)
    try fixture.control.release(on: "results-http")
    fixture.control.holdEnds(on: "results-http", false)
    await eventually("all has ended") { process.ofPartition("databus_lag_records") == 0 }
    #expect(process.ofPartition("databus_oldest_open_record_age_seconds") == 0)
    // They waited for more than five seconds, so none of them is in a bucket below that.
    let waited = try #require(process.histogram("databus_processing_latency_seconds"))
    #expect(waited.count == 30)
    #expect(Double(waited.sum) * waited.scale > 30 * 5)
    try await process.stop()
  }

  @Test func anEventsAgeIsCountedFromItsTimestamp() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let now = fixture.clock.wallMilliseconds()
    for (age, value) in [(100_000, "a"), (50_000, "a"), (-90_000, "a"), (Int(Int64.max / 2), "a")] {
      try fixture.memory.append(
        to: "events", value: Array(#"{"type":"\#(value)"}"#.utf8), timestamp: now - Int64(age))
    }
    let process = fixture.start(limits: Limits(batchRecords: 1))
    await eventually("all have ended") { fixture.committed() == 4 }
    let ages = try #require(process.histogram("databus_event_latency_seconds"))
    #expect(ages.count == 4)
    // One of the future has no age; one that is impossibly old counts as 30 days.
    let seconds = Double(ages.sum) * ages.scale
    #expect(seconds > 150 + 30 * 86_400)
    #expect(seconds < 150 + 30 * 86_400 + 600)
    try await process.stop()
  }

  @Test func troubleIsToldWithItsPartUntilItIsOver() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    fixture.control.fail(.next, on: "rules", with: TransportError(.transport, "rules are away"), times: nil)
    let process = fixture.start()
    func health() -> Health { process.health.health(at: fixture.clock.now()) }
    await eventually("it says why") {
      health().reasons == [.init(part: "rules", message: "rules are away")]
    }
    #expect(process.metric("databus_ready") == 0)
    fixture.control.recover(.next, on: "rules")
    await eventually("it is ready") { health().isReady && process.metric("databus_ready") == 1 }
    try await process.stop()
  }

  @Test func aParkedPartitionIsToldAndItsReason() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<1)
    fixture.control.leaveGap("events", partition: 0, positions: 5)
    try fixture.events(1..<2)
    let process = fixture.start(onGap: .park)
    await eventually("it is parked") { process.ofPartition("databus_partition_parked") == 1 }
    #expect(process.metric("databus_partitions", ["status": "parked"]) == 1)
    let reason = try #require(process.health.health(at: fixture.clock.now()).reasons.first)
    #expect(reason.part == "parked events/0")
    #expect(reason.message.contains("positions set"))
    #expect(process.metric("databus_gaps_total") == 1)
    try await process.stop()
  }

  @Test func aCheckpointThatCannotBeWrittenIsCounted() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let process = fixture.start()
    await eventually("it is ready") { process.metric("databus_ready") == 1 }
    fixture.store.setUnavailable("the disk is full")
    try fixture.events(0..<1)
    await eventually("it is counted") { process.metric("databus_checkpoints_failed_total") ?? 0 > 0 }
    #expect(process.health.health(at: fixture.clock.now()).reasons.contains { $0.message == "the disk is full" })
    fixture.store.setUnavailable(nil)
    await eventually("it is written") { process.ofPartition("databus_position") == 1 }
    try await process.stop()
  }

  @Test func aPartitionThatIsGoneHasNoSeries() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try fixture.events(0..<1)
    let process = fixture.start()
    await eventually("it is there") { process.ofPartition("databus_position") == 1 }
    fixture.control.revoke("events", group: PipelineFixture.name, partition: 0, within: .seconds(60))
    await eventually("it is gone") { process.ofPartition("databus_position") == nil }
    for name in [
      "databus_open_records", "databus_partition_parked", "databus_oldest_open_record_age_seconds",
      "databus_lag_records",
    ] { #expect(process.ofPartition(name) == nil, "\(name)") }
    try await process.stop()
  }

  @Test func aTransportThatHangsHoldsNeitherMetricsNorTheEndUp() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    let hanging = Hold()
    let process = fixture.start(
      rulesTransport: InterposedTransport(base: fixture.memory, beforeBounds: { await hanging.pass() }))
    await eventually("it is ready") { process.metric("databus_ready") == 1 }
    hanging.hang()
    await eventually("it was asked and does not answer") { hanging.hung > 0 }
    try fixture.events(0..<5)
    await eventually("events are routed and counted") { process.metric("databus_results_total") == 5 }
    await eventually("the other stream's lag is seen") { process.ofPartition("databus_lag_records") == 0 }
    try await process.stop()
    hanging.letGo()
  }
}

/// Holds up whoever wants to pass while it is told to.
private final class Hold: Sendable {
  private struct State {
    var isHanging = false
    var waiters: [CheckedContinuation<Void, Never>] = []
  }
  private let state = Mutex(State())

  var hung: Int { state.withLock { $0.waiters.count } }
  func hang() { state.withLock { $0.isHanging = true } }

  func letGo() {
    let waiters = state.withLock { state in
      state.isHanging = false
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  func pass() async {
    await withCheckedContinuation { continuation in
      let isHanging = state.withLock { state in
        if state.isHanging { state.waiters.append(continuation) }
        return state.isHanging
      }
      if !isHanging { continuation.resume() }
    }
  }
}
