import DatabusCore
import SQLiteClient

#if canImport(Glibc)
  import Glibc
#endif

extension SQLiteSchema {
  /// The tables of a state file.
  ///
  /// A scope's row stays when its state is removed: its epoch must never be given twice. `checkpoint_writer` tells a
  /// checkpoint that is applied again because its answer was lost from one of another session.
  static let state = SQLiteSchema(
    applicationID: "DBst", name: "a Databus state file",
    steps: [
      """
      CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
      CREATE TABLE scopes (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        pipeline TEXT NOT NULL,
        is_partition INTEGER NOT NULL,
        stream TEXT NOT NULL,
        incarnation TEXT NOT NULL,
        partition INTEGER NOT NULL,
        epoch INTEGER NOT NULL DEFAULT 0,
        checkpoint INTEGER NOT NULL DEFAULT 0,
        checkpoint_writer TEXT NOT NULL DEFAULT '',
        UNIQUE (pipeline, is_partition, stream, incarnation, partition)
      ) STRICT;
      CREATE TABLE entries (
        scope INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (scope, key)
      ) STRICT, WITHOUT ROWID;
      """
    ])
}

/// Looks a state file over before it is used: damage is told at start, and never taken for an empty state.
struct StateInspection {
  /// Files up to this size are read whole; of larger ones the header and the length are compared.
  static let wholeFileLimit = 256 << 20

  /// Before the file is opened: what SQLite would silently begin anew.
  static func refuseLostFile(_ path: String, lastStateID: String?) throws(StateError) {
    let size = fileSize(path)
    if size == nil, let log = fileSize(path + "-wal"), log > 0 {
      throw .unusable(
        "\(path) is missing, but \(path)-wal beside it holds changes of it: put the file back, or move \(path)-wal away "
          + "to begin anew.")
    }
    if size == 0, let id = lastStateID {
      throw .unusable(
        "\(path) is empty, but held the state \(id): restore it from a backup, or remove it together with \(path)-wal, "
          + "\(path)-shm and \(path).lock to begin anew.")
    }
  }

  /// After it was opened.
  static func check(_ connection: SQLiteConnection) throws {
    let path = connection.path
    let pages = try connection.integer("PRAGMA page_count") ?? 0
    let pageSize = try connection.integer("PRAGMA page_size") ?? 0
    let bytes = Int(pages * pageSize)
    let found =
      if bytes <= wholeFileLimit {
        try connection.text("PRAGMA quick_check(1)") ?? "no answer"
      } else {
        (fileSize(path) ?? 0) + (fileSize(path + "-wal") ?? 0) < bytes
          ? "it has \(fileSize(path) ?? 0) bytes and should have \(bytes)" : "ok"
      }
    if found != "ok" { throw SQLiteError.damaged(path, found) }
  }

  static func fileSize(_ path: String) -> Int? {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : nil
  }
}
