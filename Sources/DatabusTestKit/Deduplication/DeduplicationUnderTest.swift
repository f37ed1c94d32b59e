import DatabusCore
import Dispatcher

/// A deduplication store as the conformance suite sees it: how to make a fresh one, and what can be done to it.
public struct DeduplicationUnderTest: Sendable {
  /// For reports.
  public var name: String
  /// Makes a store that remembers nothing, which no other call has seen.
  public var make: @Sendable () async throws -> DeduplicationSubject

  public init(_ name: String, make: @escaping @Sendable () async throws -> DeduplicationSubject) {
    self.name = name
    self.make = make
  }
}

/// A fresh store, and what can be done to it from outside.
public struct DeduplicationSubject: Sendable {
  public var store: any DeduplicationStore
  /// A lease or delay that is over soon: the suite lets twice as much pass. Where time is real, tens of milliseconds.
  public var short: Duration
  /// Lets so much time pass for the store.
  public var pass: @Sendable (Duration) async throws -> Void
  /// Opens the same storage as a second process does beside the first one. nil: it has one process at a time.
  public var openAnother: (@Sendable () async throws -> any DeduplicationStore)?
  /// Opens the same storage as a process does that follows one that was killed: the store was not closed, and is not used any more.
  public var reopenAfterKill: @Sendable () async throws -> any DeduplicationStore
  /// Removes everything. Called at the end of every case.
  public var tearDown: @Sendable () async -> Void = {}

  public init(
    store: any DeduplicationStore, short: Duration, pass: @escaping @Sendable (Duration) async throws -> Void,
    reopenAfterKill: @escaping @Sendable () async throws -> any DeduplicationStore
  ) {
    self.store = store
    self.short = short
    self.pass = pass
    self.reopenAfterKill = reopenAfterKill
  }
}

/// What the cases do with a store, each wait bounded.
struct DeduplicationRun: Sendable {
  typealias Claim = DeduplicationRequest.Claim
  typealias Settlement = DeduplicationRequest.Settlement

  let subject: DeduplicationSubject
  var store: any DeduplicationStore
  let trial: Trial

  /// Over in no case.
  static let long = Duration.seconds(3600)
  var short: Duration { subject.short }

  static func id(_ number: UInt64) -> DeliveryID {
    DeliveryID(high: number &* 0x9E37_79B9_7F4A_7C15, low: ~number)
  }

  /// Lets short leases and delays end.
  func passShort() async throws {
    let subject = subject
    try await trial.within("pass") { try await subject.pass(subject.short * 2) }
  }

  func process(_ requests: [DeduplicationRequest]) async throws -> [DeduplicationAnswer] {
    let store = store
    let answers = try await trial.within("process") { try await store.process(requests) }
    if answers.count != requests.count {
      trial.report("\(requests.count) requests have \(answers.count) answers")
      throw Skip(reason: "no answer to each request")
    }
    return answers
  }

  func claim(
    _ id: DeliveryID, _ token: UInt64, attempts: Int = 0, replays: Int = 0, lease: Duration = long,
    retention: Duration = long
  ) async throws -> DeduplicationAnswer {
    try await process([
      .claim(
        Claim(id: id, token: token, lease: lease, retention: retention, attempts: attempts, replays: replays))
    ])[0]
  }

  func settle(
    _ id: DeliveryID, _ token: UInt64, _ state: Settlement.State, attempts: Int = 1, retention: Duration = long
  ) async throws -> DeduplicationAnswer {
    try await process([
      .settle(Settlement(id: id, token: token, state: state, attempts: attempts, retention: retention))
    ])[0]
  }

  // MARK: Checks

  func check(_ answer: DeduplicationAnswer, _ expected: DeduplicationAnswer, _ place: String) {
    trial.checkEqual(answer, expected, "the answer", at: place)
  }

  func checkGranted(
    _ answer: DeduplicationAnswer, attempts: Int = 0, isOutcomeUnknown: Bool = false, _ place: String
  ) {
    check(answer, .granted(attempts: attempts, isOutcomeUnknown: isOutcomeUnknown), place)
  }

  /// Busy for the rest of a long lease.
  func checkBusy(_ answer: DeduplicationAnswer, _ place: String) {
    guard case .busy(let rest) = answer else {
      return trial.report("the answer is \(answer), not busy", at: place)
    }
    trial.check(
      rest > .zero && rest <= DeduplicationRun.long,
      "it is busy for \(rest), and the lease is \(DeduplicationRun.long)",
      at: place)
  }

  /// To wait for the rest of a long delay.
  func checkWait(_ answer: DeduplicationAnswer, _ place: String) {
    guard case .wait(let rest) = answer else {
      return trial.report("the answer is \(answer), not to wait", at: place)
    }
    trial.check(
      rest > .zero && rest <= DeduplicationRun.long,
      "it is to wait for \(rest), and the delay is \(DeduplicationRun.long)",
      at: place)
  }

  func checkMarks(_ expected: [DispatchMark], _ place: String) async throws {
    let store = store
    let found = try await trial.within("marks") { try await store.marks() }
    trial.checkEqual(Set(found), Set(expected), "the set of marks", at: place)
    trial.checkEqual(found.count, expected.count, "the number of marks", at: place)
  }
}
