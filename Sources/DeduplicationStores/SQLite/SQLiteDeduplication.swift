import DatabusCore
import Dispatcher
import SQLiteClient

/// Remembers deliveries in one SQLite file: for a single dispatcher. Tools read and set marks beside it.
///
/// All requests of a call are one transaction. What was answered survives the end of the process; the last moments before a loss of power
/// may be missing, and those deliveries may be sent once more.
///
/// Times are those of the wall clock, because no other one goes on over a restart. Where it is set back, leases, delays and what is
/// remembered last longer by as much; where it is set forward they are over too soon, and a delivery that is being sent may be sent once
/// more.
public actor SQLiteDeduplication: DeduplicationStore {
  public enum Access: Sendable {
    /// Makes or migrates the file, and refuses a second dispatcher.
    case dispatcher
    /// Reads everything and sets marks, with or without a dispatcher beside it; takes no deliveries. Where there is no file yet nothing is
    /// remembered, and the first mark makes it: a destination can be paused before its first dispatcher runs.
    case marks
    /// Reads everything and changes nothing.
    case reader
  }

  private let path: String
  private let access: Access
  private let busyTimeout: Duration
  private let clock: any EngineClock
  private let log: Logger
  private let worker = WorkerThread(name: "sqlite-dedup")
  nonisolated public var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  private var lock: SQLiteWriterLock?
  /// There is no file yet, and nobody has asked for one.
  private var isAbsent = false
  private(set) var connection: SQLiteConnection?
  private var statements: DeliveryStatements?

  /// Behind which id the search for what has expired goes on.
  private var sweepStart: [UInt8] = []
  /// There were calls since the last look at it.
  private var isBusy = false
  private var sweeper: Task<Void, Never>?

  static let sweepInterval = Duration.seconds(1)
  /// How many rows an idle store looks at in one interval.
  static let idleSweep = 4096
  /// How many rows a call looks at. A delivery takes two requests, so four rows are looked at for each that is added: what has expired
  /// then makes up about an eighth of the file.
  static func sweepRows(_ requests: Int) -> Int { min(64 + 2 * requests, 16_384) }

  /// - Parameters:
  ///   - path: made, with mode 0600, where it does not exist and `access` is `dispatcher`; `<path>.lock` stands beside it.
  ///   - busyTimeout: how long a call waits for another process that writes.
  ///   - clock: the wall clock of leases, and the pace at which an idle store forgets.
  ///   - log: is told where an idle store cannot forget.
  /// - Throws: `DeduplicationError.unusable` where the file is damaged, of a newer schema, or has another dispatcher; `unavailable` where
  ///   the disk is full or the file locked.
  public init(
    path: String, access: Access = .dispatcher, busyTimeout: Duration = .seconds(5),
    clock: any EngineClock = SystemClock(), log: Logger = .off
  ) async throws {
    self.path = path
    self.access = access
    self.busyTimeout = busyTimeout
    self.clock = clock
    self.log = log
    do {
      try translated {
        switch access {
        case .dispatcher: try openAsDispatcher()
        case .marks: if SQLiteInspection.exists(path) { try openBeside() } else { isAbsent = true }
        case .reader: try openBeside()
        }
      }
    } catch {
      close()
      throw error
    }
    if access == .dispatcher { startSweeping() }
  }

  deinit {
    sweeper?.cancel()
    worker.stop()
  }

  private func openAsDispatcher() throws {
    let lock = try SQLiteWriterLock(
      path: path, user: "dispatcher",
      rule:
        "one dispatcher uses a deduplication file. End that process, give this dispatcher a file of its own, or share "
        + "deduplication in Redis.")
    try SQLiteInspection.refuseLostFile(path, lastID: lock.lastID, content: "the deliveries")
    let connection = try SQLiteConnection(path: path, access: .create, busyTimeout: busyTimeout)
    // The owner is asked first: nothing of a file that is not ours is changed.
    try SQLiteSchema.deduplication.check(connection)
    try SQLiteInspection.check(connection)
    try connection.useWriteAheadLog(.normal)
    try SQLiteSchema.deduplication.migrate(connection)
    // Ids are random, so the pages of a large file are written one by one: between two moves of the log's pages into the file some of them
    // meet. 64 MiB of pages in memory.
    try connection.execute(
      "PRAGMA wal_autocheckpoint = 8000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -65536")
    let id = try connection.write {
      if let id = try connection.text("SELECT value FROM meta WHERE name = 'id'") { return id }
      let id = SQLiteInspection.newID()
      let insert = try connection.prepare("INSERT INTO meta (name, value) VALUES ('id', ?)")
      try insert.bind(1, id)
      try insert.run()
      return id
    }
    lock.write(id: id)
    statements = try DeliveryStatements(connection)
    self.connection = connection
    self.lock = lock
  }

  private func openBeside() throws {
    let connection = try SQLiteConnection(
      path: path, access: access == .marks ? .readWrite : .readOnly, busyTimeout: busyTimeout)
    let version = try SQLiteSchema.deduplication.check(connection)
    if version == 0 {
      throw DeduplicationError.unavailable(
        "\(path) holds no deliveries yet: its dispatcher is starting, or was ended before it had.")
    }
    if version < SQLiteSchema.deduplication.version {
      throw DeduplicationError.unusable(
        "\(path) is of schema version \(version), and this needs \(SQLiteSchema.deduplication.version): start the dispatcher once, "
          + "which brings it up to date.")
    }
    if access == .marks { try connection.useWriteAheadLog(.normal) }
    self.connection = connection
  }

  /// Makes the file where there is none, as its dispatcher would, and leaves it to that.
  private func makeIfAbsent() throws {
    guard isAbsent else { return }
    if SQLiteInspection.exists(path) {
      try openBeside()
    } else {
      try openAsDispatcher()
      statements = nil
      lock = nil
    }
    isAbsent = false
  }

  public func close() {
    sweeper?.cancel()
    sweeper = nil
    statements = nil
    connection = nil
    lock = nil
    isAbsent = false
    worker.stop()
  }

  // MARK: Deliveries

  public func process(_ requests: [DeduplicationRequest]) throws -> [DeduplicationAnswer] {
    try translated {
      if access != .dispatcher {
        throw DeduplicationError.unusable(
          "\(path) was opened for marks only; open it as its dispatcher to claim deliveries.")
      }
      guard let statements, let connection else { throw wasClosed }
      if requests.isEmpty { return [] }
      isBusy = true
      return try connection.write {
        let now = clock.wallMilliseconds()
        let answers = try requests.map { try statements.process($0, at: now) }
        try sweep(Self.sweepRows(requests.count), statements)
        return answers
      }
    }
  }

  public func states(of ids: [DeliveryID]) throws -> [DeduplicationState?] {
    if isAbsent { return ids.map { _ in nil } }
    return try translated { try DeliveryStatements.states(of: ids, in: opened(), at: clock.wallMilliseconds()) }
  }

  // MARK: Forgetting

  private func startSweeping() {
    sweeper = Task { [weak self, clock] in
      while !Task.isCancelled {
        do { try await clock.sleep(for: Self.sweepInterval) } catch { return }
        guard let self else { return }
        await self.sweepIfIdle()
      }
    }
  }

  private func sweepIfIdle() {
    defer { isBusy = false }
    if isBusy { return }
    guard let statements else { return }
    do {
      try sweep(Self.idleSweep, statements)
    } catch {
      // The next call meets the same, and tells its caller.
      log.warning(
        "what has expired cannot be removed: \(error)", at: path, remedy: "it is tried again; until then the file grows"
      )
    }
  }

  /// Removes what has expired of the next rows.
  private func sweep(_ rows: Int, _ statements: DeliveryStatements) throws {
    let now = clock.wallMilliseconds()
    let stretch = try statements.look(after: sweepStart, limit: rows, at: now)
    if stretch.isAnyExpired { try statements.forget(stretch, after: sweepStart, at: now) }
    sweepStart = stretch.end ?? []
  }

  // MARK: Marks

  public func marks() throws -> [DispatchMark] {
    if isAbsent { return [] }
    return try translated { try MarkStatements(connection: opened()).all() }
  }

  public func set(_ mark: DispatchMark) throws {
    try translated { try makeIfAbsent() }
    try change { try $0.put(mark) }
  }

  public func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) throws {
    if isAbsent { return }
    try change { try $0.remove(subject, kind) }
  }

  private func change(_ body: (MarkStatements) throws -> Void) throws {
    try translated {
      let connection = try opened()
      if access == .reader {
        throw DeduplicationError.unusable("\(path) was opened for reading only; open it for marks to change them.")
      }
      try connection.write { try body(MarkStatements(connection: connection)) }
    }
  }

  /// It forgets nothing by itself.
  public func risks() -> [String] { [] }

  // MARK: Errors

  private func opened() throws -> SQLiteConnection {
    guard let connection else { throw wasClosed }
    return connection
  }

  private var wasClosed: DeduplicationError { .unusable("\(path) was closed; open it again.") }

  private func translated<R>(_ body: () throws -> R) throws -> R {
    do {
      return try body()
    } catch let error as SQLiteError {
      throw DeduplicationError(error)
    }
  }
}

extension DeduplicationError {
  init(_ error: SQLiteError) {
    switch error.kind {
    case .busy, .full, .inputOutput, .other: self = .unavailable(error.message)
    case .readOnly, .corrupt, .notADatabase, .cannotOpen, .inUse, .newerSchema, .tooLarge, .constraint:
      self = .unusable(error.message)
    }
  }
}
