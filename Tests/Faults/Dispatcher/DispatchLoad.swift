import Foundation
import KafkaFixture
import RedisServerFixture
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A router and dispatchers on a real Kafka with a real Redis, a receiver, and a load of numbered events or results.
final class DispatchCluster: Sendable {
  let bench: KafkaBench
  let receiver: FaultReceiver
  let redis: RedisServer

  /// What the dispatcher sets deliveries aside in.
  static let tiers = ["2s", "1h"]

  struct Options {
    /// The members of `dispatcher.delivery`, over the usual ones.
    var delivery: [String: Any] = [:]
    var cluster: KafkaCluster?
  }

  private init(_ bench: KafkaBench, _ receiver: FaultReceiver, _ redis: RedisServer) {
    self.bench = bench
    self.receiver = receiver
    self.redis = redis
  }

  static func with<R>(_ options: Options = Options(), _ body: (DispatchCluster) async throws -> R) async throws -> R {
    let redis = try await RedisServer(.port)
    let url = redis.url
    var kafka = KafkaBench.Options()
    kafka.resultPartitions = 4
    kafka.state = { _ in ["type": "redis", "url": url, "timeout": "1s"] }
    var delivery = DispatchBench.Options()
    delivery.delivery = ["timeout": "2s", "concurrency": 16].merging(options.delivery) { $1 }
    delivery.retry = ["inMemory": "1500ms", "tiers": tiers]
    kafka.dispatcher = try JSONSerialization.data(
      withJSONObject: DispatchBench.section(["type": "redis", "url": url, "timeout": "1s"], delivery))
    let settings = kafka
    return try await FaultReceiver.with { receiver in
      try await KafkaBench.with(settings, on: options.cluster) { bench in
        for tier in tiers { try bench.create("\(bench.results)-retry-\(tier)", partitions: 2) }
        try bench.create(deadLetters(bench), partitions: 1)
        return try await body(DispatchCluster(bench, receiver, redis))
      }
    }
  }

  static func deadLetters(_ bench: KafkaBench) -> String { "\(bench.name)-dispatcher-dead-letters" }

  /// Dispatchers have numbers from 10 on.
  func dispatch(_ number: Int, crash: String? = nil, defect: String? = nil) throws -> DatabusProcess {
    try bench.start(number, command: "dispatch", crash: crash, defect: defect)
  }

  /// Rules for events of four types, each to a destination of its own.
  func putRules() throws {
    for number in 0..<4 {
      try bench.put(
        ModelRule(id: "rule_\(number)", types: ["load\(number)"], destination: receiver.url("d\(number)?hang=10ms")))
    }
  }

  /// The numbers that have been acknowledged.
  func acknowledged() throws -> Set<Int> {
    Set(try receiver.arrivals().filter(\.isAcknowledged).compactMap(\.number))
  }

  /// Waits until nothing of what was sent is missing.
  func complete(_ sent: Int, within limit: Duration = .seconds(90)) async throws {
    let deadline = ContinuousClock.now + limit
    while try acknowledged().count < sent {
      if ContinuousClock.now > deadline {
        let found = try acknowledged()
        let missing = (0..<sent).filter { !found.contains($0) }
        throw HarnessError("\(missing.count) of \(sent) deliveries have not come after \(limit): \(missing.prefix(10))")
      }
      try await Task.sleep(for: .milliseconds(50))
    }
  }

  /// Waits until deliveries go on: so many more than now are acknowledged.
  func goOn(_ process: DatabusProcess, by count: Int = 100, within limit: Duration = .seconds(60)) async throws {
    let target = try acknowledged().count + count
    try await process.wait("\(count) more deliveries", within: limit) {
      try await Task.sleep(for: .milliseconds(20))
      return try acknowledged().count >= target
    }
  }

  /// Ends processes in order, and checks what has come.
  func check(_ sent: Int, _ disturbances: [Disturbance], inFlight: Int = 512) throws -> ArrivalReport {
    var checker = ArrivalChecker(numbers: 0..<sent, disturbances: disturbances)
    checker.attempt = 2000
    checker.inFlight = inFlight
    return checker.check(try receiver.arrivals())
  }
}

/// Records that are sent all the time, at an even pace, each with a number of its own.
final class NumberedLoad: Sendable {
  private struct State {
    var sent = 0
    var isStopping = false
  }
  private let state = Mutex(State())
  private let task: Mutex<Task<Int, any Error>?> = Mutex(nil)

  var sent: Int { state.withLock { $0.sent } }

  /// Events for the rules of `DispatchCluster.putRules`.
  static func events(_ cluster: DispatchCluster, perSecond: Int) throws -> NumberedLoad {
    let bench = cluster.bench
    return try NumberedLoad(bench, perSecond: perSecond) { producer, number in
      let text = "{\"type\":\"load\(number % 4)\",\"number\":\(number)}"
      try producer.send(bench.events, partition: number % bench.partitions, value: Array(text.utf8))
    }
  }

  /// Results, each in as many copies, in different partitions.
  static func results(
    _ cluster: DispatchCluster, perSecond: Int, copies: Int = 1, query: String = "hang=10ms"
  ) throws -> NumberedLoad {
    let (bench, receiver) = (cluster.bench, cluster.receiver)
    return try NumberedLoad(bench, perSecond: perSecond) { producer, number in
      let text =
        "{\"destination\":\"\(receiver.url("d\(number % 4)?\(query)"))\",\"payload\":{\"number\":\(number)},\"id\":\"\(DispatchBench.id(number))\"}"
      for copy in 0..<copies {
        try producer.send(bench.results, partition: (number + copy) % 4, value: Array(text.utf8))
      }
    }
  }

  private init(
    _ bench: KafkaBench, perSecond: Int, _ send: @escaping @Sendable (RawProducer, Int) throws -> Void
  ) throws {
    let producer = try RawProducer(bench.cluster.bootstrapServers)
    let task = Task.detached { [self] () async throws -> Int in
      let start = ContinuousClock.now
      var number = 0
      while !state.withLock({ $0.isStopping }) {
        let due = Int((ContinuousClock.now - start) / .milliseconds(1)) * perSecond / 1000
        while number < due {
          try send(producer, number)
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

  /// Stops sending; the number of records sent.
  func stop() async throws -> Int {
    state.withLock { $0.isStopping = true }
    let task = task.withLock { $0 }
    return try await task?.value ?? 0
  }
}
