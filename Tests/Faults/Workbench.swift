import DatabusCore
import Foundation
import SQLiteLogTransport
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A record as it stands in a stream.
struct StoredRecord {
  var position: UInt64
  var timestamp: Int64
  var key: [UInt8]?
  var value: [UInt8]?
  var headers: [String: String]
}

/// A folder with a configuration, a log and a state file, and the processes that run on it.
final class Workbench: Sendable {
  let folder: String
  let gauge: SlotGauge
  private let processes = Mutex<[DatabusProcess]>([])

  static let results = "results-http"
  static let deadLetters = "faults-dead-letters"

  let logPath: String
  let statePath: String

  /// What a test changes in the configuration.
  struct Options {
    var checkpointInterval = "100ms"
    var checkpointRecords = 100_000
    /// Members of `limits`.
    var limits: [String: Any] = [:]
    var logFolder: String?
    var stateFolder: String?
    /// Further sections of the configuration.
    var sections: [String: Any] = [:]
  }

  private init(_ options: Options) throws {
    let root = FileManager.default.temporaryDirectory.appendingPathComponent("databus-faults-" + UUID().uuidString)
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
    folder = root.path
    logPath = (options.logFolder ?? folder) + "/log.db"
    statePath = (options.stateFolder ?? folder) + "/state.db"
    gauge = try SlotGauge(path: folder + "/gauge")
    try configure("databus.json", options, state: "state.db")
  }

  /// Runs `body` on a new folder, and removes it with everything that still runs.
  static func with<R>(_ options: Options = Options(), _ body: (Workbench) async throws -> R) async throws -> R {
    let bench = try Workbench(options)
    do {
      let result = try await body(bench)
      try await bench.end()
      return result
    } catch {
      try? await bench.end()
      throw error
    }
  }

  private func end() async throws {
    for process in processes.withLock({ $0 }) where !process.hasEnded {
      process.signal(SIGKILL)
      _ = try await process.end()
    }
    try FileManager.default.removeItem(atPath: folder)
  }

  /// Writes a configuration of the pipeline.
  func configure(_ name: String, _ options: Options = Options(), state: String) throws {
    let log = options.logFolder.map { $0 + "/log.db" } ?? "log.db"
    let state = options.stateFolder.map { $0 + "/" + state } ?? state
    var configuration: [String: Any] = [
      "pipeline": [
        "name": "faults", "events": ["transport": "local", "stream": "events"],
        "rules": ["transport": "local", "stream": "rules"],
        "results": ["transport": "local", "streams": ["https": Workbench.results, "http": Workbench.results]],
        "deadLetters": ["transport": "local", "stream": Workbench.deadLetters],
      ],
      "transports": ["local": ["type": "sqlite-log", "path": log]],
      "state": ["type": "sqlite", "path": state],
      "checkpoint": ["interval": options.checkpointInterval, "records": options.checkpointRecords],
      "limits": options.limits,
    ]
    configuration.merge(options.sections) { $1 }
    try JSONSerialization.data(withJSONObject: configuration).write(to: URL(fileURLWithPath: folder + "/" + name))
  }

  // MARK: Processes

  /// Starts `databus run`.
  ///
  /// - Parameters:
  ///   - crash: `DATABUS_CRASH_AT`.
  ///   - defect: `DATABUS_DEFECT`.
  ///   - shell: what a shell does before it becomes the program.
  func start(
    _ arguments: String..., crash: String? = nil, defect: String? = nil, configuration: String = "databus.json",
    shell: String? = nil
  ) throws -> DatabusProcess {
    try start(arguments, crash: crash, defect: defect, configuration: configuration, shell: shell)
  }

  func start(
    _ arguments: [String], command: [String] = ["run"], crash: String? = nil, defect: String? = nil,
    configuration: String = "databus.json", shell: String? = nil
  ) throws -> DatabusProcess {
    guard let program = FaultBinary.path else { throw HarnessError("\(FaultBinary.missing)") }
    var environment = ["DATABUS_OPEN_SLOTS": gauge.path]
    environment["DATABUS_CRASH_AT"] = crash
    environment["DATABUS_DEFECT"] = defect
    var words = [program] + command + ["--config", folder + "/" + configuration] + arguments
    if let shell { words = ["/bin/sh", "-c", shell + "; exec \"$0\" \"$@\""] + words }
    gauge.clear()
    let number = processes.withLock { $0.count }
    let process = try DatabusProcess(
      words, environment: environment, outputPath: "\(folder)/\(number).out", errorPath: "\(folder)/\(number).err")
    processes.withLock { $0.append(process) }
    return process
  }

  /// Runs another command to its end.
  ///
  /// - Parameter words: two words of the command, then its arguments.
  func command(
    _ words: String..., configuration: String = "databus.json"
  ) async throws -> (end: DatabusProcess.End, output: String, errors: String) {
    let process = try start(
      Array(words.dropFirst(2)), command: Array(words.prefix(2)), configuration: configuration)
    return (try await process.end(), process.output, process.errors)
  }

  /// Routes what is there, without any fault, and ends.
  func finish(configuration: String = "databus.json") async throws {
    let process = try start("--until-idle", configuration: configuration)
    let end = try await process.end(within: .seconds(120))
    guard end == .exited(0) else { throw HarnessError("a run without faults ended with \(end): \(process.errors)") }
  }

  // MARK: The log

  /// Opens the log for one purpose. It is not kept open: a process that is killed must leave a file that its successor can use
  /// alone.
  func withLog<R>(_ body: (SQLiteLog) async throws -> R) async throws -> R {
    let log = try await SQLiteLog(path: logPath)
    do {
      let result = try await body(log)
      await log.close()
      return result
    } catch {
      await log.close()
      throw error
    }
  }

  /// Appends values, each acknowledged, and returns their positions.
  @discardableResult
  func append(_ values: [[UInt8]?], keys: [[UInt8]?]? = nil, to topic: String) async throws -> [UInt64] {
    try await withLog { log in
      var positions: [UInt64] = []
      for start in stride(from: 0, to: values.count, by: 2000) {
        let records = (start..<min(start + 2000, values.count)).map {
          LogRecord(key: keys?[$0] ?? nil, value: values[$0])
        }
        positions += try await log.append(records, to: topic).map(\.position)
      }
      return positions
    }
  }

  func append(_ rules: [ModelRule]) async throws {
    try await append(rules.map { Array($0.json.utf8) }, keys: rules.map { Array($0.id.utf8) }, to: "rules")
  }

  /// Appends events and says where they stand.
  func append(_ events: [ModelEvent]) async throws -> [SentEvent] {
    let positions = try await append(events.map(\.bytes), to: "events")
    return zip(events, positions).map { SentEvent(event: $0, position: $1) }
  }

  /// All records of a stream from a position on.
  func records(of topic: String, from start: UInt64 = 1) async throws -> [StoredRecord] {
    try await withLog { log in
      let source = try await log.makeSource(topic, .everything(from: [:]))
      var found: [StoredRecord] = []
      do {
        let all = try await source.partitions()
        let ends = try await source.bounds(of: all).map(\.end.next)
        guard let end = ends.first, all.count == 1 else { throw HarnessError("\(topic) has \(all.count) partitions") }
        var next = start
        while next < end {
          switch try await source.next(records: 5000, bytes: 16 << 20, wait: .milliseconds(100)) {
          case .assigned(let assignments): try await source.seek(assignments[0], to: Position(next: start))
          case .batch(let batch):
            for index in 0..<batch.count {
              let (record, behind) = Workbench.record(batch, index)
              found.append(record)
              next = behind
            }
          case .idle: continue
          default: throw HarnessError("\(topic) cannot be read")
          }
        }
        await source.close()
      } catch {
        await source.close()
        throw error
      }
      return found
    }
  }

  private static func record(_ batch: borrowing RecordBatch, _ index: Int) -> (StoredRecord, next: UInt64) {
    let raw = batch[index].raw
    var headers: [String: String] = [:]
    for header in batch.headers(at: index) {
      headers[header.name] = header.value.map { String(decoding: $0, as: UTF8.self) }
    }
    let record = StoredRecord(
      position: raw.position, timestamp: raw.timestamp, key: copy(raw.key, raw.keyCount),
      value: copy(raw.value, raw.valueCount), headers: headers)
    return (record, raw.next)
  }

  private static func copy(_ start: UnsafeRawPointer?, _ count: Int32) -> [UInt8]? {
    start.map { [UInt8](UnsafeRawBufferPointer(start: $0, count: Int(count))) }
  }

  /// The position of the record that a stream gets next.
  func end(of topic: String) async throws -> UInt64 {
    try await withLog { log in
      try await log.topics().first { $0.name == topic }?.bounds.first?.end.next ?? 1
    }
  }

  /// What the pipeline has committed of the events; nil where nothing is.
  func committed(_ group: String = "faults", of stream: String = "events") async throws -> UInt64? {
    try await withLog { try await $0.groupPositions(group, stream: stream).first?.committed?.position.next }
  }

  /// Checks all results and dead letters against what was sent.
  func check(_ sent: [SentEvent], _ rules: [ModelRule]) async throws -> DeliveryReport {
    var checker = DeliveryChecker(sent, rules, timestamps: try await timestamps())
    for record in try await records(of: Workbench.results) { checker.take(record) }
    for record in try await records(of: Workbench.deadLetters) { checker.takeDeadLetter(record) }
    return checker.finish()
  }

  private func timestamps() async throws -> [UInt64: Int64] {
    Dictionary(uniqueKeysWithValues: try await records(of: "events").map { ($0.position, $0.timestamp) })
  }
}
