import DatabusCore
import Synchronization

/// Reads what a rule says of its deliveries: the object `delivery`, as it stands in each result.
///
/// | member | is | |
/// | --- | --- | --- |
/// | `timeout` | "5s", 100 ms to 60 s | of an attempt, to the last byte of the answer |
/// | `headers` | {"x-team": "a"} | added to those of the configuration; the rule's value counts |
/// | `secret` | a secret's name, or "none" | signs |
/// | `auth` | {"type": "bearer", "secret": NAME}, {"type": "basic", "username": U, "secret": NAME}, {"type": "none"} | |
/// | `format` | "payload", "cloudevents-binary", "cloudevents-structured" | |
/// | `rate` | 0.001 to 1000000 | attempts a second |
/// | `concurrency` | 1 to 1024 | attempts at a time |
///
/// `null` leaves a member to the configuration. Members that are not known are passed over: they may be meant for another channel.
/// What was read is remembered by its bytes, so that it costs a look-up for each delivery.
public final class RuleDelivery: Sendable {
  /// Bytes of `delivery`, at most: more than the router lets through.
  public static let maximumBytes = 8 << 10

  private let cache: Mutex<BoundedCache<ArraySlice<UInt8>, Result<Override, DeliveryRefusal>>>

  /// - Parameter capacity: different `delivery` objects that are remembered, at most.
  public init(capacity: Int = 2048) { cache = Mutex(BoundedCache(capacity: capacity)) }

  /// The settings for a delivery: the rule's over the configuration's.
  ///
  /// - Parameters:
  ///   - delivery: the object as it stands in the result; empty where there is none.
  ///   - base: what the configuration says for the destination.
  /// - Returns: a refusal with the reason `poison` that names the member and what it must be.
  public func settings(
    of delivery: ArraySlice<UInt8>, over base: DeliverySettings
  ) -> Result<DeliverySettings, DeliveryRefusal> {
    if delivery.isEmpty { return .success(base) }
    if let known = cache.withLock({ $0.value(for: delivery) }) { return known.map { $0.applied(to: base) } }
    let read = RuleDelivery.read(delivery)
    // What is too large is refused, and not worth its room.
    if delivery.count <= RuleDelivery.maximumBytes {
      // A copy of its own, so that the cache does not keep the whole record.
      let key = Array(delivery)[...]
      cache.withLock { $0.insert(read, for: key) }
    }
    return read.map { $0.applied(to: base) }
  }

  private static func read(_ delivery: ArraySlice<UInt8>) -> Result<Override, DeliveryRefusal> {
    func refusal(_ detail: String) -> Result<Override, DeliveryRefusal> { .failure(DeliveryRefusal(.poison, detail)) }
    guard delivery.count <= maximumBytes else {
      return refusal("\"delivery\" has \(delivery.count) bytes; at most \(maximumBytes) are permitted")
    }
    let bytes = Array(delivery)
    do throws(JSONError) {
      return try Override.read(JSONDocument.value(of: bytes)).mapError { DeliveryRefusal(.poison, $0.sentence) }
    } catch {
      return refusal("\"delivery\" is \(JSONSyntax.describe(error, in: bytes))")
    }
  }
}

extension RuleDelivery {
  /// What a rule says, and only that.
  struct Override: Sendable, Hashable {
    var headers: [DeliveryHeader] = []
    var timeout: Duration?
    var concurrency: Int?
    var rate: Double?
    /// Twice optional: a rule may say that there is none.
    var signingSecret: String??
    var authentication: DeliverySettings.Authentication?
    var format: DeliverySettings.Format?

    func applied(to base: DeliverySettings) -> DeliverySettings {
      var settings = base
      if !headers.isEmpty {
        if !settings.headers.isEmpty {
          let own = Set(headers.map { $0.name.lowercased() })
          settings.headers.removeAll { own.contains($0.name.lowercased()) }
        }
        settings.headers += headers
      }
      if let timeout { settings.timeout = timeout }
      if let concurrency { settings.concurrency = concurrency }
      if let rate { settings.rate = rate }
      if let signingSecret { settings.signingSecret = signingSecret }
      if let authentication { settings.authentication = authentication }
      if let format { settings.format = format }
      return settings
    }
  }

  struct Problem: Error {
    var sentence: String

    init(_ sentence: String) { self.sentence = sentence }
  }
}

extension RuleDelivery.Override {
  typealias Problem = RuleDelivery.Problem

  static func read(_ value: JSONValue) -> Result<Self, Problem> {
    do throws(Problem) {
      return .success(try Self(value))
    } catch {
      return .failure(error)
    }
  }

  private init(_ value: JSONValue) throws(Problem) {
    if value.isNull { return }
    guard let members = value.members else {
      throw Problem("\"delivery\" is \(value.kindDescription); it must be an object")
    }
    for member in members where !member.value.isNull {
      let value = member.value
      switch member.name {
      case "timeout": timeout = try Self.timeout(value)
      case "headers": headers = try Self.headers(value)
      case "secret":
        let name = try Self.name(value, "delivery.secret", "the name of a secret, or \"none\"")
        signingSecret = .some(name == DispatcherDeclaration.noSecret ? nil : name)
      case "auth": authentication = try Self.authentication(value)
      case "format": format = try Self.format(value)
      case "rate": rate = try Self.rate(value)
      case "concurrency":
        let range = DeliverySettings.concurrencies
        guard let number = value.integer, range.contains(number) else {
          throw Self.wrong(
            "delivery.concurrency", value, "a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
        concurrency = number
      default: break
      }
    }
  }

  private static func wrong(_ member: String, _ value: JSONValue, _ form: String) -> Problem {
    let found: String
    switch value.content {
    case .string(let text): found = JSONText.quoted(String(text.prefix(60)))
    case .number(let text): found = String(text.prefix(60))
    default: found = value.kindDescription
    }
    return Problem("\"\(member)\" is \(found); it must be \(form)")
  }

  private static func timeout(_ value: JSONValue) throws(Problem) -> Duration {
    let range = DeliverySettings.timeouts
    guard let text = value.string, let timeout = Quantity.duration(text), range.contains(timeout) else {
      throw wrong(
        "delivery.timeout", value,
        "a duration from \"\(Quantity.text(range.lowerBound))\" to \"\(Quantity.text(range.upperBound))\", such as \"5s\""
      )
    }
    return timeout
  }

  private static func rate(_ value: JSONValue) throws(Problem) -> Double {
    guard case .number(let text) = value.content, let rate = Double(text), DeliverySettings.rates.contains(rate)
    else { throw wrong("delivery.rate", value, "a number of attempts a second, from 0.001 to 1000000") }
    return rate
  }

  private static func format(_ value: JSONValue) throws(Problem) -> DeliverySettings.Format {
    guard let format = value.string.flatMap(DeliverySettings.Format.init) else {
      let names = DeliverySettings.Format.allCases.map { "\"\($0.rawValue)\"" }
      throw wrong("delivery.format", value, names.joined(separator: " or "))
    }
    return format
  }

  private static func headers(_ value: JSONValue) throws(Problem) -> [DeliveryHeader] {
    guard let members = value.members else {
      throw wrong("delivery.headers", value, "an object of names and strings, such as {\"x-team\": \"a\"}")
    }
    var headers: [DeliveryHeader] = []
    for member in members {
      guard let text = member.value.string else {
        throw Problem(
          "the header \(JSONText.quoted(String(member.name.prefix(64)))) of \"delivery.headers\" is "
            + "\(member.value.kindDescription); it must be a string")
      }
      headers.append(DeliveryHeader(member.name, text))
    }
    if let problem = DeliveryHeader.problem(in: headers, of: "delivery.headers") { throw Problem(problem) }
    return headers
  }

  private static func authentication(_ value: JSONValue) throws(Problem) -> DeliverySettings.Authentication {
    guard value.members != nil else {
      throw wrong("delivery.auth", value, "an object, such as {\"type\": \"bearer\", \"secret\": \"NAME\"}")
    }
    let secret = { () throws(Problem) -> String in
      try name(value["secret"] ?? JSONValue(.null), "delivery.auth.secret", "the name of a secret")
    }
    switch value["type"]?.string {
    case "none": return .none
    case "bearer": return .bearer(secret: try secret())
    case "basic":
      let username = try name(value["username"] ?? JSONValue(.null), "delivery.auth.username", "a user name")
      guard !username.contains(":"), DeliveryHeader.canCarry(username) else {
        throw Problem("\"delivery.auth.username\" must have no \":\" and no control character (RFC 7617)")
      }
      return .basic(username: username, secret: try secret())
    default:
      throw wrong(
        "delivery.auth.type", value["type"] ?? JSONValue(.null), "\"basic\" or \"bearer\" or \"none\"")
    }
  }

  /// A string that is not empty.
  private static func name(_ value: JSONValue, _ member: String, _ form: String) throws(Problem) -> String {
    guard let text = value.string, !text.isEmpty, text.utf8.count <= 256 else { throw wrong(member, value, form) }
    return text
  }
}
