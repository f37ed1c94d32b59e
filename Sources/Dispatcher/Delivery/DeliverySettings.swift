import DatabusCore

/// How deliveries to one destination are made: what the configuration says for it, and what the rule said when it routed.
public struct DeliverySettings: Sendable, Hashable {
  /// Sent as they are, behind the dispatcher's own. Names are unique, whatever their case.
  public var headers: [DeliveryHeader] = []
  /// From the beginning of an attempt to the last byte of the answer.
  public var timeout: Duration = .seconds(15)
  /// Attempts at a time.
  public var concurrency = 16
  /// Attempts a second; nil for as many as go.
  public var rate: Double?
  /// The name of the secret that signs (Standard Webhooks); nil: not signed.
  public var signingSecret: String?
  /// How the dispatcher says who it is.
  public var authentication: Authentication = .none
  /// How an event is put into a request (CloudEvents HTTP binding).
  public var format: Format = .payload

  public enum Authentication: Sendable, Hashable {
    case none
    /// User name, and the name of the secret that is the password.
    case basic(username: String, secret: String)
    /// The name of the secret that is the token.
    case bearer(secret: String)
  }

  public enum Format: String, Sendable, Hashable, CaseIterable {
    /// The payload's bytes.
    case payload
    /// CloudEvents 1.0, HTTP binding, section 3.1: attributes as `ce-` headers, `data` as the body.
    case binary = "cloudevents-binary"
    /// Section 3.2: the event as `application/cloudevents+json`.
    case structured = "cloudevents-structured"
  }

  public init() {}
}

/// A header of a request.
public struct DeliveryHeader: Sendable, Hashable {
  public var name: String
  public var value: String

  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}
