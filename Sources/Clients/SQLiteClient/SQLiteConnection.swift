import CSQLite
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// One connection to one SQLite file. Calls block: use it from one thread at a time, and never on Swift's own pool.
public final class SQLiteConnection {
  public enum Access: Sendable {
    case readOnly
    case readWrite
    /// Makes the file, readable and writable by its owner only, where it does not exist.
    case create
  }

  /// How much a commit waits for the disk, in WAL mode.
  public enum Synchronous: String, Sendable {
    /// A commit survives the end of the process; the last ones may not survive the loss of power.
    case normal = "NORMAL"
    /// A commit survives the loss of power.
    case full = "FULL"
  }

  public let path: String
  public let busyTimeout: Duration
  let handle: OpaquePointer
  private let patience: UnsafeMutablePointer<BusyPatience>
  // Plain handles: a `SQLiteStatement` would hold this object.
  private var beginDeferred: OpaquePointer?
  private var beginImmediate: OpaquePointer?
  private var commitStatement: OpaquePointer?
  /// SQLite's own mapping, which lasts as long as this connection.
  private var walIndex: UnsafeRawPointer?

  /// - Parameter busyTimeout: how long a call waits for another connection's lock before it throws `busy`.
  public init(path: String, access: Access, busyTimeout: Duration = .seconds(5)) throws(SQLiteError) {
    if path.isEmpty || path.utf8.contains(0) {
      throw SQLiteError(.cannotOpen, path: path, "The path of a SQLite file must not be empty or contain a zero byte.")
    }
    self.path = path
    self.busyTimeout = busyTimeout
    if access == .create { try Self.createFile(path) }
    var opened: OpaquePointer?
    let flags = (access == .readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) | SQLITE_OPEN_NOMUTEX
    // SQLite gives names that start with a colon a meaning of its own.
    let name = path.hasPrefix(":") ? "./" + path : path
    let code = sqlite3_open_v2(name, &opened, flags | SQLITE_OPEN_EXRESCODE, nil)
    guard let opened, code == SQLITE_OK else {
      let systemError = opened.map { sqlite3_system_errno($0) } ?? 0
      sqlite3_close_v2(opened)
      throw SQLiteError(
        code: code, path: path, detail: String(cString: sqlite3_errstr(code)), systemError: systemError,
        busyTimeout: busyTimeout)
    }
    handle = opened
    patience = .allocate(capacity: 1)
    patience.initialize(to: BusyPatience(timeout: busyTimeout))
    // SQLite's own handler sleeps for longer and longer, up to 100 ms: far more than the locks here last.
    sqlite3_busy_handler(
      opened, { context, calls in BusyPatience.wait(context, calls) ? 1 : 0 }, UnsafeMutableRawPointer(patience))
  }

  deinit {
    // All other statements hold this object: none is left.
    for statement in [beginDeferred, beginImmediate, commitStatement] { sqlite3_finalize(statement) }
    sqlite3_close_v2(handle)
    patience.deallocate()
  }

  /// Held while a file is made: see `createFile`.
  private static let creation = Mutex(())

  /// Made by hand, because SQLite gives new files the mode 0644; its -wal and -shm files take their mode from this one.
  ///
  /// Only where there is none: closing a file drops all locks that this process has on it, those of its connections included
  /// (sqlite.org/howtocorrupt.html, 2.2). For that reason no other thread may open the file before this one has closed it.
  private static func createFile(_ path: String) throws(SQLiteError) {
    let code: Int32 = creation.withLock { _ in
      var status = stat()
      if stat(path, &status) == 0 { return 0 }
      let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      if descriptor < 0 { return errno == EEXIST ? 0 : errno }
      Glibc.close(descriptor)
      return 0
    }
    if code != 0 {
      throw SQLiteError(
        code: code == EACCES || code == EROFS ? SQLITE_READONLY : SQLITE_CANTOPEN, path: path, detail: "",
        systemError: code, busyTimeout: .zero)
    }
  }

  /// Puts the file in WAL mode: readers and one writer do not block each other.
  public func useWriteAheadLog(_ synchronous: Synchronous) throws(SQLiteError) {
    // The change of mode needs the file for itself and does not always ask the busy handler.
    let deadline = ContinuousClock.now + busyTimeout
    while true {
      do throws(SQLiteError) {
        let mode = try text("PRAGMA journal_mode = WAL")
        if mode == "wal" { break }
        throw SQLiteError(
          .inputOutput, path: path,
          "\(path) cannot be put in WAL mode (SQLite says \"\(mode ?? "")\"): put it on a local file system.")
      } catch {
        if error.kind != .busy || ContinuousClock.now >= deadline { throw error }
        usleep(1000)
      }
    }
    try execute("PRAGMA synchronous = \(synchronous.rawValue)")
  }

  /// Runs SQL statements that give no rows.
  public func execute(_ sql: String) throws(SQLiteError) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    if code != SQLITE_OK { throw error(code) }
  }

  /// Compiles a statement to be run many times.
  public func prepare(_ sql: String) throws(SQLiteError) -> SQLiteStatement {
    var statement: OpaquePointer?
    let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
    guard code == SQLITE_OK, let statement else { throw error(code) }
    return SQLiteStatement(statement, self)
  }

  /// The first column of the first row.
  public func integer(_ sql: String) throws(SQLiteError) -> Int64? {
    let statement = try prepare(sql)
    return try statement.step() ? statement.integer(0) : nil
  }

  /// The first column of the first row.
  public func text(_ sql: String) throws(SQLiteError) -> String? {
    let statement = try prepare(sql)
    return try statement.step() ? statement.text(0) : nil
  }

  /// Begins a transaction that sees one state of the file. Ended by `commit` or `rollback`.
  public func beginReading() throws(SQLiteError) { try run(&beginDeferred, "BEGIN") }

  /// Begins a transaction that no other connection can write beside.
  public func beginWriting() throws(SQLiteError) { try run(&beginImmediate, "BEGIN IMMEDIATE") }

  public func commit() throws(SQLiteError) { try run(&commitStatement, "COMMIT") }

  /// Undoes the open transaction; does nothing where SQLite has undone it itself.
  public func rollback() {
    if sqlite3_get_autocommit(handle) == 0 { sqlite3_exec(handle, "ROLLBACK", nil, nil, nil) }
  }

  public var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

  private func run(_ statement: inout OpaquePointer?, _ sql: String) throws(SQLiteError) {
    if statement == nil {
      let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
      if code != SQLITE_OK { throw error(code) }
    }
    let code = sqlite3_step(statement)
    if code == SQLITE_DONE {
      sqlite3_reset(statement)
      return
    }
    let error = error(code)
    sqlite3_reset(statement)
    throw error
  }

  /// Runs `body` in a writing transaction, which is undone where it throws.
  public func write<R>(_ body: () throws -> R) throws -> R {
    try beginWriting()
    do {
      let result = try body()
      try commit()
      return result
    } catch {
      rollback()
      throw error
    }
  }

  /// Runs `body` over one state of the file.
  public func read<R>(_ body: () throws -> R) throws -> R {
    try beginReading()
    defer { rollback() }
    return try body()
  }

  /// A number that changes with every commit to the file, by whomever: asking costs no call of the system. nil where that cannot
  /// be told (no WAL mode, or nothing was read yet): ask `PRAGMA data_version`.
  public func changeStamp() -> UInt64? {
    if walIndex == nil { walIndex = databus_sqlite3_wal_index(handle) }
    return walIndex.map { databus_sqlite3_wal_index_checksum($0) }
  }

  /// Rows changed by the last statement.
  public var changes: Int { Int(sqlite3_changes64(handle)) }

  func error(_ code: Int32) -> SQLiteError {
    SQLiteError(
      code: sqlite3_extended_errcode(handle) & 0xff == code & 0xff ? sqlite3_extended_errcode(handle) : code,
      path: path, detail: String(cString: sqlite3_errmsg(handle)), systemError: systemError(code),
      busyTimeout: busyTimeout)
  }

  private func systemError(_ code: Int32) -> Int32 {
    switch code & 0xff {
    case SQLITE_IOERR, SQLITE_CANTOPEN, SQLITE_FULL, SQLITE_READONLY: sqlite3_system_errno(handle)
    default: 0
    }
  }
}

/// Waits for another connection's lock in short, even steps.
private struct BusyPatience {
  let timeout: Duration
  var deadline = ContinuousClock.now

  init(timeout: Duration) { self.timeout = timeout }

  static func wait(_ context: UnsafeMutableRawPointer?, _ calls: Int32) -> Bool {
    guard let patience = context?.assumingMemoryBound(to: BusyPatience.self) else { return false }
    let now = ContinuousClock.now
    if calls == 0 { patience.pointee.deadline = now + patience.pointee.timeout }
    if now >= patience.pointee.deadline { return false }
    usleep(calls < 10 ? 100 : 1000)
    return true
  }
}
