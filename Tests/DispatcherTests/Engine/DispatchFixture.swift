import DatabusCore
import Dispatcher
import MemoryState
import MemoryTransport
import SQLiteDeduplication
import Synchronization
import Testing

#if canImport(Glibc)
  import Glibc
#endif

/// A channel that does what a test says, and notes what it was asked to send.
final class ScriptedChannel: DeliveryChannel {
  /// What comes of an attempt; nil: it hangs until its deadline.
  typealias Script = @Sendable (DeliveryAttempt) -> AttemptOutcome?

  struct Sent: Sendable {
    var id: String
    var url: String
    var body: String
    var attempts: Int
  }

  private struct State {
    var sent: [Sent] = []
    var underWay = 0
    var most: [String: Int] = [:]
    var current: [String: Int] = [:]
  }

  private let script: Mutex<Script>
  private let state = Mutex(State())
  private let clock: any EngineClock
  /// How long an attempt takes.
  private let time: Duration

  init(_ clock: any EngineClock, taking time: Duration = .milliseconds(20), _ script: @escaping Script) {
    self.clock = clock
    self.time = time
    self.script = Mutex(script)
  }

  func setScript(_ script: @escaping Script) { self.script.withLock { $0 = script } }

  var sent: [Sent] { state.withLock { $0.sent } }
  func sent(to url: String) -> [Sent] { sent.filter { $0.url == url } }
  /// Attempts at a time, at most.
  func most(at url: String) -> Int { state.withLock { $0.most[url] ?? 0 } }

  func target(of destination: String) -> Result<DeliveryTarget, DeliveryRefusal> {
    if destination.hasPrefix("http://denied") {
      return .failure(DeliveryRefusal(.addressDenied, "the address is denied"))
    }
    let parts = destination.split(separator: "/", maxSplits: 3, omittingEmptySubsequences: false)
    guard parts.count >= 3 else { return .failure(DeliveryRefusal(.badURL, "no URL")) }
    let server = parts[0] + "//" + parts[2]
    return .success(DeliveryTarget(url: destination, server: String(server), label: String(server)))
  }

  func start(_ attempts: [DeliveryAttempt], _ port: any AttemptPort) {
    for attempt in attempts {
      state.withLock { state in
        state.sent.append(
          Sent(
            id: attempt.id, url: attempt.target.url,
            body: String(decoding: attempt.value[attempt.payload], as: UTF8.self),
            attempts: attempt.attempts))
        state.current[attempt.target.url, default: 0] += 1
        state.most[attempt.target.url] = max(
          state.most[attempt.target.url] ?? 0, state.current[attempt.target.url] ?? 0)
      }
      let outcome = script.withLock { $0 }(attempt)
      Task { [clock, time] in
        try? await clock.sleep(for: outcome == nil ? attempt.timeout : time)
        self.state.withLock { $0.current[attempt.target.url, default: 0] -= 1 }
        var end =
          outcome
          ?? AttemptOutcome(number: attempt.number, .retry(isFault: true, after: nil), detail: "no answer in time")
        end.duration = outcome == nil ? attempt.timeout : time
        port.end([end])
      }
    }
  }

  func close() async {}
}

extension AttemptOutcome {
  static func ok(_ attempt: DeliveryAttempt) -> AttemptOutcome {
    AttemptOutcome(number: attempt.number, .delivered, status: 200, detail: "HTTP 200")
  }

  static func status(
    _ status: Int, _ attempt: DeliveryAttempt, isFault: Bool = true, after: Duration? = nil
  ) -> AttemptOutcome {
    AttemptOutcome(
      number: attempt.number, .retry(isFault: isFault, after: after), status: status, detail: "HTTP \(status)",
      response: Array("try later".utf8))
  }

  static func rejected(
    _ reason: DispatchReason, _ status: Int, _ attempt: DeliveryAttempt, ends: Bool = false
  ) -> AttemptOutcome {
    AttemptOutcome(
      number: attempt.number, .rejected(reason, endsDestination: ends), status: status, detail: "HTTP \(status)")
  }
}

/// A store that a test can take away.
final class SwitchedStore: DeduplicationStore {
  private let base: any DeduplicationStore
  private let isAway = Atomic<Bool>(false)

  init(_ base: any DeduplicationStore) { self.base = base }

  func setAway(_ away: Bool) { isAway.store(away, ordering: .relaxed) }

  private func check() throws {
    if isAway.load(ordering: .relaxed) { throw DeduplicationError.unavailable("the store is away") }
  }

  func process(_ requests: [DeduplicationRequest]) async throws -> [DeduplicationAnswer] {
    try check()
    return try await base.process(requests)
  }
  func states(of ids: [DeliveryID]) async throws -> [DeduplicationState?] {
    try check()
    return try await base.states(of: ids)
  }
  func marks() async throws -> [DispatchMark] {
    try check()
    return try await base.marks()
  }
  func set(_ mark: DispatchMark) async throws {
    try check()
    try await base.set(mark)
  }
  func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) async throws {
    try check()
    try await base.remove(subject, kind)
  }
  func risks() async throws -> [String] { [] }
  func close() async { await base.close() }
}

/// Streams, state and a deduplication store in a file, on a clock that runs fast.
final class DispatchFixture: Sendable {
  static let name = "p"
  let clock = TestClock()
  let memory: MemoryTransport
  let state = MemoryStore(isShared: true)
  let store: SwitchedStore
  let channel: ScriptedChannel
  private let ticker: Task<Void, Never>
  private let directory: String

  /// - Parameter pace: how much of the clock's time goes by in about 0.1 ms.
  init(
    pace: Duration = .milliseconds(5), _ script: @escaping ScriptedChannel.Script = { .ok($0) }
  ) async throws {
    memory = MemoryTransport(MemoryLog(clock: clock), options: .init())
    directory = "/tmp/databus-dispatch-\(UInt64.random(in: 0 ... .max))"
    mkdir(directory, 0o700)
    store = SwitchedStore(try await SQLiteDeduplication(path: directory + "/deduplication.db", clock: clock))
    channel = ScriptedChannel(clock, script)
    ticker = Task { [clock] in
      while !Task.isCancelled {
        clock.advance(by: pace)
        try? await Task.sleep(for: .microseconds(100))
      }
    }
  }

  deinit {
    ticker.cancel()
    for name in ["deduplication.db", "deduplication.db-wal", "deduplication.db-shm", "deduplication.db.lock"] {
      unlink("\(directory)/\(name)")
    }
    rmdir(directory)
  }

  static func settings(_ change: (inout DispatchSettings) -> Void = { _ in }) -> DispatchSettings {
    var settings = DispatchSettings()
    settings.results = [StreamReference(transport: "m", stream: "results-http")]
    change(&settings)
    return settings
  }

  /// Appends a result.
  func result(
    _ id: String?, to url: String = "https://a.example/hook", payload: String = #"{"n":1}"#, rule: String = "r",
    timestamp: Int64? = nil
  ) throws {
    let idMember = id.map { #","id":"\#($0)""# } ?? ""
    try memory.append(
      to: "results-http",
      #"{"destination":"\#(url)","payload":\#(payload)\#(idMember),"rule":"\#(rule)","event":"e/0/1"}"#)
  }

  struct Process: Sendable {
    let dispatcher: ResultDispatcher
    let metrics: MetricRegistry
    let health: HealthBoard
    let task: Task<Void, any Error>

    func stop() async throws {
      dispatcher.stop()
      try await task.value
    }

    func counter(_ name: String) -> Int {
      metrics.snapshot().filter { $0.name == name }.reduce(0) { sum, sample in
        if case .counter(let value) = sample.value { sum + Int(value) } else { sum }
      }
    }
  }

  func start(
    _ settings: DispatchSettings = settings(), stopsWhenIdle: Bool = false, observer: (any AttemptObserver)? = nil,
    log: Logger = .off
  ) throws -> Process {
    let metrics = MetricRegistry()
    let health = HealthBoard(parts: [HealthBoard.dispatcher])
    let transport = MemoryTransport(memory.log, options: memory.options)
    var parts = ResultDispatcher.Parts(
      pipeline: DispatchFixture.name, settings: settings, transport: transport,
      deadLetters: StreamReference(transport: "m", stream: "p-dispatcher-dead-letters"), deadLetterTransport: transport,
      state: MemoryState(state), store: store, channels: ["https": channel, "http": channel],
      checkpoint: CheckpointPolicy(interval: .milliseconds(100)), clock: clock, log: log, metrics: metrics,
      health: health)
    parts.stopsWhenIdle = stopsWhenIdle
    parts.observer = observer
    parts.rulesTransport = transport
    parts.drainTime = .seconds(60)
    let dispatcher = try ResultDispatcher(parts)
    return Process(
      dispatcher: dispatcher, metrics: metrics, health: health, task: Task { try await dispatcher.run() })
  }

  /// Runs until everything has been delivered or set aside for good.
  func runUntilIdle(_ settings: DispatchSettings = settings()) async throws {
    try await start(settings, stopsWhenIdle: true).task.value
  }

  /// The headers of each dead letter.
  var deadLetters: [[String: String]] {
    memory.records(of: "p-dispatcher-dead-letters").map { record in
      Dictionary(record.headers.map { ($0.name, String(decoding: $0.value ?? [], as: UTF8.self)) }) { $1 }
    }
  }

  func records(of stream: String) -> Int { memory.records(of: stream).count }

  var committed: UInt64? {
    memory.control.committed(
      "results-http", group: ResultDispatcher.group(of: DispatchFixture.name), partition: 0)?.position.next
  }
}

/// Returns once the condition holds; records an issue where it does not within 20 s.
func eventually(
  _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async rethrows {
  for _ in 0..<10_000 {
    if try await condition() { return }
    try? await Task.sleep(for: .milliseconds(2))
  }
  Issue.record("never: \(what)", sourceLocation: sourceLocation)
}
