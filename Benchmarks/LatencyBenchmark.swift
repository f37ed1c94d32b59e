import DatabusCore
import SQLiteLogTransport

#if canImport(Glibc)
  import Glibc
#endif

/// From an append in this process, through a router that is another process, to the result readable here.
enum LatencyBenchmark {
  private static let events = 1000

  static func run(_ report: Report) async throws {
    let folder = try DiskFolder()
    defer { folder.remove() }
    let configuration = """
      {"pipeline": {"name": "bench"}, "transports": {"local": {"type": "sqlite-log", "path": "log.db"}},
       "state": {"type": "sqlite", "path": "state.db"}}
      """
    let file = "\(folder.path)/databus.json"
    guard let stream = fopen(file, "w") else { throw ChildProcess.Failure(description: "\(file) cannot be written") }
    fputs(configuration, stream)
    fclose(stream)
    let log = try await SQLiteLog(path: "\(folder.path)/log.db")
    _ = try await log.append([LogRecord(value: Array(SampleEvents.rule(1).utf8))], to: "rules")
    let router = try ChildProcess.start([try ChildProcess.databus(), "run", "--config", file])
    defer {
      kill(router, SIGTERM)
      _ = try? ChildProcess.wait(router)
    }
    let source = try await log.makeSource("results-http", .everything(from: [:]))
    let clock = SystemClock()
    var times: [Double] = []
    for number in 0..<events {
      let sent = clock.now()
      _ = try await log.append([LogRecord(value: Array(SampleEvents.event(type: 1, user: number).utf8))], to: "events")
      var found = 0
      while found == 0 {
        guard (clock.now() - sent).fractionalSeconds < 30 else {
          throw ChildProcess.Failure(description: "no result came within 30 s")
        }
        switch try await source.next(records: 100, bytes: 1 << 20, wait: .seconds(1)) {
        case .batch(let batch): found = batch.count
        case .assigned(let assignments):
          for assignment in assignments { try await source.seek(assignment, to: Position(next: 1)) }
        default: break
        }
      }
      // The first ones wait for the router to start.
      if number >= 50 { times.append((clock.now() - sent).fractionalSeconds * 1000) }
      try await Task.sleep(for: .milliseconds(3))
    }
    await source.close()
    times.sort()
    report.add(
      Figure(
        benchmark: "log, append to result in another process, p99", value: times[times.count * 99 / 100], unit: "ms",
        reference: "ms, p50", referenceValue: times[times.count / 2], goal: "<= 20 ms"))
    try await Task.sleep(for: .seconds(2))
    let before = try processorTicks(router)
    try await Task.sleep(for: .seconds(5))
    let used = try processorTicks(router) - before
    report.add(
      Figure(
        benchmark: "log, an idle router", value: used / Double(sysconf(Int32(_SC_CLK_TCK))) / 5 * 100,
        unit: "% of a core",
        reference: "%", referenceValue: 1, goal: "<= 1"))
    await log.close()
  }

  /// User and system time of a process so far, in clock ticks (proc(5), /proc/pid/stat).
  private static func processorTicks(_ process: pid_t) throws -> Double {
    guard let stream = fopen("/proc/\(process)/stat", "r") else {
      throw ChildProcess.Failure(description: "the router has ended")
    }
    defer { fclose(stream) }
    var bytes = [CChar](repeating: 0, count: 1024)
    let count = fread(&bytes, 1, 1023, stream)
    let text = String(decoding: bytes.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
    guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
    return user + system
  }
}
