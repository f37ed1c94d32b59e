import DatabusCore
import Synchronization

/// The metrics of a dispatcher: their names, and how they are told.
final class DispatchMetrics: Sendable {
  private let registry: MetricRegistry
  let accepted: Counter
  let duplicates: Counter
  let withoutStore: Counter
  let spilled: Counter
  let stored: Counter
  let inMemory: Gauge
  let underWay: Gauge
  let destinations: Gauge
  let openBreakers: Gauge
  let attemptTime: Histogram
  /// Labels that have series: whoever invents hosts must not fill the memory.
  private let labels = Mutex<Set<String>>([])
  private static let maximumLabels = 200

  init(_ registry: MetricRegistry) {
    self.registry = registry
    accepted = registry.counter("databus_dispatch_records_total", "Results read for delivery.")
    duplicates = registry.counter(
      "databus_dispatch_duplicates_total", "Deliveries that were over already and were not sent again.")
    withoutStore = registry.counter(
      "databus_dispatch_without_store_total",
      "Attempts begun while the deduplication store was away (`onUnavailable`: `send`).")
    spilled = registry.counter(
      "databus_dispatch_spilled_total", "Deliveries set aside in a retry stream for want of room, without an attempt.")
    stored = registry.counter(
      "databus_dispatch_stored_total", "Deliveries put into a retry stream until their next attempt.")
    inMemory = registry.gauge("databus_dispatch_in_memory", "Deliveries in memory.")
    underWay = registry.gauge("databus_dispatch_attempts_under_way", "Attempts under way.")
    destinations = registry.gauge("databus_dispatch_destinations", "Destinations that something is known of.")
    openBreakers = registry.gauge(
      "databus_dispatch_open_breakers", "Destinations that are left alone because they fail.")
    attemptTime = registry.histogram("databus_dispatch_attempt_duration_seconds", "Time of one attempt.")
    // A series that begins at 0 shows its first increase.
    for reason in DispatchReason.allCases { _ = deadLetters(reason) }
  }

  func deadLetters(_ reason: DispatchReason) -> Counter {
    registry.counter(
      "databus_dispatch_dead_letters_total", "Deliveries given up, by reason.",
      [MetricLabel("reason", reason.rawValue)])
  }

  /// How attempts at destinations of one label ended.
  struct Attempts {
    fileprivate let delivered: Counter
    fileprivate let failed: Counter
    fileprivate let rejected: Counter

    func count(_ verdict: AttemptOutcome.Verdict) {
      switch verdict {
      case .delivered: delivered.add(1)
      case .retry: failed.add(1)
      case .rejected: rejected.add(1)
      }
    }
  }

  func attempts(_ label: String) -> Attempts {
    let host = bounded(label)
    func counter(_ outcome: String) -> Counter {
      registry.counter(
        "databus_dispatch_attempts_total", "Attempts, by the destination's host and how they ended.",
        [MetricLabel("host", host), MetricLabel("outcome", outcome)])
    }
    return Attempts(delivered: counter("delivered"), failed: counter("failed"), rejected: counter("rejected"))
  }

  private func bounded(_ label: String) -> String {
    labels.withLock { labels in
      if labels.contains(label) { return label }
      guard labels.count < DispatchMetrics.maximumLabels else { return "other" }
      labels.insert(label)
      return label
    }
  }
}
