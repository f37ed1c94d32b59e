import Foundation
import KafkaFixture
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// Topics of its own on a real Kafka, a folder with configurations, and the processes that run on them.
final class KafkaBench: Sendable {
  let cluster: KafkaCluster
  let folder: String
  /// Prefix of topics, and the pipeline's name.
  let name: String
  let partitions: Int
  let producer: RawProducer
  private let gauge: SlotGauge
  private let processes = Mutex<[DatabusProcess]>([])

  var events: String { "\(name)-events" }
  var rules: String { "\(name)-rules" }
  var results: String { "\(name)-results" }
  var deadLetters: String { "\(name)-dead-letters" }

  /// What a test changes.
  struct Options {
    var partitions = 4
    var checkpointInterval = "100ms"
    var properties: [String: String] = [:]
    /// Configuration of the topics, by the end of their names: `rules`.
    var topics: [String: [String: String]] = [:]
    var consistency = "default"
    /// The state of the process with this number.
    var state: @Sendable (Int) -> [String: Any] = { ["type": "sqlite", "path": "state-\($0).db"] }
    /// Partitions of the results.
    var resultPartitions = 1
    /// The configuration's section `dispatcher`, as JSON; nil: there is none.
    var dispatcher: Data?
  }
  private let options: Options

  private init(_ cluster: KafkaCluster, _ options: Options) throws {
    self.cluster = cluster
    self.options = options
    name = "faults-" + UUID().uuidString.prefix(8).lowercased()
    partitions = options.partitions
    let root = FileManager.default.temporaryDirectory.appendingPathComponent("databus-\(name)")
    try FileManager.default.createDirectory(at: root, withIntermediateDirectories: true)
    folder = root.path
    gauge = try SlotGauge(path: folder + "/gauge")
    producer = try RawProducer(cluster.bootstrapServers)
    for (topic, count) in [(events, partitions), (rules, 1), (results, options.resultPartitions), (deadLetters, 1)] {
      try create(topic, partitions: count)
    }
  }

  func create(_ topic: String, partitions: Int) throws {
    var arguments = ["--create", "--topic", topic, "--partitions", "\(partitions)"]
    let kind = String(topic.dropFirst(name.count + 1))
    for (name, value) in options.topics[kind] ?? [:] { arguments += ["--config", "\(name)=\(value)"] }
    try cluster.tool("kafka-topics.sh", arguments)
  }

  /// Runs `body` on new topics, and ends what still runs.
  static func with<R>(
    _ options: Options = Options(), on cluster: KafkaCluster? = nil, _ body: (KafkaBench) async throws -> R
  ) async throws -> R {
    var used = cluster
    if used == nil { used = try await KafkaCluster.sharedCluster() }
    guard let used else { throw HarnessError("there is no cluster") }
    let bench = try KafkaBench(used, options)
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
      process.signal(SIGCONT)
      process.signal(SIGKILL)
      _ = try await process.end()
    }
    try FileManager.default.removeItem(atPath: folder)
  }

  // MARK: Processes

  private func configure(_ number: Int) throws -> String {
    var properties = [
      "session.timeout.ms": "3000", "heartbeat.interval.ms": "300", "topic.metadata.refresh.interval.ms": "1000",
    ]
    properties.merge(options.properties) { $1 }
    var configuration: [String: Any] = [
      "pipeline": [
        "name": name, "events": ["stream": events], "rules": ["stream": rules, "consistency": options.consistency],
        "results": ["streams": ["https": results, "http": results]], "deadLetters": ["stream": deadLetters],
      ],
      "transports": [
        "kafka": [
          "type": "kafka", "bootstrapServers": cluster.bootstrapServers, "properties": properties,
          "requestTimeout": "3s",
        ]
      ],
      "state": options.state(number), "checkpoint": ["interval": options.checkpointInterval],
      "limits": ["batchRecords": 200],
    ]
    if let dispatcher = options.dispatcher {
      configuration["dispatcher"] = try JSONSerialization.jsonObject(with: dispatcher)
    }
    let path = folder + "/databus-\(number).json"
    try JSONSerialization.data(withJSONObject: configuration).write(to: URL(fileURLWithPath: path))
    return path
  }

  /// Starts `databus run`, or another command, on the state with this number.
  func start(
    _ number: Int = 0, _ arguments: String..., command: String = "run", crash: String? = nil, defect: String? = nil
  ) throws -> DatabusProcess {
    guard let program = FaultBinary.path else { throw HarnessError("\(FaultBinary.missing)") }
    var environment = ["DATABUS_OPEN_SLOTS": gauge.path]
    environment["DATABUS_CRASH_AT"] = crash
    environment["DATABUS_DEFECT"] = defect
    let index = processes.withLock { $0.count }
    let process = try DatabusProcess(
      [program, command, "--config", try configure(number)] + (command == "run" ? ["--workers", "1"] : []) + arguments,
      environment: environment,
      outputPath: "\(folder)/\(index).out", errorPath: "\(folder)/\(index).err")
    processes.withLock { $0.append(process) }
    return process
  }

  /// Runs another subcommand to its end; its output.
  @discardableResult
  func command(_ number: Int = 0, _ words: [String]) throws -> String {
    let split = words.firstIndex { $0.hasPrefix("-") } ?? words.count
    return try Tool.run(
      FaultBinary.normalPath,
      Array(words[..<split]) + ["--config", try configure(number)] + Array(words[split...]))
  }

  // MARK: Streams

  /// Puts a rule and waits for its acknowledgement.
  func put(_ rule: ModelRule) throws { try put(rule.id, rule.json) }

  func put(_ id: String, _ json: String?) throws {
    try producer.send(rules, key: Array(id.utf8), value: json.map { Array($0.utf8) })
    try producer.flush()
  }

  /// All results that were not read yet.
  func consumer(_ topic: String? = nil) throws -> RawConsumer {
    try RawConsumer(cluster.bootstrapServers, topic ?? results)
  }
}

/// Events that are sent all the time, each with a number of its own, and what comes of them.
///
/// Every event names the version of the rule that was in force for it: the last one acknowledged 100 ms before. The rule's destination
/// names its version, so each result shows by which version it was routed.
final class KafkaLoad: Sendable {
  static let ruleID = "rule_v"

  private struct State {
    var sent = 0
    var version = 0
    var isStopping = false
  }
  private let bench: KafkaBench
  private let state = Mutex(State())
  private let task = Mutex<Task<Int, any Error>?>(nil)
  private let producer: RawProducer

  init(_ bench: KafkaBench) throws {
    self.bench = bench
    producer = try RawProducer(bench.cluster.bootstrapServers)
    try putVersion()
  }

  /// Sends the rule once more, with a new version, and has events demand it 100 ms after its acknowledgement.
  func putVersion() throws {
    let version = state.withLock { $0.version + 1 }
    try bench.put(
      ModelRule(id: KafkaLoad.ruleID, types: ["load"], destination: "https://v.example/\(version)"))
    usleep(100_000)
    state.withLock { $0.version = version }
  }

  var sent: Int { state.withLock { $0.sent } }

  /// Starts to send so many events a second, spread over the partitions.
  func start(perSecond: Int) {
    let task = Task.detached { [self] () async throws -> Int in
      let clock = ContinuousClock()
      let start = clock.now
      var number = 0
      while !state.withLock({ $0.isStopping }) {
        let due = Int((clock.now - start) / .milliseconds(1)) * perSecond / 1000
        let version = state.withLock { $0.version }
        while number < due {
          let text = "{\"type\":\"load\",\"number\":\(number),\"version\":\(version)}"
          try producer.send(bench.events, partition: number % bench.partitions, value: Array(text.utf8))
          number += 1
        }
        try producer.flush()
        state.withLock { $0.sent = number }
        // This is the pace, not a wait for something.
        try await Task.sleep(for: .milliseconds(5))
      }
      return number
    }
    self.task.withLock { $0 = task }
  }

  /// Stops sending; the number of events sent.
  func stop() async throws -> Int {
    state.withLock { $0.isStopping = true }
    let task = task.withLock { $0 }
    return try await task?.value ?? 0
  }
}

/// What is read of the results of a load.
struct KafkaLoadReport {
  private(set) var ids: [Int: String] = [:]
  private var numberOfID: [String: Int] = [:]
  private var lastFirst: [Int: Int] = [:]
  private(set) var results = 0
  private(set) var repeats = 0
  /// What is wrong.
  private(set) var violations: [String] = []
  /// The longest time in which no first result of a partition came, by the time of the results, in milliseconds.
  private(set) var longestPause: Int64 = 0
  private var lastResultAt: [Int: Int64] = [:]
  private var firstAt: [Int: Int64] = [:]
  /// The longest time between a result and its repeat, in milliseconds.
  private(set) var oldestRepeat: Int64 = 0
  private let partitions: Int

  init(partitions: Int) { self.partitions = partitions }

  mutating func take(_ record: RawConsumer.Record) {
    results += 1
    guard let value = record.value, let number = KafkaLoadReport.number(value, "\"number\":"),
      let wanted = KafkaLoadReport.number(value, "\"version\":"),
      let version = KafkaLoadReport.number(value, "https://v.example/"),
      let id = KafkaLoadReport.bytes(value, "\"id\":\"", count: 32)
    else {
      return violations.append("unreadable: \(String(decoding: record.value ?? [], as: UTF8.self).prefix(200))")
    }
    if version < wanted {
      violations.append("event \(number) was routed by version \(version), and version \(wanted) was in force")
    }
    if let known = ids[number] {
      repeats += 1
      oldestRepeat = max(oldestRepeat, record.timestamp - (firstAt[number] ?? record.timestamp))
      if known != id { violations.append("event \(number) came again with another id") }
      return
    }
    ids[number] = id
    firstAt[number] = record.timestamp
    if let other = numberOfID.updateValue(number, forKey: id) {
      violations.append("events \(other) and \(number) have one id")
    }
    let partition = number % partitions
    if let last = lastFirst.updateValue(number, forKey: partition), last > number {
      violations.append("event \(number) came first after \(last) of the same partition")
    }
    if let last = lastResultAt[partition] { longestPause = max(longestPause, record.timestamp - last) }
    lastResultAt[partition] = record.timestamp
  }

  /// What stands behind a text; a result is small and its members are known.
  private static func bytes(_ value: [UInt8], _ text: String, count: Int) -> String? {
    let wanted = Array(text.utf8)
    return value.withUnsafeBytes { value in
      wanted.withUnsafeBytes { wanted in
        var start = 0
        while start + wanted.count + count <= value.count {
          if value[start] == wanted[0], memcmp(value.baseAddress! + start, wanted.baseAddress!, wanted.count) == 0 {
            let found = start + wanted.count
            return String(decoding: value[found..<found + count], as: UTF8.self)
          }
          start += 1
        }
        return nil
      }
    }
  }

  private static func number(_ value: [UInt8], _ text: String) -> Int? {
    bytes(value, text, count: 12).flatMap { Int($0.prefix { $0.isNumber }) }
  }

  func missing(of sent: Int) -> [Int] { (0..<sent).filter { ids[$0] == nil } }

  /// Reads results until none of the events is missing.
  ///
  /// - Throws: where some still are after `limit`.
  mutating func complete(_ sent: Int, _ consumer: RawConsumer, within limit: Duration = .seconds(60)) async throws {
    let deadline = ContinuousClock.now + limit
    repeat {
      for record in try consumer.read() { take(record) }
      if ids.count >= sent { return }
      try await Task.sleep(for: .milliseconds(50))
    } while ContinuousClock.now < deadline
    let missing = missing(of: sent)
    throw HarnessError("\(missing.count) of \(sent) events have no result after \(limit): \(missing.prefix(10))")
  }
}
