import Foundation
import RedisServerFixture

#if canImport(Glibc)
  import Glibc
#endif

/// A dispatcher on a sqlite-log, a receiver that it delivers to, and the store that it remembers deliveries in.
struct DispatchBench {
  /// The store, by its type.
  enum Store: String, CaseIterable, Sendable {
    case sqlite
    case redis
  }

  /// What a test changes of the section `dispatcher`.
  struct Options {
    var delivery: [String: Any] = [:]
    var retry: [String: Any] = [:]
    /// Whole members, in the place of the usual ones.
    var members: [String: Any] = [:]
    var checkpointInterval = "50ms"
    var pipelineSections: [String: Any] = [:]
    var redisURL: ((RedisServer) throws -> String)?
  }

  let bench: Workbench
  let receiver: FaultReceiver
  let redis: RedisServer?

  static let deadLetters = "faults-dispatcher-dead-letters"

  static func section(_ store: [String: Any], _ options: Options) -> [String: Any] {
    var delivery: [String: Any] = ["timeout": "1s", "concurrency": 4]
    delivery.merge(options.delivery) { $1 }
    var section: [String: Any] = [
      "deduplication": store, "delivery": delivery, "retry": options.retry,
      "channels": ["http": ["allow": ["127.0.0.0/8"]]],
      // Destinations that fail on purpose are not to be left alone for it.
      "breaker": ["failures": 100_000, "minimum": 100_000],
    ]
    section.merge(options.members) { $1 }
    return section
  }

  static func with<R>(
    _ store: Store = .sqlite, _ options: Options = Options(), receiver arguments: String? = nil,
    _ body: (DispatchBench) async throws -> R
  ) async throws -> R {
    var redis: RedisServer?
    var settings: [String: Any] = ["type": "sqlite", "path": "deduplication.db"]
    if store == .redis {
      let server = try await RedisServer(.socket)
      redis = server
      settings = ["type": "redis", "url": try options.redisURL?(server) ?? server.url, "timeout": "500ms"]
    }
    var bench = Workbench.Options(checkpointInterval: options.checkpointInterval)
    bench.sections = ["dispatcher": section(settings, options)].merging(options.pipelineSections) { $1 }
    let used = redis
    return try await FaultReceiver.with { receiver in
      try await Workbench.with(bench) { bench in
        try await body(DispatchBench(bench: bench, receiver: receiver, redis: used))
      }
    }
  }

  // MARK: Results

  static func id(_ number: Int) -> String {
    let text = String(number, radix: 16)
    return String(repeating: "0", count: 32 - text.count) + text
  }

  /// Appends a result of each number.
  ///
  /// - Parameter path: of the destination at the receiver.
  func send(_ numbers: Range<Int>, to path: (Int) -> String = { "d\($0 % 4)" }) async throws {
    let now = Disturbance.now
    let values = numbers.map { number in
      Array(
        "{\"destination\":\"\(receiver.url(path(number)))\",\"payload\":{\"number\":\(number)},\"id\":\"\(Self.id(number))\",\"rule\":\"r\",\"event\":\"events/0/\(number + 1)\",\"timestamp\":\(now)}"
          .utf8)
    }
    try await bench.append(values, to: Workbench.results)
  }

  func checker(_ numbers: Range<Int>, _ disturbances: [Disturbance] = []) -> ArrivalChecker {
    ArrivalChecker(
      ids: Dictionary(uniqueKeysWithValues: numbers.map { ($0, Self.id($0)) }), numbers: numbers,
      disturbances: disturbances)
  }

  // MARK: Processes

  func start(
    _ arguments: String..., crash: String? = nil, defect: String? = nil, configuration: String = "databus.json"
  ) throws -> DatabusProcess {
    try bench.start(arguments, command: ["dispatch"], crash: crash, defect: defect, configuration: configuration)
  }

  /// Delivers what is there, without any fault, and ends.
  func finish(within limit: Duration = .seconds(120)) async throws {
    let process = try start("--until-idle")
    let end = try await process.end(within: limit)
    guard end == .exited(0) else { throw HarnessError("a run without faults ended with \(end): \(process.errors)") }
  }

  /// Runs an armed process to its end there.
  ///
  /// - Returns: when that was.
  func crash(_ place: String) async throws -> Disturbance {
    let process = try start(crash: place)
    let end = try await process.end()
    let disturbance = Disturbance()
    guard end == .killed(signal: SIGKILL), process.errors.contains("databus: crash point") else {
      throw HarnessError("\(place) did not fire: \(end), \(process.errors.suffix(500))")
    }
    return disturbance
  }

  /// The position of the result that is delivered next.
  func committed() async throws -> UInt64 {
    try await bench.committed("faults-dispatcher", of: Workbench.results) ?? 1
  }

  /// The end of the results.
  func end() async throws -> UInt64 { try await bench.end(of: Workbench.results) }

  func deadLetters() async throws -> [StoredRecord] { try await bench.records(of: Self.deadLetters) }
}
