import CRdkafka
import DatabusCore
import KafkaFixture
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The router between two topics of a real Kafka, next to a program that does nothing but read and write.
enum KafkaBenchmark {
  static let events = 5_000_000
  private static let rules = 4

  static func run(_ report: Report, rounds: Int) async throws {
    guard KafkaCluster.isAvailable else {
      if !report.asJSON { print("kafka: \(KafkaCluster.requirement)") }
      return
    }
    let cluster = try await KafkaCluster.sharedCluster()
    defer { cluster.remove() }
    let bench = try Bench(cluster)
    defer { bench.folder.remove() }
    try await throughput(bench, report, rounds)
    try await latency(bench, report, rounds)
    try await takeover(bench, report)
    try start(bench, report, rounds)
  }

  // MARK: Much to do

  private static func throughput(_ bench: Bench, _ report: Report, _ rounds: Int) async throws {
    let input = try bench.topic("backlog")
    try bench.send(events, to: input) { SampleEvents.event(type: $0 % rules, user: $0) }
    var copying: [ChildProcess.Usage] = []
    var writing: [ChildProcess.Usage] = []
    var routing: [ChildProcess.Usage] = []
    for _ in 0..<rounds {
      copying.append(try bench.passThrough(input, "copy", events))
      writing.append(try bench.passThrough(input, "results", events))
      routing.append(try bench.router(input, rules: rules))
    }
    func processor(_ all: [ChildProcess.Usage]) -> Double {
      Statistics.median(all.map(\.processorSeconds)) * 1e6 / Double(events)
    }
    func rate(_ all: [ChildProcess.Usage]) -> Double {
      Double(events) / Statistics.median(all.map(\.wallSeconds)) / 1000
    }
    func peak(_ all: [ChildProcess.Usage]) -> Double { Statistics.median(all.map { Double($0.peakBytes) / 1e6 }) }
    for (name, reference, goal) in [
      ("the pass-through that copies", copying, "<= 1.6"), ("the one that writes as much", writing, "<= 1.25"),
    ] {
      report.add(
        Figure(
          benchmark: "kafka, CPU per event", value: processor(routing), unit: "us", reference: "us, \(name)",
          referenceValue: processor(reference), goal: goal))
    }
    report.add(
      Figure(
        benchmark: "kafka, a backlog of \(events)", value: rate(routing), unit: "k events/s",
        reference: "k events/s, the one that writes as much", referenceValue: rate(writing), goal: ">= 0.8"))
    report.add(
      Figure(
        benchmark: "kafka, memory at that speed", value: peak(routing), unit: "MB", reference: "MB, the same",
        referenceValue: peak(writing), goal: "<= 200 MB"))
    try bench.delete(input)
  }

  // MARK: Little to do

  private static func latency(_ bench: Bench, _ report: Report, _ rounds: Int) async throws {
    var routed: [[Double]] = []
    var passed: [[Double]] = []
    for _ in 0..<rounds {
      routed.append(try await latencies(bench) { try bench.startRouter($0, rules: rules, to: $1) })
      passed.append(try await latencies(bench) { try bench.startPassThrough($0, "results", to: $1) })
    }
    for (name, share, goal) in [("p50", 0.5, "<= 1 ms"), ("p99", 0.99, "<= 1.5")] {
      func middle(_ all: [[Double]]) -> Double {
        Statistics.median(all.map { $0[min($0.count - 1, Int(Double($0.count) * share))] })
      }
      report.add(
        Figure(
          benchmark: "kafka, latency at 1000/s, \(name)", value: middle(routed), unit: "ms",
          reference: "ms, the pass-through", referenceValue: middle(passed), goal: goal))
    }
  }

  /// From the sending of an event to its arrival in the output, in milliseconds, in order of size.
  private static func latencies(
    _ bench: Bench, _ start: (_ input: String, _ output: String) throws -> pid_t
  ) async throws -> [Double] {
    let input = try bench.topic("steady")
    let output = try bench.topic("steady-out")
    let process = try start(input, output)
    defer {
      kill(process, SIGKILL)
      _ = try? ChildProcess.wait(process)
    }
    let clock = SystemClock()
    let producer = try RawProducer(bench.cluster.bootstrapServers)
    let count = 6000
    let sent = SendingTimes()
    let consumer = try RawConsumer(bench.cluster.bootstrapServers, output)
    func send(_ number: Int) throws {
      let event = SampleEvents.event(type: number % rules, user: number)
      sent.note(number, clock.now())
      try producer.send(input, partition: 0, value: Array(event.utf8))
    }
    // Until it flows.
    let deadline = clock.now() + .seconds(60)
    repeat {
      guard clock.now() < deadline else { throw ChildProcess.Failure(description: "nothing comes out of a router") }
      try send(99_999_999)
      try producer.flush()
    } while try consumer.read(idleMilliseconds: 200).isEmpty
    let reading = Task.detached { @Sendable () throws -> [Double] in
      var times: [Double] = []
      while times.count < count {
        guard let record = try consumer.next(milliseconds: 10_000) else { break }
        let now = clock.now().nanoseconds
        guard let number = userNumber(record), number < count,
          let start = sent.take(number)
        else { continue }
        times.append(Double(now - start.nanoseconds) / 1e6)
      }
      return times
    }
    let begin = clock.now()
    for number in 0..<count {
      while clock.now() < begin + .milliseconds(number) { usleep(50) }
      try send(number)
    }
    try producer.flush()
    // The first second is for warming up.
    let times = try await reading.value.dropFirst(1000).sorted()
    guard times.count >= count / 2 else { throw ChildProcess.Failure(description: "results are missing") }
    try bench.delete(input)
    try bench.delete(output)
    return times
  }

  /// The number that `SampleEvents` writes as the user's.
  private static func userNumber(_ record: [UInt8]) -> Int? {
    let key = Array("\"userId\":".utf8)
    guard let place = record.indices.first(where: { record[$0...].starts(with: key) }) else { return nil }
    let digits = record[(place + key.count)...].prefix { $0 >= 0x30 && $0 <= 0x39 }
    return Int(String(decoding: digits, as: UTF8.self)).map { $0 - 100_000_000 }
  }

  // MARK: One of two is killed

  private static func takeover(_ bench: Bench, _ report: Report) async throws {
    let session = 6.0
    let input = try bench.topic("shared", partitions: 4)
    let output = try bench.topic("shared-out")
    let processes = try (0..<2).map { try bench.startRouter(input, rules: rules, to: output, state: $0) }
    defer {
      for process in processes {
        kill(process, SIGKILL)
        _ = try? ChildProcess.wait(process)
      }
    }
    let clock = SystemClock()
    let producer = try RawProducer(bench.cluster.bootstrapServers)
    let consumer = try RawConsumer(bench.cluster.bootstrapServers, output)
    var last: [Int: UInt64] = [:]
    var pause: UInt64 = 0
    var killed: Instant?
    let begin = clock.now()
    var number = 0
    while clock.now() < begin + .seconds(24) {
      for _ in 0..<20 {
        try producer.send(
          input, partition: number % 4, value: Array(SampleEvents.event(type: number % rules, user: number).utf8))
        number += 1
      }
      while let record = try consumer.next(milliseconds: 5) {
        guard let number = userNumber(record) else { continue }
        let now = clock.now().nanoseconds
        if killed != nil, let before = last[number % 4] { pause = max(pause, now - before) }
        last[number % 4] = now
      }
      if killed == nil, clock.now() >= begin + .seconds(10) {
        kill(processes[1], SIGKILL)
        killed = clock.now()
      }
    }
    report.add(
      Figure(
        benchmark: "kafka, one of two killed, its partitions idle", value: Double(pause) / 1e9, unit: "s",
        reference: "s, session timeout", referenceValue: session, goal: "<= +1 s"))
  }

  // MARK: Many rules

  private static func start(_ bench: Bench, _ report: Report, _ rounds: Int) throws {
    for (count, goal) in [(10_000, "<= 1 s"), (100_000, "<= 3 s")] {
      var times: [Double] = []
      let rules = try bench.topic("rules-\(count)")
      try bench.send(count, to: rules) { SampleEvents.rule($0) }
      let input = try bench.topic("no-events")
      let output = try bench.topic("no-results")
      for _ in 0..<rounds {
        let file = try bench.configure(input, rules: rules, results: output)
        times.append(
          try ChildProcess.run([try ChildProcess.databus(), "run", "--config", file, "--until-idle"]).wallSeconds)
      }
      report.add(
        Figure(
          benchmark: "kafka, start with \(count) rules", value: Statistics.median(times), unit: "s",
          reference: "s", referenceValue: count == 10_000 ? 1 : 3, goal: goal))
    }
  }
}

/// When events were sent.
private final class SendingTimes: Sendable {
  private let times = Mutex([Int: Instant]())

  func note(_ number: Int, _ time: Instant) { times.withLock { $0[number] = time } }
  func take(_ number: Int) -> Instant? { times.withLock { $0.removeValue(forKey: number) } }
}

/// Topics, configurations and programs of the benchmark.
private final class Bench {
  let cluster: KafkaCluster
  let folder: ScratchFolder
  private var count = 0

  init(_ cluster: KafkaCluster) throws {
    self.cluster = cluster
    folder = try ScratchFolder()
  }

  private func unique(_ name: String) -> String {
    count += 1
    return "bench-\(getpid())-\(name)-\(count)"
  }

  func topic(_ name: String, partitions: Int = 1) throws -> String {
    let topic = unique(name)
    try cluster.tool("kafka-topics.sh", ["--create", "--topic", topic, "--partitions", "\(partitions)"])
    return topic
  }

  func delete(_ topic: String) throws { try cluster.tool("kafka-topics.sh", ["--delete", "--topic", topic]) }

  func send(_ count: Int, to topic: String, _ value: (Int) -> String) throws {
    let producer = try RawProducer(cluster.bootstrapServers, linger: 20)
    for number in 0..<count { try producer.send(topic, partition: 0, value: Array(value(number).utf8)) }
    try producer.flush(milliseconds: 120_000)
  }

  private func beside(_ name: String) throws -> String {
    let databus = try ChildProcess.databus()
    return databus.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
      + "/\(name)"
  }

  /// Reads `count` records of a topic and writes them to a new one.
  func passThrough(_ input: String, _ mode: String, _ count: Int) throws -> ChildProcess.Usage {
    let output = try topic("out")
    let usage = try ChildProcess.run([
      try beside("kafka-pass-through"), cluster.bootstrapServers, unique("group"), input, output, "\(count)", mode,
    ])
    try delete(output)
    return usage
  }

  func startPassThrough(_ input: String, _ mode: String, to output: String) throws -> pid_t {
    try ChildProcess.start([
      try beside("kafka-pass-through"), cluster.bootstrapServers, unique("group"), input, output, "0", mode,
    ])
  }

  /// Routes everything that a topic holds into a new one, with default settings.
  func router(_ input: String, rules: Int) throws -> ChildProcess.Usage {
    let output = try topic("out")
    let file = try configure(input, rules: try rulesTopic(rules), results: output)
    let usage = try ChildProcess.run([try ChildProcess.databus(), "run", "--config", file, "--until-idle"])
    try delete(output)
    return usage
  }

  func startRouter(_ input: String, rules: Int, to output: String, state: Int = 0) throws -> pid_t {
    let file = try configure(input, rules: try rulesTopic(rules), results: output, state: state)
    return try ChildProcess.start([try ChildProcess.databus(), "run", "--config", file, "--log-level", "warning"])
  }

  private var rulesTopics: [Int: String] = [:]

  private func rulesTopic(_ count: Int) throws -> String {
    if let topic = rulesTopics[count] { return topic }
    let topic = try topic("rules")
    try send(count, to: topic) { SampleEvents.rule($0) }
    rulesTopics[count] = topic
    return topic
  }

  /// Processes with the same input are of one group, but only where they differ in `state`.
  private var groups: [String: String] = [:]

  func configure(_ input: String, rules: String, results: String, state: Int = 0) throws -> String {
    let name: String
    if state > 0, let known = groups[input] { name = known } else { name = unique("group") }
    groups[input] = name
    let dead = "\(name)-dead-letters"
    if state == 0 { try cluster.tool("kafka-topics.sh", ["--create", "--topic", dead, "--partitions", "1"]) }
    let properties = input.contains("shared") ? "{\"session.timeout.ms\": \"6000\"}" : "{}"
    return try folder.write(
      "\(name)-\(state).json",
      """
      {"pipeline": {"name": "\(name)", "events": {"stream": "\(input)"}, "rules": {"stream": "\(rules)"},
        "results": {"streams": {"https": "\(results)"}}, "deadLetters": {"stream": "\(dead)"}},
       "transports": {"kafka": {"type": "kafka", "bootstrapServers": "\(cluster.bootstrapServers)", "properties": \(properties)}},
       "state": {"type": "sqlite", "path": "\(name)-\(state).db"}}
      """)
  }
}
