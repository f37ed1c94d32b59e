import DatabusCore
import Dispatcher

/// What happened to each delivery, in one SQLite file that keeps the latest.
///
/// Notes are taken into a bounded queue and written on a thread of the log's own, many in one commit. Where the disk is too slow they are
/// dropped, counted and said so: deliveries never wait for their log. Several processes may write to one file, and any number may read it
/// meanwhile (`AttemptReader`). The notes of the last moments before a kill may be missing.
public final class AttemptLog: AttemptObserver {
  /// Notes that wait to be written, at most: some 10 MB.
  public static let queueLimit = 32_768

  private let queue: AttemptQueue
  private let writer: AttemptWriter
  private let working: Task<Void, Never>

  /// - Parameters:
  ///   - configuration: the file is made, with mode 0600, where it does not exist.
  ///   - log: is told, once, when notes are dropped or cannot be written, and when they are again.
  /// - Throws: `SQLiteError` where the file cannot be used.
  public convenience init(
    _ configuration: AttemptsConfiguration, clock: any EngineClock = SystemClock(),
    metrics: MetricRegistry = MetricRegistry(), log: Logger = .off
  ) async throws {
    try await self.init(configuration, queueLimit: AttemptLog.queueLimit, clock: clock, metrics: metrics, log: log)
  }

  init(
    _ configuration: AttemptsConfiguration, queueLimit: Int, clock: any EngineClock, metrics: MetricRegistry,
    log: Logger
  ) async throws {
    let counters = AttemptCounters(metrics)
    queue = AttemptQueue(limit: queueLimit, dropped: counters.dropped)
    writer = try await AttemptWriter(configuration, queue, clock: clock, counters: counters, log: log)
    working = Task { [writer] in await writer.run() }
  }

  public func note(_ notes: [DeliveryNote]) { queue.add(notes) }

  /// Writes what is there and closes the file. Notes that come later are dropped.
  public func close() async {
    queue.close()
    await working.value
    await writer.close()
  }
}

/// The metrics of the log.
struct AttemptCounters: Sendable {
  let written: Counter
  let dropped: Counter

  init(_ registry: MetricRegistry) {
    written = registry.counter("databus_dispatch_notes_total", "Notes written to the log of attempts.")
    dropped = registry.counter(
      "databus_dispatch_notes_dropped_total",
      "Notes missing in the log of attempts, because its disk was too slow or away.")
  }
}
