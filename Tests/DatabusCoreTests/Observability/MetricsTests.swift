import DatabusCore
import Testing

struct MetricsTests {
  @Test func theSameNameAndLabelsAreTheSameSeries() {
    let registry = MetricRegistry()
    registry.counter("a_total", "A.", [MetricLabel("s", "1")]).add(2)
    registry.counter("a_total", "A.", [MetricLabel("s", "1")]).add()
    registry.counter("a_total", "A.", [MetricLabel("s", "2")]).add()
    #expect(registry.snapshot().map(\.value) == [.counter(3), .counter(1)])
    registry.remove("a_total", [MetricLabel("s", "1")])
    #expect(registry.snapshot().map(\.labels) == [[MetricLabel("s", "2")]])
  }

  @Test func concurrentAdditionsAreAllCounted() async {
    let counter = Counter()
    let histogram = Histogram(unit: 1)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for value in 0..<1000 {
            counter.add()
            histogram.record(UInt64(value))
          }
        }
      }
    }
    #expect(counter.value == 8000)
    #expect(histogram.snapshot.count == 8000)
    #expect(histogram.snapshot.sum == 8 * 499_500)
  }

  @Test(
    "a value is counted in the first bucket whose bound it does not pass",
    arguments: [(0, 0), (10, 0), (11, 1), (20, 1), (21, 2), (40, 2), (41, 3), (UInt64.max, 27)] as [(UInt64, Int)])
  func buckets(_ value: UInt64, _ bucket: Int) {
    let histogram = Histogram(unit: 10)
    histogram.record(value)
    #expect(histogram.snapshot.counts.firstIndex(of: 1) == bucket)
  }

  @Test func aValueOfManyIsCountedForEach() {
    let histogram = Histogram(unit: 10)
    histogram.record(15, times: 4)
    histogram.record(5)
    #expect(histogram.snapshot.counts.prefix(2) == [1, 4])
    #expect(histogram.snapshot.sum == 65)
  }

  @Test func aTotalThatIsKeptElsewhereNeverGoesBack() {
    let counter = Counter()
    counter.raise(to: 5)
    counter.raise(to: 3)
    #expect(counter.value == 5)
  }

  @Test func theProcessIsMeasuredInBaseUnits() {
    let registry = MetricRegistry()
    let process = ProcessMetrics(registry, processStart: 1_500)
    process.update()
    let lines = PrometheusText.write(registry.snapshot()).split(separator: "\n").map { $0.split(separator: " ") }
    func value(_ name: String) -> Double { lines.first { $0[0] == name }.flatMap { Double($0[1]) } ?? -1 }
    #expect(value("process_start_time_seconds") == 1.5)
    #expect(value("process_cpu_seconds_total") > 0)
    #expect(value("process_cpu_seconds_total") < 3600)
    #expect(value("process_resident_memory_bytes") > 1_048_576)
    #expect(value("process_open_fds") >= 3)
    #expect(value("process_max_fds") >= value("process_open_fds"))
  }

  @Test func whoWasWellAndSaysNothingIsNotTakenToBeWell() {
    let board = HealthBoard()
    let start = Instant(nanoseconds: 1_000_000_000)
    #expect(board.health(at: start).reasons.map(\.part) == ["pipeline"])
    board.tell(Health(), at: start)
    #expect(board.health(at: start + HealthBoard.staleAfter).isReady)
    let later = board.health(at: start + .seconds(42))
    #expect(
      later.reasons == [
        .init(part: "pipeline", message: "it has said nothing of itself for 42 s: it may hang")
      ])
    let trouble = Health(reasons: [.init(part: "rules", message: "away")])
    board.tell(trouble, at: start)
    #expect(board.health(at: start + .seconds(42)) == trouble)
  }

  @Test func quantilesAreUpperBounds() {
    let histogram = Histogram(unit: 10)
    #expect(histogram.snapshot.quantile(0.5) == nil)
    for value in [5, 15, 35, 500] as [UInt64] { histogram.record(value) }
    #expect(histogram.snapshot.quantile(0.5) == 20)
    #expect(histogram.snapshot.quantile(1) == 640)
  }

  @Test func prometheusReadsIt() {
    let registry = MetricRegistry()
    registry.counter("databus_events_total", "Events read.", [MetricLabel("stream", "a\"b\\c\n")]).add(3)
    registry.gauge("databus_lag", "Records behind.").set(-4)
    let histogram = registry.histogram("databus_seconds", "Time.")
    histogram.record(.milliseconds(1))
    histogram.record(.microseconds(5))
    let lines = PrometheusText.write(registry.snapshot()).split(separator: "\n").map(String.init)
    #expect(lines.contains("# TYPE databus_events_total counter"))
    #expect(lines.contains(#"databus_events_total{stream="a\"b\\c\n"} 3"#))
    #expect(lines.contains("databus_lag -4"))
    #expect(lines.contains(#"databus_seconds_bucket{le="1e-05"} 1"#))
    #expect(lines.contains(#"databus_seconds_bucket{le="0.00128"} 2"#))
    #expect(lines.contains(#"databus_seconds_bucket{le="+Inf"} 2"#))
    #expect(lines.contains("databus_seconds_sum 0.001005"))
    #expect(lines.contains("databus_seconds_count 2"))
  }
}
