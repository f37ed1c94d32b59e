import CSystem
import DatabusCore
import MemoryState
import MemoryTransport

/// Rule changes at 100,000 rules while events are routed.
enum TableBenchmark {
  private static let rules = 100_000
  private static let seconds = 3.0

  static func run(_ report: Report, rounds: Int) async throws {
    var quiet: [Double] = []
    var changed: [Double] = []
    var rates: [Double] = []
    var visible: [Double] = []
    let memory = try RouteBenchmark.makeStreams(rules: rules)
    for _ in 0..<rounds {
      quiet.append(try await measure(memory, changes: false).events)
      let busy = try await measure(memory, changes: true)
      changed.append(busy.events)
      rates.append(busy.changes)
      visible.append(busy.visibleMilliseconds)
    }
    report.add(
      Figure(
        benchmark: "table, changes/s at 100,000 rules", value: Statistics.median(rates), unit: "changes/s",
        reference: "changes/s asked for", referenceValue: 10_000, goal: ">= 1"))
    report.add(
      Figure(
        benchmark: "table, routing meanwhile", value: Statistics.median(changed) / 1e6, unit: "M events/s",
        reference: "M events/s without changes", referenceValue: Statistics.median(quiet) / 1e6, goal: ">= 0.8"))
    report.add(
      Figure(
        benchmark: "table, a change is in force after", value: Statistics.median(visible), unit: "ms",
        reference: "ms", referenceValue: 100, goal: "<= 1"))
  }

  private struct Result {
    var events = 0.0
    var changes = 0.0
    var visibleMilliseconds = 0.0
  }

  private static func measure(_ memory: MemoryTransport, changes: Bool) async throws -> Result {
    let clock = SystemClock()
    let pipeline = RouteBenchmark.pipeline(memory, workers: 1, stopsWhenIdle: false)
    let run = Task { try await pipeline.run() }
    while await pipeline.presence().counts.events == 0 { try await Task.sleep(for: .milliseconds(1)) }
    var result = Result()
    let start = clock.now()
    let first = await pipeline.presence()
    var sent = 0
    var slowest = 0.0
    while (clock.now() - start).fractionalSeconds < seconds {
      // The same million events again and again: what counts is that routing never waits for events.
      let presence = await pipeline.presence()
      if presence.counts.events >= RouteBenchmark.events { break }
      guard changes else {
        try await Task.sleep(for: .milliseconds(5))
        continue
      }
      let asked = clock.now()
      let due = Int((asked - start).fractionalSeconds * 10_000)
      var last: UInt64 = 0
      while sent < due {
        last = try memory.append(to: "rules", SampleEvents.rule(sent % rules)).position
        sent += 1
      }
      while await (pipeline.presence().rules.positions.values.max() ?? 0) <= last {
        try await Task.sleep(for: .microseconds(200))
      }
      slowest = max(slowest, (clock.now() - asked).fractionalSeconds * 1000)
      try await Task.sleep(for: .milliseconds(2))
    }
    let time = (clock.now() - start).fractionalSeconds
    let last = await pipeline.presence()
    result.events = Double(last.counts.events - first.counts.events) / time
    result.changes = Double(sent) / time
    result.visibleMilliseconds = slowest
    pipeline.stop()
    try await run.value
    return result
  }
}
