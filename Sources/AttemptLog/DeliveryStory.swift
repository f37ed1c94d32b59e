import DatabusCore
import Dispatcher

/// All that the log has of one delivery.
public struct DeliveryStory: Sendable, Hashable {
  /// Something that happened to it.
  public struct Entry: Sendable, Hashable {
    public var happening: DeliveryNote.Happening
    /// Milliseconds since 1970.
    public var at: Int64
    /// Attempts made by then.
    public var attempts: Int
    /// The receiver's, of an attempt.
    public var status: Int?
    /// Of an attempt.
    public var duration: Duration?
    public var detail: String
    /// Why it was given up.
    public var reason: String?
    /// The retry stream that took it.
    public var stream: String?
    /// When the retry stream gives it back at the earliest; milliseconds since 1970.
    public var due: Int64?
  }

  /// `webhook-id`; the result's locator where the result could not be read.
  public var id: String
  /// The event's locator.
  public var event: String?
  public var rule: String?
  /// Without its query.
  public var destination: String
  /// The result's locator.
  public var result: String
  /// In the order in which it happened; never empty. Of very many the latest.
  public var entries: [Entry]

  /// What the delivery has come to: the last entry that says so. That it came again and was not sent changes nothing, unless the log
  /// has nothing else of it.
  public var end: Entry { entries.last { $0.happening != .duplicate } ?? entries[entries.count - 1] }

  public var attempts: Int { entries.map(\.attempts).max() ?? 0 }

  /// It has arrived, as far as the log knows.
  public var hasArrived: Bool { end.happening == .delivered || end.happening == .duplicate }
}

/// Which deliveries are wanted. What is nil does not matter.
public struct StoryQuery: Sendable, Hashable {
  /// What the destination begins with.
  public var destination: String?
  public var rule: String?
  /// The event's locator.
  public var event: String?
  /// Only those that have not arrived.
  public var onlyFailed = false
  /// Something happened to them since; milliseconds since 1970.
  public var since: Int64?
  /// The latest so many.
  public var limit = 50

  public init() {}
}
