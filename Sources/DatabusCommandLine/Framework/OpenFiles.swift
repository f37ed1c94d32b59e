#if canImport(Glibc)
  import Glibc
#endif

/// How many files and sockets this process may have open.
enum OpenFiles {
  /// What a process has open besides connections.
  private static let others = 64

  /// Asks the system for as many connections as are wanted.
  ///
  /// - Returns: how many there may be: fewer where the system's hard limit is lower.
  static func allow(connections wanted: Int) -> Int {
    var limit = rlimit()
    let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    guard getrlimit(kind, &limit) == 0 else { return wanted }
    let needed = rlim_t(wanted + others)
    if limit.rlim_cur < needed {
      let before = limit.rlim_cur
      limit.rlim_cur = min(needed, limit.rlim_max)
      if setrlimit(kind, &limit) != 0 { limit.rlim_cur = before }
    }
    return min(wanted, max(1, Int(clamping: limit.rlim_cur) - others))
  }
}
