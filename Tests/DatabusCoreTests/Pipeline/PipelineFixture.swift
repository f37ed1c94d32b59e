import DatabusCore
import MemoryState
import MemoryTransport
import Testing

/// Streams, state and a clock that runs fast: one broker and one state backend, and any number of processes on them.
final class PipelineFixture: Sendable {
  static let name = "p"
  let clock = TestClock()
  let memory: MemoryTransport
  let store: MemoryStore
  private let ticker: Task<Void, Never>

  init(isShared: Bool = false, nonce: String? = nil, options: MemoryTransport.Options = .init()) {
    memory = MemoryTransport(MemoryLog(clock: clock, nonce: nonce), options: options)
    store = MemoryStore(isShared: isShared)
    // A second passes in about 20 ms, in small steps: everything that waits for time goes on.
    ticker = Task { [clock] in
      while !Task.isCancelled {
        clock.advance(by: .milliseconds(5))
        try? await Task.sleep(for: .microseconds(100))
      }
    }
  }

  deinit { ticker.cancel() }

  var control: MemoryTransport.Control { memory.control }

  static let rule = #"{"ruleId":"r","events":["a"],"destinationUrl":"https://x.y"}"#

  func rule(_ id: String = "r", _ events: [String] = ["a"], url: String = "https://x.y") throws {
    let list = events.map { "\"\($0)\"" }.joined(separator: ",")
    try memory.append(to: "rules", key: id, #"{"ruleId":"\#(id)","events":[\#(list)],"destinationUrl":"\#(url)"}"#)
  }

  func events(_ numbers: Range<Int>, type: String = "a", partition: Int? = nil) throws {
    for number in numbers {
      try memory.append(to: "events", partition: partition, #"{"type":"\#(type)","n":\#(number)}"#)
    }
  }

  /// Starts a process. It opens the broker and the state anew.
  func start(
    limits: Limits = Limits(), start: StartPosition = .earliest, onGap: GapPolicy = .continue,
    consistency: RulesConsistency = .default, workers: Int = 2, stopsWhenIdle: Bool = false,
    drainTime: Duration = .seconds(3600), checkpointsEachBatch: Bool = false,
    rulesTransport: (any Transport)? = nil
  ) -> Process {
    let transport = MemoryTransport(memory.log, options: memory.options)
    let metrics = MetricRegistry()
    let health = HealthBoard()
    var parts = Pipeline.Parts(
      configuration: PipelineConfiguration(
        name: PipelineFixture.name,
        events: EventsConfiguration(StreamReference(transport: "m", stream: "events"), start: start, onGap: onGap),
        rules: RulesConfiguration(StreamReference(transport: "r", stream: "rules"), consistency: consistency),
        results: ResultsConfiguration(transport: "m")),
      transports: ["m": transport, "r": rulesTransport ?? transport], state: MemoryState(store), limits: limits,
      checkpoint: CheckpointPolicy(interval: .milliseconds(100)), clock: clock, metrics: metrics, health: health,
      workers: workers, stopsWhenIdle: stopsWhenIdle, drainTime: drainTime)
    parts.checkpointsEachBatch = checkpointsEachBatch
    let pipeline = Pipeline(parts)
    return Process(pipeline: pipeline, metrics: metrics, health: health, task: Task { try await pipeline.run() })
  }

  struct Process: Sendable {
    let pipeline: Pipeline
    let metrics: MetricRegistry
    let health: HealthBoard
    let task: Task<Void, any Error>

    /// The value of a counter or gauge; nil where there is no such series.
    func metric(_ name: String, _ labels: KeyValuePairs<String, String> = [:]) -> Int? {
      let labels = labels.map { MetricLabel($0.key, $0.value) }
      switch metrics.snapshot().first(where: { $0.name == name && $0.labels == labels })?.value {
      case .counter(let value): return Int(value)
      case .gauge(let value): return Int(value)
      default: return nil
      }
    }

    /// A gauge or counter of partition 0 of the events.
    func ofPartition(_ name: String) -> Int? { metric(name, ["stream": "events", "partition": "0"]) }

    func histogram(_ name: String) -> HistogramSnapshot? {
      guard case .histogram(let snapshot)? = metrics.snapshot().first(where: { $0.name == name })?.value else {
        return nil
      }
      return snapshot
    }

    func stop() async throws {
      pipeline.stop()
      try await task.value
    }
  }

  /// Runs until everything has been routed.
  func runUntilIdle(limits: Limits = Limits(), workers: Int = 2, start: StartPosition = .earliest) async throws {
    try await self.start(limits: limits, start: start, workers: workers, stopsWhenIdle: true).task.value
  }

  func presences() async throws -> [Presence] {
    try await Presence.all(MemoryState(store).open(.pipeline))
  }

  // MARK: What came out

  private func values(_ stream: String) -> [JSONValue] {
    memory.records(of: stream).compactMap { record in record.value.flatMap { try? JSONDocument.value(of: $0) } }
  }

  var results: [JSONValue] { values("results-http") }
  /// The events' numbers in the order of the results.
  var numbers: [Int] { results.compactMap { $0["payload"]?["n"]?.integer } }
  var ids: [String] { results.compactMap { $0["id"]?.string } }
  /// One line each: reason, and the rule where there is one.
  var deadLetters: [String] {
    memory.records(of: "p-dead-letters").map { record in
      let headers = Dictionary(record.headers.map { ($0.name, String(decoding: $0.value ?? [], as: UTF8.self)) }) { $1 }
      return [headers["dx-reason"], headers["dx-rule"]].compactMap { $0 }.joined(separator: " ")
    }
  }
  var deadLetterIDs: [String] {
    memory.records(of: "p-dead-letters").flatMap { record in
      record.headers.filter { $0.name == "dx-id" }.map { String(decoding: $0.value ?? [], as: UTF8.self) }
    }
  }

  func committed(_ partition: Int = 0) -> UInt64? {
    control.committed("events", group: PipelineFixture.name, partition: partition)?.position.next
  }
}

/// Returns once the condition holds; records an issue where it does not within 20 s.
func eventually(
  _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async rethrows {
  for _ in 0..<10_000 {
    if try await condition() { return }
    try? await Task.sleep(for: .milliseconds(2))
  }
  Issue.record("never: \(what)", sourceLocation: sourceLocation)
}

/// Lets the fixture's clock run on, so that what must not happen has had its chance.
func letTimePass(_ duration: Duration, _ fixture: PipelineFixture) async throws {
  try await fixture.clock.sleep(for: duration)
}

let down = TransportError(.transport, "the broker is away")
