import CSystem

#if canImport(Glibc)
  import Glibc
#endif

/// What the system knows of this process, under the names that Prometheus gives them.
public struct ProcessMetrics: Sendable {
  private let processorTime: Counter
  private let residentBytes: Gauge
  private let openFiles: Gauge
  private let maximumFiles: Gauge

  /// Makes the series. `processStart` is the moment of the process's start in milliseconds since 1970.
  public init(_ registry: MetricRegistry, processStart: Int64) {
    processorTime = registry.counter(
      "process_cpu_seconds_total", "User and system time of the process.", scale: 1e-9)
    residentBytes = registry.gauge("process_resident_memory_bytes", "Memory of the process that is in RAM.")
    openFiles = registry.gauge("process_open_fds", "File descriptors of the process.")
    maximumFiles = registry.gauge("process_max_fds", "File descriptors that the process may have.")
    registry.gauge("process_start_time_seconds", "When the process started, since 1970.", scale: 1e-3).set(processStart)
    update()
  }

  /// Asks the system: some microseconds. Called before the metrics are shown.
  public func update() {
    let usage = databus_process_usage()
    processorTime.raise(to: usage.userNanoseconds + usage.systemNanoseconds)
    // What cannot be read stays as it was.
    if let pages = ProcessMetrics.residentPages { residentBytes.set(pages * Int64(sysconf(Int32(_SC_PAGESIZE)))) }
    if let count = ProcessMetrics.openDescriptors { openFiles.set(count) }
    var limit = rlimit()
    if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
      maximumFiles.set(Int64(clamping: limit.rlim_cur))
    }
  }

  private static var residentPages: Int64? {
    guard let bytes = try? FileReading.contents("/proc/self/statm") else { return nil }
    let words = bytes.split(separator: UInt8(ascii: " "))
    return words.count > 1 ? Int64(String(decoding: words[1], as: UTF8.self)) : nil
  }

  private static var openDescriptors: Int64? {
    guard let folder = opendir("/proc/self/fd") else { return nil }
    defer { closedir(folder) }
    var count: Int64 = 0
    while let entry = readdir(folder) {
      // Not the two dots.
      if entry.pointee.d_name.0 != CChar(UInt8(ascii: ".")) { count += 1 }
    }
    // The folder's own is gone in a moment.
    return count - 1
  }
}
