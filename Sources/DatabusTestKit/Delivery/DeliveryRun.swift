import DatabusCore
import Dispatcher
import Synchronization

/// What the cases do with a channel, each wait bounded.
struct DeliveryRun: Sendable {
  let subject: ChannelSubject
  let trial: Trial
  let outcomes: OutcomeBook

  init(subject: ChannelSubject, trial: Trial) {
    self.subject = subject
    self.trial = trial
    outcomes = OutcomeBook()
  }

  /// By when an attempt has ended, behind its deadline.
  static let grace = Duration.seconds(1)
  static let long = Duration.seconds(60)

  static func id(_ number: UInt64) -> String {
    DeliveryID(high: number &* 0x9E37_79B9_7F4A_7C15, low: ~number).description
  }

  func target(of destination: String) throws -> DeliveryTarget {
    switch subject.channel.target(of: destination) {
    case .success(let target): return target
    case .failure(let refusal):
      trial.report("the destination is refused: \(refusal.detail)", at: destination)
      throw Stop()
    }
  }

  /// An attempt whose payload stands in the middle of other bytes.
  func attempt(
    _ number: UInt64, to destination: String? = nil, id: String? = nil, attempts: Int = 0,
    payload: [UInt8] = Array(#"{"type":"a"}"#.utf8), timeout: Duration = long
  ) throws -> DeliveryAttempt {
    let head = Array(#"{"payload":"#.utf8)
    let target = try target(of: destination ?? subject.destination)
    return DeliveryAttempt(
      number: number, target: target, id: id ?? Self.id(number), attempts: attempts, value: head + payload + [0x7D],
      payload: head.count..<head.count + payload.count, rule: "r", settings: DeliverySettings(), timeout: timeout)
  }

  /// Starts attempts on a thread that may be kept: that start does not block is seen by what comes later.
  func start(_ attempts: [DeliveryAttempt]) async throws {
    let channel = subject.channel
    let outcomes = outcomes
    outcomes.began(attempts)
    try await trial.within("start") { channel.start(attempts, outcomes) }
  }

  /// Waits until so many of the attempts have ended.
  @discardableResult
  func wait(for numbers: [UInt64]) async throws -> [AttemptOutcome] {
    let outcomes = outcomes
    return try await trial.within("the end of \(numbers.count) attempt\(numbers.count == 1 ? "" : "s")") {
      while true {
        let ended = numbers.compactMap { outcomes.first($0) }
        if ended.count == numbers.count { return ended }
        try await Task.sleep(for: .milliseconds(2))
      }
    }
  }

  func deliver(_ attempts: [DeliveryAttempt]) async throws -> [AttemptOutcome] {
    try await start(attempts)
    return try await wait(for: attempts.map(\.number))
  }

  func checkDelivered(_ outcome: AttemptOutcome, at place: String) {
    trial.check(
      outcome.verdict == .delivered, "the verdict is \(outcome.verdict) (\(outcome.detail)), not delivered", at: place)
  }

  func received() async throws -> [ReceivedDelivery] {
    let subject = subject
    return try await trial.within("received") { try await subject.received() }
  }

  /// Closes the channel; each attempt that was started has ended once.
  func close() async throws {
    let channel = subject.channel
    try await trial.within("close") { await channel.close() }
    checkEnds(at: "after close")
  }

  func checkEnds(at place: String) {
    let (started, ends) = outcomes.counts
    for number in started.sorted() where ends[number] != 1 {
      trial.report("the attempt \(number) has ended \(ends[number] ?? 0) times, not once", at: place)
    }
    for number in ends.keys.sorted() where !started.contains(number) {
      trial.report("an attempt \(number) has ended that was never started", at: place)
    }
  }

  /// The case cannot go on; what is wrong was reported.
  struct Stop: Error, CustomStringConvertible {
    var description: String { "the case could not go on" }
  }
}

/// Keeps the ends of attempts.
final class OutcomeBook: AttemptPort {
  private struct State {
    var started: [UInt64: Instant] = [:]
    var ends: [UInt64: [(outcome: AttemptOutcome, at: Instant)]] = [:]
  }
  private let state = Mutex(State())
  private let clock = SystemClock()

  func began(_ attempts: [DeliveryAttempt]) {
    let now = clock.now()
    state.withLock { state in
      for attempt in attempts { state.started[attempt.number] = now }
    }
  }

  func end(_ outcomes: [AttemptOutcome]) {
    let now = clock.now()
    state.withLock { state in
      for outcome in outcomes { state.ends[outcome.number, default: []].append((outcome, now)) }
    }
  }

  func first(_ number: UInt64) -> AttemptOutcome? { state.withLock { $0.ends[number]?.first?.outcome } }

  /// From its start to its first end.
  func time(_ number: UInt64) -> Duration? {
    state.withLock { state in
      guard let start = state.started[number], let end = state.ends[number]?.first?.at else { return nil }
      return end - start
    }
  }

  /// The numbers of all attempts, and how often each has ended.
  var counts: (started: Set<UInt64>, ends: [UInt64: Int]) {
    state.withLock { (Set($0.started.keys), $0.ends.mapValues(\.count)) }
  }
}
