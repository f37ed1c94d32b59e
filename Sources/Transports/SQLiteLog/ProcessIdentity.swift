#if canImport(Glibc)
  import Glibc
#endif

/// Which process of which boot of the machine owns a lease: whether it is gone can then be asked of the system, without
/// waiting for the lease to expire.
struct ProcessIdentity: Hashable, Sendable {
  var boot: String
  /// Process ids mean something within one namespace only (containers).
  var namespace: String
  var process: Int32
  /// In clock ticks since the boot: process ids are used again.
  var start: UInt64

  /// This process.
  static let own = ProcessIdentity(process: getpid())

  init(boot: String, namespace: String, process: Int32, start: UInt64) {
    self.boot = boot
    self.namespace = namespace
    self.process = process
    self.start = start
  }

  /// A process of this boot and namespace.
  init(process: Int32) {
    self.init(
      boot: Self.contents(of: "/proc/sys/kernel/random/boot_id").trimmed, namespace: Self.ownNamespace,
      process: process, start: Self.startTime(of: process) ?? 0)
  }

  init?(_ text: some StringProtocol) {
    let parts = text.split(separator: "|", omittingEmptySubsequences: false)
    guard parts.count >= 4, let process = Int32(parts[2]), let start = UInt64(parts[3]) else { return nil }
    self.init(boot: String(parts[0]), namespace: String(parts[1]), process: process, start: start)
  }

  var text: String { "\(boot)|\(namespace)|\(process)|\(start)" }

  /// Whether this process has certainly ended, as `observer` can tell.
  func isGone(asSeenBy observer: ProcessIdentity) -> Bool {
    if boot != observer.boot { return true }
    if namespace != observer.namespace { return false }
    return Self.startTime(of: process) != start
  }

  /// nil: there is no such process, or it has ended and only waits to be collected.
  private static func startTime(of process: Int32) -> UInt64? {
    // The second field is the name in parentheses, which may hold anything.
    let status = contents(of: "/proc/\(process)/stat")
    guard let end = status.lastIndex(of: ")") else { return nil }
    let fields = status[status.index(after: end)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z", fields[0] != "X" else { return nil }
    return UInt64(fields[19])
  }

  private static var ownNamespace: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
      guard let start = buffer.baseAddress else { return "" }
      let count = readlink("/proc/self/ns/pid", start, 128)
      return count > 0
        ? String(decoding: UnsafeRawBufferPointer(buffer)[..<count], as: UTF8.self) : ""
    }
  }

  private static func contents(of path: String) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    if descriptor < 0 { return "" }
    defer { close(descriptor) }
    return withUnsafeTemporaryAllocation(byteCount: 2048, alignment: 1) { buffer in
      let count = read(descriptor, buffer.baseAddress, buffer.count)
      return count > 0 ? String(decoding: UnsafeRawBufferPointer(rebasing: buffer[..<count]), as: UTF8.self) : ""
    }
  }
}

extension String {
  fileprivate var trimmed: String { String(prefix { $0 != "\n" }) }
}
