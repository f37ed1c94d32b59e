import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Keeps a second writing process away from a state file: a lock on `<path>.lock` that the system releases however the
/// process ends. The file says who holds it, and names the state's id, so that an emptied state file is not taken for a new one.
final class WriterLock: Sendable {
  private let descriptor: Int32
  /// The id of the state that was last opened under this lock.
  let lastStateID: String?

  init(statePath: String) throws(StateError) {
    let path = statePath + ".lock"
    let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    if descriptor < 0 {
      throw .unusable(
        "\(path) cannot be opened (\(String(cString: strerror(errno)))): check that the folder exists and may be written."
      )
    }
    let lines = Self.read(descriptor).split(separator: "\n", omittingEmptySubsequences: false)
    if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      Glibc.close(descriptor)
      if code == EWOULDBLOCK {
        let holder = lines.first.map { $0.isEmpty ? "" : " (process \($0))" } ?? ""
        throw .unusable(
          "\(statePath) is in use by another pipeline\(holder): a state file has one writer. End that process, or give "
            + "this pipeline a state file of its own.")
      }
      throw .unusable("\(path) cannot be locked (\(String(cString: strerror(code)))): put it on a local file system.")
    }
    self.descriptor = descriptor
    lastStateID = lines.count > 1 && !lines[1].isEmpty ? String(lines[1]) : nil
    // From now on a second process can say who is in its way, however far this one has come.
    write(stateID: lastStateID ?? "")
  }

  deinit { Glibc.close(descriptor) }

  /// Notes which state is open. Best effort: the lock holds without it.
  func write(stateID: String) {
    let text = "\(getpid())\n\(stateID)\n"
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
