import DatabusCore

/// Hears of everything that happens to deliveries, for people who ask later. Called on the desk's thread, once a turn: short, and never
/// blocking.
public protocol AttemptObserver: AnyObject, Sendable {
  /// - Parameter notes: in the order in which it happened; never empty.
  func note(_ notes: [DeliveryNote])
}

/// Something that happened to a delivery.
///
/// What people read of it is made when it is asked for, and not on the desk's thread.
public struct DeliveryNote: Sendable, Hashable {
  public enum Happening: String, Sendable, Hashable, CaseIterable {
    /// An attempt arrived.
    case delivered
    /// An attempt failed; it may be tried again.
    case failed
    /// An attempt was answered so that no other will succeed.
    case rejected
    /// A retry stream takes it.
    case stored
    /// It was over before, or a later copy of it is on its way: it was not sent.
    case duplicate
    /// It was given up, and a dead letter says why.
    case dead

    /// An attempt was made, with a status and a duration.
    public var isAttempt: Bool {
      switch self {
      case .delivered, .failed, .rejected: true
      case .stored, .duplicate, .dead: false
      }
    }
  }

  /// The delivery's id, as it is sent.
  public var id: String
  public var happening: Happening
  /// Milliseconds since 1970.
  public var at: Int64
  /// Attempts made.
  public var attempts: Int
  public var rule: String?
  /// The event's locator.
  public var event: String?
  /// The receiver's, of an attempt.
  public var status: Int?
  public var detail: String
  /// Of an attempt.
  public var duration = Duration.zero
  /// Why it was given up.
  public var reason: DispatchReason?
  /// The retry stream that takes it.
  public var stream: String?
  /// When its next attempt is due at the earliest, in milliseconds since 1970; nil: as soon as there is room, or there is none.
  public var due: Int64?

  private var url: String
  private var origin: String?
  private var partition: PartitionID
  private var position: UInt64

  /// - Parameters:
  ///   - url: where it goes, as the result has it.
  ///   - origin: the result's locator, where the record is a copy of it.
  ///   - partition: where the record was read.
  ///   - position: where the record was read.
  public init(
    id: String, _ happening: Happening, at: Int64, attempts: Int, url: String, rule: String? = nil,
    event: String? = nil, origin: String? = nil, partition: PartitionID, position: UInt64, detail: String
  ) {
    self.id = id
    self.happening = happening
    self.at = at
    self.attempts = attempts
    self.url = url
    self.rule = rule
    self.event = event
    self.origin = origin
    self.partition = partition
    self.position = position
    self.detail = detail
  }

  /// The destination's URL, without what may be secret of it: its query.
  public var destination: String { DispatchText.redacted(url) }

  /// The result's locator.
  public var result: String { origin ?? "\(partition)/\(position)" }
}
