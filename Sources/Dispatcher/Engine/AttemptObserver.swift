import DatabusCore

/// Hears of everything that happens to deliveries, for people who ask later. Called on the desk's thread: short, and never blocking.
public protocol AttemptObserver: AnyObject, Sendable {
  func note(_ notes: [DeliveryNote])
}

/// Something that happened to a delivery.
public struct DeliveryNote: Sendable, Hashable {
  public enum Happening: String, Sendable, Hashable, CaseIterable {
    case delivered
    /// An attempt failed; it is tried again.
    case failed
    /// A retry stream holds it.
    case stored
    /// It had arrived before, and was not sent again.
    case duplicate
    /// It was given up, and a dead letter says why.
    case dead
  }

  /// The delivery's id, as it is sent.
  public var id: String
  public var happening: Happening
  /// Milliseconds since 1970.
  public var at: Int64
  /// Attempts made.
  public var attempts: Int
  public var destination: String
  public var rule: String?
  /// The event's locator.
  public var event: String?
  /// The result's locator.
  public var result: String
  public var status: Int?
  public var detail: String
  public var duration: Duration
}
