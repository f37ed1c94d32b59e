#if canImport(Glibc)
  import Glibc
#endif

/// Looks a file over before it is used: damage is told at start, and never taken for an empty file.
public enum SQLiteInspection {
  /// Files up to this size are read whole; of larger ones the header and the length are compared.
  public static let wholeFileLimit = 256 << 20

  /// Before the file is opened: refuses what SQLite would silently begin anew.
  ///
  /// - Parameters:
  ///   - lastID: what the file held; nil where it held nothing.
  ///   - content: what that is, for people: "the state".
  public static func refuseLostFile(_ path: String, lastID: String?, content: String) throws(SQLiteError) {
    let size = fileSize(path)
    if size == nil, let log = fileSize(path + "-wal"), log > 0 {
      throw SQLiteError(
        .corrupt, path: path,
        "\(path) is missing, but \(path)-wal beside it holds changes of it: put the file back, or move \(path)-wal away "
          + "to begin anew.")
    }
    if size == 0, let lastID {
      throw SQLiteError(
        .corrupt, path: path,
        "\(path) is empty, but held \(content) \(lastID): restore it from a backup, or remove it together with \(path)-wal, "
          + "\(path)-shm and \(path).lock to begin anew.")
    }
  }

  /// After it was opened.
  public static func check(_ connection: SQLiteConnection) throws(SQLiteError) {
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
    if found != "ok" { throw .damaged(path, found) }
  }

  public static func exists(_ path: String) -> Bool { fileSize(path) != nil }

  private static func fileSize(_ path: String) -> Int? {
    var status = stat()
    return stat(path, &status) == 0 ? Int(status.st_size) : nil
  }

  /// A new id for what a file holds: 32 hexadecimal digits.
  public static func newID() -> String {
    var random = SystemRandomNumberGenerator()
    return (0..<2).map { _ in
      let digits = String(random.next() as UInt64, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }
}
