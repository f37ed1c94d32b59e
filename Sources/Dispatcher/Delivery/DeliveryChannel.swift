import DatabusCore

/// A way to deliver: what carries results to the destinations of some URL schemes. HTTP is one; somebody else's program adds others.
///
/// The dispatcher decides when an attempt is made and what follows from its outcome; a channel makes one attempt and tells how it ended.
public protocol DeliveryChannel: Sendable {
  /// Looks at a destination before anything is sent to it, without asking the network.
  ///
  /// - Returns: what the dispatcher keeps apart by it, or why nothing can ever be sent there.
  func target(of destination: String) -> Result<DeliveryTarget, DeliveryRefusal>

  /// Starts attempts. Each of them ends exactly once, by its deadline or a second later, at `port`: on any thread, in any order,
  /// several at a time where that costs less. Never blocks.
  func start(_ attempts: [DeliveryAttempt], _ port: any AttemptPort)

  /// Ends what is under way, each with an outcome, and then the channel.
  func close() async
}

/// Hears of the ends of attempts.
public protocol AttemptPort: AnyObject, Sendable {
  func end(_ outcomes: [AttemptOutcome])
}

/// Where a delivery goes.
public struct DeliveryTarget: Sendable, Hashable {
  /// Destinations that are one are equal here: scheme and host in lower case.
  public var url: String
  /// What shares one server: `https://example.com:443`. No more than a share of all attempts goes to one.
  public var server: String
  /// What metrics may say of it: no path, no query.
  public var label: String

  public init(url: String, server: String, label: String) {
    self.url = url
    self.server = server
    self.label = label
  }
}

/// Why a destination is refused for good.
public struct DeliveryRefusal: Error, Sendable, Hashable {
  public var reason: DispatchReason
  /// A sentence for people.
  public var detail: String

  public init(_ reason: DispatchReason, _ detail: String) {
    self.reason = reason
    self.detail = detail
  }
}

/// One attempt to deliver.
public struct DeliveryAttempt: Sendable {
  /// Names the attempt at its `AttemptPort`.
  public var number: UInt64
  public var target: DeliveryTarget
  /// The delivery's id, the same at every attempt: for HTTP, `webhook-id`.
  public var id: String
  /// Attempts made before.
  public var attempts: Int
  /// The bytes that hold the payload.
  public var value: [UInt8]
  /// Where in `value` the payload stands.
  public var payload: Range<Int>
  /// The rule that made the delivery; nil where the result does not say.
  public var rule: String?
  /// What the rule says of its deliveries: `delivery` as it stands in the result, with what the configuration says for this destination.
  public var settings: DeliverySettings
  /// The attempt has ended by then, whatever happens.
  public var timeout: Duration

  public init(
    number: UInt64, target: DeliveryTarget, id: String, attempts: Int, value: [UInt8], payload: Range<Int>,
    rule: String?, settings: DeliverySettings, timeout: Duration
  ) {
    self.number = number
    self.target = target
    self.id = id
    self.attempts = attempts
    self.value = value
    self.payload = payload
    self.rule = rule
    self.settings = settings
    self.timeout = timeout
  }
}

/// How an attempt ended.
public struct AttemptOutcome: Sendable {
  public enum Verdict: Sendable, Hashable {
    case delivered
    /// It may succeed later.
    ///
    /// - isFault: the destination is ill: its breaker counts it. Not so where it only asks for less (429).
    /// - after: it asks to be left alone for so long.
    case retry(isFault: Bool, after: Duration?)
    /// It never will. `endsDestination`: nothing will be taken there any more (410).
    case rejected(DispatchReason, endsDestination: Bool)
  }

  /// The attempt's.
  public var number: UInt64
  public var verdict: Verdict
  /// The receiver's status, where it gave one.
  public var status: Int?
  /// What happened, for people: "HTTP 503", "connection refused".
  public var detail: String
  /// The beginning of what the receiver answered, at most 1 KiB.
  public var response: [UInt8]
  public var duration: Duration
  /// Of a `retry`: the destination may have taken the delivery all the same (no answer in time, a connection that broke). What is to be sent
  /// at most once is not sent again then.
  public var mayHaveArrived: Bool

  public init(
    number: UInt64, _ verdict: Verdict, status: Int? = nil, detail: String, response: [UInt8] = [],
    duration: Duration = .zero, mayHaveArrived: Bool = false
  ) {
    self.mayHaveArrived = mayHaveArrived
    self.number = number
    self.verdict = verdict
    self.status = status
    self.detail = detail
    self.response = response
    self.duration = duration
  }
}
