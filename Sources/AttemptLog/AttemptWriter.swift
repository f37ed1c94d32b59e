import DatabusCore
import Dispatcher
import SQLiteClient

/// Writes notes on a thread of its own, those of some moments in one commit, and removes the oldest.
actor AttemptWriter {
  /// How long further notes are waited for, to be written with the first.
  static let gathering = Duration.milliseconds(50)
  static let pauseAfterFailure = Duration.seconds(1)
  static let idleInterval = Duration.seconds(60)
  /// How many of the oldest notes are removed in one commit while there is nothing to write.
  static let sweep = 2000
  /// Lines about dropped notes are no closer together than this.
  static let reportInterval = Duration.seconds(60)

  private let configuration: AttemptsConfiguration
  private let queue: AttemptQueue
  private let clock: any EngineClock
  private let counters: AttemptCounters
  private let log: Logger
  private let worker = WorkerThread(name: "attempt-log")
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  private var connection: SQLiteConnection?
  private var statements: AttemptStatements?
  /// Notes dropped that nobody was told of.
  private var dropped = 0
  private var reportsAt = Instant(nanoseconds: 0)
  private var trouble: String?

  init(
    _ configuration: AttemptsConfiguration, _ queue: AttemptQueue, clock: any EngineClock, counters: AttemptCounters,
    log: Logger
  ) async throws {
    self.configuration = configuration
    self.queue = queue
    self.clock = clock
    self.counters = counters
    self.log = log
    do {
      let connection = try SQLiteConnection(path: configuration.path, access: .create)
      // The owner is asked first: nothing of a file that is not ours is changed.
      try SQLiteSchema.attempts.check(connection)
      try connection.useWriteAheadLog(.normal)
      try SQLiteSchema.attempts.migrate(connection)
      try connection.execute(
        "PRAGMA wal_autocheckpoint = 4000; PRAGMA journal_size_limit = 33554432; PRAGMA cache_size = -32768")
      statements = try AttemptStatements(connection)
      self.connection = connection
    } catch {
      worker.stop()
      throw error
    }
  }

  func close() {
    statements = nil
    connection = nil
    worker.stop()
  }

  /// Writes until the queue is closed and empty.
  func run() async {
    var pending: [DeliveryNote] = []
    while true {
      if queue.isEmpty, pending.isEmpty {
        if removeOld() { continue }
        await queue.signal.wait(for: Self.idleInterval, clock)
        if queue.isEmpty { continue }
        if !queue.isUrgent { try? await clock.sleep(for: Self.gathering) }
      }
      var isLast = false
      if pending.isEmpty {
        let taken = queue.take()
        pending = taken.notes
        dropped += taken.dropped
        isLast = taken.isLast
      }
      do {
        try write(pending)
        pending = []
        if isLast { return report(isLast: true) }
        report(isLast: false)
      } catch {
        setTrouble("\(error)")
        if queue.isClosed {
          let rest = pending.count + queue.take().notes.count
          counters.dropped.add(UInt64(rest))
          dropped += rest
          return report(isLast: true)
        }
        try? await clock.sleep(for: Self.pauseAfterFailure)
      }
    }
  }

  private func write(_ notes: [DeliveryNote]) throws {
    guard let connection, let statements, !notes.isEmpty else { return }
    try connection.write {
      for note in notes { try statements.add(note) }
      _ = try statements.removeOld(
        keeping: configuration.records, since: oldest, atMost: 2 * notes.count + 64)
    }
    counters.written.add(UInt64(notes.count))
    setTrouble(nil)
  }

  /// - Returns: whether there may be more of them.
  private func removeOld() -> Bool {
    guard let connection, let statements else { return false }
    do {
      return try connection.write {
        try statements.removeOld(keeping: configuration.records, since: oldest, atMost: Self.sweep)
      }
    } catch {
      // The next note meets the same.
      setTrouble("\(error)")
      return false
    }
  }

  /// What happened before is forgotten.
  private var oldest: Int64 {
    clock.wallMilliseconds() - Int64(clamping: configuration.age.wholeNanoseconds / 1_000_000)
  }

  // MARK: What people are told

  private func setTrouble(_ text: String?) {
    guard trouble != text else { return }
    trouble = text
    if let text {
      log.error(text, at: configuration.path, remedy: "deliveries go on; what does not fit into memory is not noted")
    } else {
      log.info("deliveries are noted again", at: configuration.path)
    }
  }

  private func report(isLast: Bool) {
    let now = clock.now()
    guard dropped > 0, isLast || now >= reportsAt else { return }
    log.warning(
      "\(dropped) note\(dropped == 1 ? "" : "s") of deliveries are missing in the log of attempts",
      at: configuration.path,
      remedy: "the deliveries themselves went on; put the file on a faster disk, or do without \"dispatcher.attempts\"")
    dropped = 0
    reportsAt = now + Self.reportInterval
  }
}
