import DatabusCore

/// Remembers what became of each delivery, so that one that comes twice is sent once.
///
/// A delivery is in one of five states, under its id: *claimed* (somebody sends it now), *waiting* (for its next attempt, in the memory of
/// whoever claimed it), *stored* (a retry stream holds a copy with its number of attempts), *done*, *dead*. What was forgotten (`retention`) was
/// never there. All methods throw `DeduplicationError`; a store that is away is never an answer.
///
/// `RememberedDelivery` has the rules, `DeduplicationSuite` of DatabusTestKit tries them on a store.
public protocol DeduplicationStore: Sendable {
  /// Answers all requests, in their order; those of one call take one round trip, or one transaction. Requests of one id in the same call
  /// take effect in their order.
  ///
  /// Where it throws `unavailable`, any of them may have taken effect: the same requests again, with the same tokens, have the answers that
  /// were lost.
  func process(_ requests: [DeduplicationRequest]) async throws -> [DeduplicationAnswer]

  /// What is remembered of deliveries, in the order of their ids; nil for what nobody knows. Nothing changes by it: tools ask beside a
  /// running dispatcher.
  func states(of ids: [DeliveryID]) async throws -> [DeduplicationState?]

  /// The marks of destinations and rules that operators or receivers have set, in no order.
  func marks() async throws -> [DispatchMark]
  /// Sets a mark. One of the same subject and kind is replaced.
  func set(_ mark: DispatchMark) async throws
  /// Removes a mark, where it is there.
  func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) async throws

  /// What must be told at start: a store that forgets by itself (an eviction policy, no persistence). A sentence for people each.
  func risks() async throws -> [String]

  /// Calls that come later throw `unusable`.
  func close() async
}

/// Why a deduplication store gave no answer.
public enum DeduplicationError: Error, Sendable, Hashable, CustomStringConvertible {
  /// Away, full or overloaded: the same call may succeed later. What was asked may have been done.
  case unavailable(String)
  /// It cannot be used, and no retry will help: corrupt, of a newer schema, locked by another process.
  case unusable(String)

  public var description: String {
    switch self {
    case .unavailable(let reason), .unusable(let reason): reason
    }
  }
}

/// What is asked of a deduplication store about one delivery.
public enum DeduplicationRequest: Sendable, Hashable {
  case claim(Claim)
  case settle(Settlement)

  /// The right to make one attempt.
  public struct Claim: Sendable, Hashable {
    public var id: DeliveryID
    /// Names this attempt: random, and the same when the same attempt asks again because its answer was lost.
    public var token: UInt64
    /// How long nobody else may claim. Asking again prolongs it.
    public var lease: Duration
    /// How long the claim is remembered after that: a forgotten one would be granted to whoever comes.
    public var retention: Duration
    /// Attempts made so far, as the record says.
    public var attempts: Int
    /// How often the delivery was replayed by an operator: a higher number than the stored one starts afresh.
    public var replays: Int

    public init(
      id: DeliveryID, token: UInt64, lease: Duration, retention: Duration, attempts: Int = 0, replays: Int = 0
    ) {
      self.id = id
      self.token = token
      self.lease = lease
      self.retention = retention
      self.attempts = attempts
      self.replays = replays
    }
  }

  /// The end of an attempt. Its owner may settle again, the same way or another: what waited is stored. Only what is done stays so.
  public struct Settlement: Sendable, Hashable {
    public enum State: Sendable, Hashable {
      /// The next attempt comes after so long, by whoever claims then.
      case waiting(Duration)
      /// A retry stream holds the delivery, with `attempts`.
      case stored
      case done
      case dead
    }

    public var id: DeliveryID
    /// The claim's.
    public var token: UInt64
    public var state: State
    /// Attempts made so far: a claim that came to no attempt (a full queue) is taken off again here.
    public var attempts: Int
    /// How long it is remembered; what waits, so long after it is due.
    public var retention: Duration

    public init(id: DeliveryID, token: UInt64, state: State, attempts: Int, retention: Duration) {
      self.id = id
      self.token = token
      self.state = state
      self.attempts = attempts
      self.retention = retention
    }
  }
}

/// What a deduplication store answers.
public enum DeduplicationAnswer: Sendable, Hashable {
  /// To a claim: make the attempt.
  ///
  /// - attempts: those made before, this one not counted: the larger of the stored number and the record's.
  /// - isOutcomeUnknown: an earlier attempt was claimed and never settled: it may have arrived. It is one of `attempts`.
  case granted(attempts: Int, isOutcomeUnknown: Bool)
  /// To a claim: somebody sends it now; ask again after so long.
  case busy(Duration)
  /// To a claim: its next attempt is due in so long.
  case wait(Duration)
  /// To a claim: it has arrived.
  case done
  /// To a claim: it was given up, and a dead letter says why.
  case dead
  /// To a claim: a retry stream holds a copy that has come further than this one.
  case stale
  /// To a settlement.
  case settled
  /// To a settlement: another attempt owns the delivery now. `done` is never refused: the receiver has said yes.
  case refused
}

/// What a deduplication store knows of a delivery, as far as tools ask.
public struct DeduplicationState: Sendable, Hashable {
  public var state: RememberedDelivery.State
  /// How often the delivery was replayed by an operator.
  public var replays: Int

  public init(_ state: RememberedDelivery.State, replays: Int = 0) {
    self.state = state
    self.replays = replays
  }
}

/// What an operator, or a receiver that is gone, has said about a destination or a rule.
public struct DispatchMark: Sendable, Hashable {
  public enum Subject: Sendable, Hashable {
    /// A destination's URL, as it stands in results.
    case destination(String)
    /// A rule's id.
    case rule(String)
  }

  public enum Kind: String, Sendable, Hashable, CaseIterable {
    /// Nothing is sent: deliveries become dead letters (the receiver answered 410, or an operator said so).
    case disabled
    /// Nothing is sent for now: deliveries wait in the retry streams.
    case paused
    /// Deliveries routed before `at` become dead letters.
    case cancelled
  }

  public var subject: Subject
  public var kind: Kind
  /// Milliseconds since 1970.
  public var at: Int64
  /// Why, for people.
  public var detail: String

  public init(_ subject: Subject, _ kind: Kind, at: Int64, detail: String = "") {
    self.subject = subject
    self.kind = kind
    self.at = at
    self.detail = detail
  }
}

extension DispatchMark.Subject {
  /// For people. Of a URL what may be secret is left out: its query.
  public var text: String {
    switch self {
    case .destination(let url): DispatchText.redacted(url)
    case .rule(let id): "rule \(id)"
    }
  }
}
