import CSimdJSON
import CSystem
import DatabusCore
import MemoryState
import MemoryTransport

/// The whole pipeline over memory: source, tracker, router with ids, sink, checkpoints.
enum RouteBenchmark {
  static let events = 1_000_000

  static func run(_ report: Report, rounds: Int) async throws {
    for rules in [4, 1000, 100_000] {
      let memory = try makeStreams(rules: rules)
      var routed: [Double] = []
      var parsed: [Double] = []
      _ = databus_use_processors(1)
      for _ in 0..<rounds {
        parsed.append(parse())
        routed.append(try await route(memory, workers: 1).processor)
      }
      let parse = Statistics.median(parsed)
      let one = Statistics.median(routed)
      report.add(
        Figure(
          benchmark: "route, \(rules) rules, one core", value: one, unit: "ns/event", reference: "ns, one parse",
          referenceValue: parse, goal: rules == 4 ? "<= 3.0" : rules == 1000 ? "<= 3.2" : "<= 4"))
      var two: [Double] = []
      var alone: [Double] = []
      for _ in 0..<rounds {
        _ = databus_use_processors(1)
        alone.append(try await route(memory, workers: 1).wall)
        _ = databus_use_processors(2)
        two.append(try await route(memory, workers: 2).wall)
      }
      report.add(
        Figure(
          benchmark: "route, \(rules) rules, two workers", value: 1000 / Statistics.median(two), unit: "M events/s",
          reference: "M events/s, one core", referenceValue: 1000 / Statistics.median(alone), goal: ">= 1.7"))
    }
  }

  /// User and system time of this process so far, in nanoseconds.
  private static func processorTime() -> Double {
    let usage = databus_process_usage()
    return Double(usage.userNanoseconds + usage.systemNanoseconds)
  }

  /// Nanoseconds that simdjson alone takes for an event.
  static func parse() -> Double {
    guard let parser = databus_json_parser_create(128) else { return 0 }
    defer { databus_json_parser_destroy(parser) }
    var bytes = Array(SampleEvents.event(type: 1, user: 1).utf8)
    let count = bytes.count
    bytes += [UInt8](repeating: 0x20, count: Int(DATABUS_JSON_PADDING))
    var tape = databus_json_tape()
    let start = processorTime()
    bytes.withUnsafeBufferPointer { buffer in
      for _ in 0..<events { databus_json_parse(parser, buffer.baseAddress, count, &tape) }
    }
    return (processorTime() - start) / Double(events)
  }

  static func makeStreams(rules: Int) throws -> MemoryTransport {
    let memory = MemoryTransport()
    try memory.createTopic("events", partitions: 1, retention: .everything)
    try memory.createTopic("rules", partitions: 1, retention: .everything)
    try memory.createTopic("results-http", partitions: 1, retention: .nothing)
    try memory.createTopic("route-dead-letters", partitions: 1, retention: .everything)
    for number in 0..<rules { try memory.append(to: "rules", SampleEvents.rule(number)) }
    for number in 0..<events {
      try memory.append(to: "events", SampleEvents.event(type: number &* 7919 % rules, user: number))
    }
    return memory
  }

  /// Nanoseconds an event, from the first event read to the last result: by the clock, and of the processors' time.
  private static func route(_ memory: MemoryTransport, workers: Int) async throws -> (wall: Double, processor: Double) {
    let clock = SystemClock()
    let pipeline = pipeline(memory, workers: workers, stopsWhenIdle: true)
    let before = memory.appendedCount(of: "results-http")
    let run = Task { try await pipeline.run() }
    // Compiling the rules is not what is measured here.
    while await pipeline.presence().counts.events == 0 { try await Task.sleep(for: .microseconds(200)) }
    let first = await pipeline.presence().counts.events
    let start = clock.now()
    let used = processorTime()
    while memory.appendedCount(of: "results-http") - before < UInt64(events) {
      try await Task.sleep(for: .milliseconds(1))
    }
    let time = (clock.now() - start).fractionalSeconds * 1e9
    let processor = processorTime() - used
    try await run.value
    return (time / Double(events - first), processor / Double(events - first))
  }

  /// A pipeline over these streams that reads all events again.
  static func pipeline(_ memory: MemoryTransport, workers: Int, stopsWhenIdle: Bool) -> Pipeline {
    Pipeline(
      .init(
        configuration: PipelineConfiguration(
          // A group of its own reads everything again.
          name: "route\(SystemClock().now().nanoseconds)",
          events: EventsConfiguration(StreamReference(transport: "memory", stream: "events")),
          rules: RulesConfiguration(StreamReference(transport: "memory", stream: "rules")),
          results: ResultsConfiguration(transport: "memory"),
          deadLetters: StreamReference(transport: "memory", stream: "route-dead-letters")),
        transports: ["memory": memory], state: MemoryState(), workers: workers, stopsWhenIdle: stopsWhenIdle))
  }
}
