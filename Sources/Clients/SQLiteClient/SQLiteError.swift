import CSQLite

#if canImport(Glibc)
  import Glibc
#endif

/// Why a SQLite file could not be read or written: one sentence that names the file and the remedy.
public struct SQLiteError: Error, Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// Another connection held a lock for longer than the time to wait.
    case busy
    /// No room on the disk, or a limit on the file's size.
    case full
    /// No permission to write.
    case readOnly
    /// The file's pages contradict one another.
    case corrupt
    /// The file is not SQLite's, or belongs to another application.
    case notADatabase
    /// The file cannot be opened: missing, a directory, no permission.
    case cannotOpen
    /// Another process has the file for itself: see `SQLiteWriterLock`.
    case inUse
    /// Written by a newer release of this software.
    case newerSchema
    /// A value or a row larger than SQLite takes.
    case tooLarge
    /// A constraint of a table refused a row.
    case constraint
    /// The system failed to read or write.
    case inputOutput
    /// Anything else: an SQL error, no memory.
    case other
  }

  public var kind: Kind
  public var path: String
  /// SQLite's extended result code; 0 where the error is not SQLite's own.
  public var code: Int32
  /// What happened, to which file, and what to do.
  public var message: String

  public init(_ kind: Kind, path: String, code: Int32 = 0, _ message: String) {
    self.kind = kind
    self.path = path
    self.code = code
    self.message = message
  }
}

extension SQLiteError: CustomStringConvertible {
  public var description: String { message }
}

extension SQLiteError {
  /// The error that a call on a connection has just returned.
  ///
  /// - Parameters:
  ///   - detail: SQLite's own words.
  ///   - systemError: the `errno` of the system call that failed; 0 for none.
  init(code: Int32, path: String, detail: String, systemError: Int32, busyTimeout: Duration) {
    let system = systemError == 0 ? "" : " (\(String(cString: strerror(systemError))))"
    let isFull = [ENOSPC, EDQUOT, EFBIG].contains(systemError)
    switch code & 0xff {
    case SQLITE_FULL:
      self.init(full: path, code, system)
    case SQLITE_IOERR where isFull, SQLITE_CANTOPEN where isFull:
      self.init(full: path, code, system)
    case SQLITE_BUSY, SQLITE_LOCKED:
      self.init(
        .busy, path: path, code: code,
        "\(path) is locked by another process and stayed so for \(busyTimeout): end the process that holds it "
          + "(`fuser \(path)` names it), then try again.")
    case SQLITE_READONLY, SQLITE_PERM, SQLITE_AUTH:
      self.init(
        .readOnly, path: path, code: code,
        "\(path) cannot be written\(system): give this user the right to write the file and its folder.")
    case SQLITE_CORRUPT:
      self.init(corrupt: path, code, detail)
    case SQLITE_NOTADB:
      self.init(
        .notADatabase, path: path, code: code,
        "\(path) is not a SQLite file, or its first page is damaged: name another file, or restore this one from a backup."
      )
    case SQLITE_CANTOPEN:
      self.init(
        .cannotOpen, path: path, code: code,
        "\(path) cannot be opened\(system): check that its folder exists and that this user may use it.")
    case SQLITE_TOOBIG:
      self.init(
        .tooLarge, path: path, code: code,
        "A value is larger than SQLite takes in \(path) (\(detail)): make it smaller.")
    case SQLITE_CONSTRAINT:
      self.init(.constraint, path: path, code: code, "\(path) refused a row: \(detail).")
    case SQLITE_IOERR:
      self.init(
        .inputOutput, path: path, code: code,
        "The system failed to read or write \(path)\(system): \(detail). Check the disk.")
    default:
      self.init(.other, path: path, code: code, "SQLite refused a call on \(path): \(detail) (code \(code)).")
    }
  }

  private init(full path: String, _ code: Int32, _ system: String) {
    self.init(
      .full, path: path, code: code,
      "There is no room for \(path) to grow\(system): free space on its disk or raise its limit. What was acknowledged is safe."
    )
  }

  /// A check found the file damaged.
  public static func damaged(_ path: String, _ detail: String) -> SQLiteError {
    SQLiteError(corrupt: path, SQLITE_CORRUPT, detail)
  }

  private init(corrupt path: String, _ code: Int32, _ detail: String) {
    self.init(
      .corrupt, path: path, code: code,
      "\(path) is damaged (\(detail)): stop, then restore it from a backup, or move it away together with "
        + "\(path)-wal and \(path)-shm to begin anew.")
  }
}
