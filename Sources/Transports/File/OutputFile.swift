import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// A file, or standard output, opened for writing.
struct OutputFile: Sendable {
  let file: OpenFile
  /// A regular file of our own: it is locked, cut back after a failed write, and confirmed by `fdatasync`.
  let isOurs: Bool

  /// Opens, locks, and cuts off what a killed process left of a line.
  static func open(_ path: String) throws -> OutputFile {
    if FileTransportConfiguration.isStandard(path, input: false) {
      return try standard(STDOUT_FILENO, "standard output")
    }
    // Opened by its path it would have an offset of its own, and what others write to it would be written over.
    if path == "/dev/stderr" { return try standard(STDERR_FILENO, "standard error") }
    let isSpecial = FileFacts.at(path).map { !$0.isRegular && !$0.isDirectory } ?? false
    let descriptor: Int32
    if isSpecial {
      descriptor = Glibc.open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
      if descriptor < 0, errno == ENXIO {
        throw TransportError(.transport, "Cannot write to \(path): nobody reads this pipe (start its reader first).")
      }
    } else {
      descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0o666)
    }
    guard descriptor >= 0 else { throw systemError("write to", path, errno) }
    let file = OpenFile(descriptor: descriptor, name: path, isOwned: true)
    if isSpecial { return OutputFile(file: file, isOurs: false) }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      throw TransportError(
        .transport,
        "Another sink, of this process or another one, is writing to \(path): give each stream a file of its own, or stop the other process."
      )
    }
    try cutTornLine(file)
    try syncDirectory(of: path)
    return OutputFile(file: file, isOurs: true)
  }

  private static func standard(_ descriptor: Int32, _ name: String) throws -> OutputFile {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw systemError("write to", name, errno) }
    if status.st_mode & S_IFMT == S_IFIFO {
      // A description of our own: setting O_NONBLOCK on the inherited one would surprise the processes that share it.
      let own = Glibc.open("/proc/self/fd/\(descriptor)", O_WRONLY | O_CLOEXEC | O_NONBLOCK)
      if own >= 0 {
        return OutputFile(file: OpenFile(descriptor: own, name: name, isOwned: true), isOurs: false)
      }
    }
    return OutputFile(file: OpenFile(descriptor: descriptor, name: name, isOwned: false), isOurs: false)
  }

  private static func cutTornLine(_ file: OpenFile) throws {
    let size = try file.facts().size
    var end = size
    while end > 0 {
      let start = end > 65_536 ? end - 65_536 : 0
      let part = try file.bytes(at: start, Int(end - start))
      if let newline = part.lastIndex(of: 10) {
        end = start + UInt64(newline) + 1
        break
      }
      end = start
    }
    guard end < size else { return }
    guard ftruncate(file.descriptor, off_t(clamping: end)) == 0 else {
      throw systemError("cut the torn last line of", file.name, errno)
    }
  }

  /// A new file survives a power failure once its directory knows it.
  private static func syncDirectory(of path: String) throws {
    let directory = path.lastIndex(of: "/").map { String(path[...$0]) } ?? "."
    let descriptor = Glibc.open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw systemError("open the directory of", path, errno) }
    defer { Glibc.close(descriptor) }
    // File systems that cannot do it (EINVAL) have nothing to do.
    if fsync(descriptor) != 0, errno != EINVAL { throw systemError("sync the directory of", path, errno) }
  }
}
