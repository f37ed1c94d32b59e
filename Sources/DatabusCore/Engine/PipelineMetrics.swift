/// The metrics of a pipeline: their names, and how they are told.
///
/// Counters and gauges are taken from the pipeline's own values once a second, so that nothing is counted twice over and
/// the path of an event costs nothing more. The latencies are noted when a batch is done.
final class PipelineMetrics: Sendable {
  private let registry: MetricRegistry
  /// What tells its series from those of another pipeline in the same process.
  private let labels: [MetricLabel]
  let checkpointTime: Histogram
  let stateMissing: Counter

  init(_ registry: MetricRegistry, labels: [MetricLabel] = []) {
    self.registry = registry
    self.labels = labels
    checkpointTime = registry.histogram(
      "databus_checkpoint_duration_seconds", "Time to write one partition's checkpoint to the state.", labels)
    stateMissing = registry.counter(
      "databus_state_missing_total", "Partitions found with a commit and without state.", labels)
    // A series that begins at 0 shows its first increase.
    for reason in DeadLetterReason.allCases { _ = deadLetters(reason) }
    publish(PipelineCounts())
  }

  func deadLetters(_ reason: DeadLetterReason) -> Counter {
    registry.counter(
      "databus_dead_letters_total", "Records set aside, by reason.",
      labels + [MetricLabel("reason", reason.rawValue)])
  }

  /// Makes what notes the latencies.
  func latencies(_ clock: any EngineClock) -> BatchLatencies {
    BatchLatencies(
      clock: clock,
      sinceRead: registry.histogram(
        "databus_processing_latency_seconds",
        "From the reading of an event to the confirmation of everything that came of it.", labels,
        make: Histogram.secondsOfMany),
      sinceRecord: registry.histogram(
        "databus_event_latency_seconds",
        "From an event's record timestamp to the confirmation of everything that came of it.", labels,
        make: Histogram.ages))
  }

  // MARK: Once a second

  func publish(_ counts: PipelineCounts) {
    func counter(_ name: String, _ summary: String, _ value: Int) {
      registry.counter(name, summary, labels).raise(to: UInt64(max(0, value)))
    }
    counter("databus_events_total", "Events read.", counts.events)
    counter("databus_events_filtered_total", "Events that no rule matched.", counts.filtered)
    counter("databus_events_declined_total", "Events that matching rules' own tests declined.", counts.declined)
    counter("databus_results_total", "Results sent.", counts.results)
    counter("databus_gaps_total", "Gaps: stretches of events that the transport no longer had.", counts.gaps)
    counter("databus_checkpoints_total", "Checkpoints written.", counts.checkpoints)
    counter(
      "databus_checkpoints_failed_total", "Checkpoints that could not be written; they are tried again.",
      counts.failedCheckpoints)
    counter(
      "databus_checkpoints_fenced_total", "Checkpoints refused because another process has taken the partition over.",
      counts.fenced)
  }

  func publish(rules: Int, refused: Int, tableVersion: UInt64) {
    registry.gauge("databus_rules_in_force", "Rules in the table.").set(Int64(rules))
    registry.gauge("databus_rules_refused", "Rules whose latest version is refused.").set(Int64(refused))
    registry.gauge("databus_rule_table_version", "Number of the table; a change of rules makes a new one.").set(
      Int64(clamping: tableVersion))
  }

  func publish(assignments: [PartitionObservation.Status: Int]) {
    for status in PartitionObservation.Status.allCases {
      registry.gauge(
        "databus_partitions", "Partitions of the events stream that this process owns, by what they do.",
        labels + [MetricLabel("status", status.rawValue)]
      ).set(Int64(assignments[status] ?? 0))
    }
  }

  func publish(_ observation: PartitionObservation) {
    let labels = self.labels(of: observation.partition)
    func gauge(_ name: String, _ summary: String, _ value: some BinaryInteger) {
      registry.gauge(name, summary, labels).set(Int64(clamping: value))
    }
    gauge(
      "databus_position", "Checkpointed position of a partition: everything before it has ended.", observation.position)
    gauge("databus_open_records", "Records that are read and have not ended.", observation.open)
    gauge(
      "databus_partition_parked", "1 where the partition waits for somebody: the log and 'databus status' say why.",
      observation.status == .parked ? 1 : 0)
    registry.gauge(
      "databus_oldest_open_record_age_seconds", "Since the oldest record was read that has not ended.", labels,
      scale: 1e-3
    ).set(Int64(clamping: observation.oldestOpenAge.wholeNanoseconds / 1_000_000))
    if let lag = observation.lag {
      gauge("databus_lag_records", "Records (bytes, for files) of a partition that have not ended.", lag)
    }
  }

  func publish(rulesPartition partition: PartitionID, position: UInt64, end: UInt64?) {
    let labels = self.labels(of: partition)
    registry.gauge("databus_rules_position", "How far the rules stream has been read.", labels).set(
      Int64(clamping: position))
    if let end {
      registry.gauge(
        "databus_rules_lag_records", "Records (bytes, for files) of the rules stream that have not been read.", labels
      ).set(Int64(clamping: end > position ? end - position : 0))
    }
  }

  /// Removes the series of partitions that this process does not own any more.
  func forget(_ partition: PartitionID) {
    let labels = self.labels(of: partition)
    for name in [
      "databus_position", "databus_open_records", "databus_partition_parked", "databus_oldest_open_record_age_seconds",
      "databus_lag_records",
    ] { registry.remove(name, labels) }
  }

  func forget(rulesPartition partition: PartitionID) {
    let labels = self.labels(of: partition)
    for name in ["databus_rules_position", "databus_rules_lag_records"] { registry.remove(name, labels) }
  }

  private func labels(of partition: PartitionID) -> [MetricLabel] {
    labels + [MetricLabel("stream", partition.stream), MetricLabel("partition", String(partition.index))]
  }
}

/// What is seen of one partition of the events stream.
struct PartitionObservation: Hashable {
  enum Status: String, CaseIterable {
    case running, restoring, revoking, parked
  }

  var partition: PartitionID
  var status: Status
  var position: UInt64
  var open: Int
  var oldestOpenAge: Duration
  /// nil where the end is not known.
  var lag: UInt64?
}

/// Notes how long batches took. Once a batch: two looks at clocks and a few additions, no lock and no memory.
struct BatchLatencies: Sendable {
  let clock: any EngineClock
  /// Microseconds.
  let sinceRead: Histogram
  /// Milliseconds.
  let sinceRecord: Histogram

  /// Older ones are counted as so old: a wrong timestamp is not to spoil the sum.
  private static let oldest: Int64 = 30 * 86_400_000

  /// A batch is done: what came of its records is confirmed. All of them count with the time of the last; of their record timestamps the
  /// first and the last stand for a half each.
  func note(_ batch: RoutedBatch) {
    let ended = batch.count - batch.filtered - batch.declined
    guard ended > 0 else { return }
    let elapsed = (clock.now() - batch.readAt).wholeNanoseconds
    sinceRead.record((elapsed + 999) / 1000, times: UInt64(ended))
    let timestamps = batch.withRecords { records in
      (records.raw(at: 0).timestamp, records.raw(at: records.count - 1).timestamp)
    }
    guard let (first, last) = timestamps else { return }
    let half = (ended + 1) / 2
    noteAge(of: first, batch.timestamp, elapsed, times: half)
    noteAge(of: last, batch.timestamp, elapsed, times: ended - half)
  }

  private func noteAge(of timestamp: Int64, _ readAt: Int64, _ elapsed: UInt64, times: Int) {
    guard timestamp != RawRecord.noTimestamp, times > 0 else { return }
    let (difference, overflow) = readAt.subtractingReportingOverflow(timestamp)
    let age = overflow ? BatchLatencies.oldest : min(max(0, difference), BatchLatencies.oldest)
    sinceRecord.record(UInt64(age) + (elapsed + 999_999) / 1_000_000, times: UInt64(times))
  }
}
