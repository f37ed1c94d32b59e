import CSystem
import DatabusCore
import MemoryState
import SQLiteClient
import SQLiteLogTransport
import SQLiteState
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// sqlite-log next to SQLite itself: appending, reading, many appenders, through the router, and between processes.
enum LogBenchmark {
  private static let rows = 300_000
  private static let batch = 1000

  static func run(_ report: Report, rounds: Int) async throws {
    var append: [Double] = []
    var bulk: [Double] = []
    var read: [Double] = []
    var select: [Double] = []
    var one: [Double] = []
    var eight: [Double] = []
    var routed: [Double] = []
    for _ in 0..<rounds {
      let folder = try DiskFolder()
      bulk.append(try insert("\(folder.path)/bulk.db"))
      select.append(try scan("\(folder.path)/bulk.db"))
      let path = "\(folder.path)/log.db"
      let log = try await SQLiteLog(path: path)
      append.append(try await fill(log))
      read.append(try await drain(log))
      await log.close()
      let threads = try await SQLiteLog(path: "\(folder.path)/threads.db")
      one.append(try await appendOneByOne(threads, tasks: 1))
      eight.append(try await appendOneByOne(threads, tasks: 8))
      await threads.close()
      routed.append(try await route(folder.path))
      folder.remove()
    }
    func rate(_ seconds: [Double]) -> Double { Double(rows) / Statistics.median(seconds) / 1000 }
    report.add(
      Figure(
        benchmark: "log, append in batches of 1,000", value: rate(append), unit: "k/s",
        reference: "k/s, SQLite's bulk insert", referenceValue: rate(bulk), goal: ">= 0.5"))
    report.add(
      Figure(
        benchmark: "log, read", value: rate(read), unit: "k/s", reference: "k/s, a bare SELECT",
        referenceValue: rate(select), goal: ">= 0.5"))
    report.add(
      Figure(
        benchmark: "log, 8 appenders one at a time", value: Statistics.median(eight), unit: "appends/s",
        reference: "appends/s, one appender", referenceValue: Statistics.median(one), goal: ">= 4"))
    report.add(
      Figure(
        benchmark: "log to log through the router", value: rate(routed), unit: "k events/s", reference: "k events/s",
        referenceValue: 150, goal: ">= 1"))
    try await LatencyBenchmark.run(report)
  }

  private static func seconds(since start: Instant) -> Double { (SystemClock().now() - start).fractionalSeconds }

  // MARK: SQLite itself

  private static func insert(_ path: String) throws -> Double {
    let connection = try SQLiteConnection(path: path, access: .create)
    try connection.useWriteAheadLog(.full)
    try connection.execute(
      "CREATE TABLE log (id INTEGER PRIMARY KEY, key BLOB, value BLOB, headers BLOB, timestamp INTEGER)")
    let statement = try connection.prepare(
      "INSERT INTO log (id, key, value, headers, timestamp) VALUES (?, NULL, ?, NULL, ?)")
    let value = Array(SampleEvents.event(type: 1, user: 1).utf8)
    let start = SystemClock().now()
    var id: Int64 = 0
    for _ in 0..<rows / batch {
      try connection.beginWriting()
      for _ in 0..<batch {
        id += 1
        try statement.bind(1, id)
        try statement.bind(2, value)
        try statement.bind(3, 1_795_357_798_798)
        _ = try statement.step()
        statement.reset()
      }
      try connection.commit()
    }
    return seconds(since: start)
  }

  private static func scan(_ path: String) throws -> Double {
    let connection = try SQLiteConnection(path: path, access: .readWrite)
    let statement = try connection.prepare(
      "SELECT id, key, value, headers, timestamp FROM log WHERE id > ? ORDER BY id LIMIT ?")
    let start = SystemClock().now()
    var last: Int64 = 0
    var bytes = 0
    while true {
      try statement.bind(1, last)
      try statement.bind(2, Int64(batch))
      var found = 0
      while try statement.step() {
        last = statement.integer(0)
        bytes += statement.blob(2)?.count ?? 0
        found += 1
      }
      statement.reset()
      if found == 0 { break }
    }
    precondition(bytes > 0)
    return seconds(since: start)
  }

  // MARK: The log

  private static func fill(_ log: SQLiteLog) async throws -> Double {
    let records = (0..<batch).map { LogRecord(key: nil, value: Array(SampleEvents.event(type: 1, user: $0).utf8)) }
    let start = SystemClock().now()
    for _ in 0..<rows / batch { _ = try await log.append(records, to: "events") }
    return seconds(since: start)
  }

  private static func drain(_ log: SQLiteLog) async throws -> Double {
    let source = try await log.makeSource("events", .everything(from: [:]))
    let start = SystemClock().now()
    var count = 0
    while count < rows {
      switch try await source.next(records: batch, bytes: 4 << 20, wait: .seconds(1)) {
      case .batch(let batch): count += batch.count
      case .assigned(let assignments):
        for assignment in assignments { try await source.seek(assignment, to: Position(next: 1)) }
      default: break
      }
    }
    let time = seconds(since: start)
    await source.close()
    return time
  }

  private static func appendOneByOne(_ log: SQLiteLog, tasks: Int) async throws -> Double {
    let record = [LogRecord(key: nil, value: Array(SampleEvents.event(type: 1, user: 1).utf8))]
    let start = SystemClock().now()
    let count = try await withThrowingTaskGroup(of: Int.self) { group in
      for number in 0..<tasks {
        // A thread each, as appenders that know nothing of one another are.
        let thread = WorkerThread(name: "appender-\(number)")
        group.addTask(executorPreference: thread) {
          defer { thread.stop() }
          var count = 0
          while (SystemClock().now() - start).fractionalSeconds < 1 {
            _ = try await log.append(record, to: "single")
            count += 1
          }
          return count
        }
      }
      return try await group.reduce(0, +)
    }
    return Double(count) / seconds(since: start)
  }

  /// Seconds from the first event to the last result, from log to log.
  private static func route(_ folder: String) async throws -> Double {
    let log = try await SQLiteLog(path: "\(folder)/route.db")
    let state = try await SQLiteState(path: "\(folder)/route-state.db", pipeline: "bench", access: .writer)
    for number in 0..<4 {
      _ = try await log.append([LogRecord(key: nil, value: Array(SampleEvents.rule(number).utf8))], to: "rules")
    }
    for start in stride(from: 0, to: rows, by: batch) {
      let records = (start..<start + batch).map {
        LogRecord(key: nil, value: Array(SampleEvents.event(type: $0 % 4, user: $0).utf8))
      }
      _ = try await log.append(records, to: "events")
    }
    let reference = StreamReference(transport: "log", stream: "events")
    let pipeline = Pipeline(
      .init(
        configuration: PipelineConfiguration(
          name: "bench", events: EventsConfiguration(reference),
          rules: RulesConfiguration(StreamReference(transport: "log", stream: "rules")),
          results: ResultsConfiguration(transport: "log")), transports: ["log": log], state: state, workers: 2,
        stopsWhenIdle: true))
    let start = SystemClock().now()
    try await pipeline.run()
    let time = seconds(since: start)
    await log.close()
    await state.close()
    return time
  }
}

/// A folder on the disk for the length of a benchmark: what a durable log costs is measured where it is durable.
struct DiskFolder {
  let path: String

  init() throws {
    var template = Array("/var/tmp/databus-bench-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw ChildProcess.Failure(description: "/var/tmp cannot be written") }
    path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  func remove() { ScratchFolder.remove(path) }
}
