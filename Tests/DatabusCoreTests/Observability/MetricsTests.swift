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
