#if canImport(Glibc)
  import Glibc
#endif

/// Keeps a second process of the same kind away from a file: a lock on `<path>.lock` that the system releases however the process
/// ends. The file says who holds it, and names what is in the locked file, so that an emptied one is not taken for a new one.
public final class SQLiteWriterLock: Sendable {
  private let descriptor: Int32
  /// The id of what the file held when it was last opened under this lock.
  public let lastID: String?

  /// - Parameters:
  ///   - path: of the SQLite file.
  ///   - user: who else may hold it, for people: "pipeline".
  ///   - rule: the sentences that follow: why there is one only, and what to do.
  /// - Throws: `SQLiteError` of the kind `inUse` where another process has it.
  public init(path databasePath: String, user: String, rule: String) throws(SQLiteError) {
    let path = databasePath + ".lock"
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    if descriptor < 0 {
      throw SQLiteError(
        .cannotOpen, path: databasePath,
        "\(path) cannot be opened (\(String(cString: strerror(errno)))): check that the folder exists and may be written."
      )
    }
    let lines = Self.read(descriptor).split(separator: "\n", omittingEmptySubsequences: false)
    if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      Glibc.close(descriptor)
      if code == EWOULDBLOCK {
        let holder = lines.first.map { $0.isEmpty ? "" : " (process \($0))" } ?? ""
        throw SQLiteError(.inUse, path: databasePath, "\(databasePath) is in use by another \(user)\(holder): \(rule)")
      }
      throw SQLiteError(
        .cannotOpen, path: databasePath,
        "\(path) cannot be locked (\(String(cString: strerror(code)))): put it on a local file system.")
    }
    self.descriptor = descriptor
    lastID = lines.count > 1 && !lines[1].isEmpty ? String(lines[1]) : nil
    // From now on a second process can say who is in its way, however far this one has come.
    write(id: lastID ?? "")
  }

  deinit { Glibc.close(descriptor) }

  /// Notes what the file holds. Best effort: the lock holds without it.
  public func write(id: String) {
    let text = "\(getpid())\n\(id)\n"
    _ = ftruncate(descriptor, 0)
    _ = pwrite(descriptor, text, text.utf8.count, 0)
  }

  private static func read(_ descriptor: Int32) -> String {
    withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
      let count = pread(descriptor, buffer.baseAddress, buffer.count, 0)
      return count > 0 ? String(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<count]), as: UTF8.self) : ""
    }
  }
}
