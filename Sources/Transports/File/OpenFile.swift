import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// A file descriptor, closed when nothing refers to it any more.
final class OpenFile: Sendable {
  let descriptor: Int32
  private let isOwned: Bool
  /// For people: the path as it was configured, or `standard input`.
  let name: String

  /// - Parameter isOwned: false for standard input and output, which are the process's.
  init(descriptor: Int32, name: String, isOwned: Bool) {
    self.descriptor = descriptor
    self.name = name
    self.isOwned = isOwned
  }

  deinit { if isOwned { close(descriptor) } }

  /// Opens a file for reading. A FIFO opens without a writer at its other end.
  static func forReading(_ path: String) throws -> OpenFile {
    if FileTransportConfiguration.isStandard(path, input: true) {
      return OpenFile(descriptor: STDIN_FILENO, name: "standard input", isOwned: false)
    }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    guard descriptor >= 0 else { throw systemError("open", path, errno) }
    let file = OpenFile(descriptor: descriptor, name: path, isOwned: true)
    if try file.facts().isDirectory { throw systemError("read", path, EISDIR) }
    return file
  }

  /// What `fstat` says now.
  func facts() throws -> FileFacts {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw systemError("look at", name, errno) }
    return FileFacts(status)
  }

  /// Reads up to `room.count` bytes at an offset; fewer at the end only. Regular files alone have offsets.
  func read(at offset: UInt64, into room: UnsafeMutableRawBufferPointer) throws -> Int {
    var count = 0
    while count < room.count {
      let got = pread(
        descriptor, room.baseAddress.map { $0 + count }, room.count - count, off_t(clamping: offset + UInt64(count)))
      if got < 0 {
        if errno == EINTR { continue }
        throw systemError("read", name, errno)
      }
      if got == 0 { break }
      count += got
    }
    return count
  }

  /// The bytes from `offset`, at most `count`.
  func bytes(at offset: UInt64, _ count: Int) throws -> [UInt8] {
    try [UInt8](unsafeUninitializedCapacity: count) { room, filled in
      filled = try read(at: offset, into: UnsafeMutableRawBufferPointer(room))
    }
  }
}

/// What the system says of a file.
struct FileFacts: Equatable {
  var device: UInt64
  var inode: UInt64
  var size: UInt64
  var modifiedSeconds: Int
  var modifiedNanoseconds: Int
  var isRegular: Bool
  var isDirectory: Bool

  init(_ status: stat) {
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    size = UInt64(clamping: status.st_size)
    modifiedSeconds = status.st_mtim.tv_sec
    modifiedNanoseconds = status.st_mtim.tv_nsec
    isRegular = status.st_mode & S_IFMT == S_IFREG
    isDirectory = status.st_mode & S_IFMT == S_IFDIR
  }

  /// nil where there is no file at the path, or none that can be looked at.
  static func at(_ path: String) -> FileFacts? {
    var status = stat()
    return stat(path, &status) == 0 ? FileFacts(status) : nil
  }

  func isSameFile(as other: FileFacts) -> Bool { device == other.device && inode == other.inode }

  func isModified(since other: FileFacts) -> Bool {
    modifiedSeconds != other.modifiedSeconds || modifiedNanoseconds != other.modifiedNanoseconds
  }
}

/// What the system refused, where, and what to do about it.
func systemError(_ verb: String, _ name: String, _ code: Int32) -> TransportError {
  let remedy: String
  switch code {
  case ENOENT: remedy = "check the path, or create the file"
  case EACCES, EPERM: remedy = "give this user permission, or run as one who has it"
  case ENOSPC, EDQUOT: remedy = "free some space"
  case EROFS: remedy = "choose a path on a file system that can be written"
  case EISDIR: remedy = "name a file, not a directory"
  case ENOTDIR: remedy = "a part of the path is not a directory; check the path"
  case EMFILE, ENFILE: remedy = "raise the limit of open files (ulimit -n)"
  case EPIPE: remedy = "whoever read it has gone"
  case EBADF: remedy = "it is closed; redirect it to or from a file"
  default: remedy = "see the system's log for the device's state"
  }
  let reason = String(cString: strerror(code))
  return TransportError(.transport, "Cannot \(verb) \(name): \(reason) (\(remedy)).")
}

/// A pipe that wakes a thread out of `poll`.
final class WakePipe: Sendable {
  let readEnd: Int32
  private let writeEnd: Int32

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard pipe(&ends) == 0 else { throw systemError("make a pipe for", "waking a thread", errno) }
    for end in ends {
      _ = fcntl(end, F_SETFL, O_NONBLOCK)
      _ = fcntl(end, F_SETFD, FD_CLOEXEC)
    }
    readEnd = ends[0]
    writeEnd = ends[1]
  }

  deinit {
    close(readEnd)
    close(writeEnd)
  }

  /// Makes `readEnd` readable. A full pipe is readable already.
  func wake() {
    var byte: UInt8 = 0
    _ = write(writeEnd, &byte, 1)
  }

  /// Makes `readEnd` quiet again.
  func drain() {
    var bytes: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    while read(readEnd, &bytes, 32) > 0 {}
  }
}
