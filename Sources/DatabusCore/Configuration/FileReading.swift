#if canImport(Glibc)
  import Glibc
#endif

/// Why a file cannot be read, as the end of a sentence: "there is no such file".
public struct FileReadError: Error, Sendable, Hashable {
  public var reason: String
  public init(reason: String) { self.reason = reason }
}

/// Reading whole files that people wrote: configuration and secrets.
public enum FileReading {
  /// More than any such file has; a device or a mistake ends here.
  public static let maximumBytes = 64 << 20

  public static func contents(_ path: String) throws(FileReadError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileReadError(reason: reason(errno)) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = chunk.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        throw FileReadError(reason: reason(errno))
      }
      if count == 0 { return bytes }
      bytes += chunk[..<count]
      if bytes.count > maximumBytes { throw FileReadError(reason: "it is larger than 64 MiB") }
    }
  }

  private static func reason(_ code: Int32) -> String {
    switch code {
    case ENOENT: "there is no such file"
    case EACCES: "permission denied"
    case EISDIR: "it is a directory"
    default: String(cString: strerror(code))
    }
  }
}

/// Paths as text.
public enum FilePaths {
  /// The path itself where it is absolute or `-`, else the path within `directory`.
  public static func resolve(_ path: String, in directory: String) -> String {
    if path.hasPrefix("/") || path == "-" || path.isEmpty { return path }
    if directory.isEmpty || directory == "." { return path }
    return directory.hasSuffix("/") ? directory + path : directory + "/" + path
  }

  /// What stands before the last slash; `.` where there is none.
  public static func directory(of path: String) -> String {
    guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}
