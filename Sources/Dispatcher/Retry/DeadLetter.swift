import DatabusCore

/// A dead letter as it stands in its stream: the dispatcher's, or the router's. For whoever looks at it later, or puts it back.
public struct DeadLetter: Sendable, Hashable {
  public var key: [UInt8]?
  /// The original record's; its beginning where `length` says so. nil: a tombstone, or records that are gone.
  public var value: [UInt8]?
  /// The original record's.
  public var headers: [Header]

  /// Of the delivery, as it is sent; of the router's dead letters, their own.
  public var id: String?
  public var reason: String
  public var detail: String
  /// What the receiver answered last.
  public var status: Int?
  public var attempts: Int?
  /// Milliseconds since 1970: when the dispatcher saw it first, and when it gave it up.
  public var firstAt: Int64?
  public var lastAt: Int64?
  /// Without its query.
  public var destination: String?
  public var rule: String?
  /// Where the original record stands.
  public var stream: String?
  public var partition: String?
  public var position: String?
  /// How often an operator had put it back.
  public var replays: Int
  /// The beginning of the receiver's last answer.
  public var response: [UInt8]?
  /// The original value's length, where only its beginning is here.
  public var length: Int?
  /// Milliseconds since 1970.
  public var time: Int64

  static let prefix = DispatchLetter.prefix

  /// nil for a record that says no reason as a header: no dead letter, or one of a stream without headers.
  ///
  /// - Parameter timestamp: the record's, in milliseconds since 1970.
  public init?(key: [UInt8]?, value: [UInt8]?, headers: [Header], timestamp: Int64?) {
    var said: [Substring: [UInt8]] = [:]
    var original: [Header] = []
    for header in headers {
      if header.name.hasPrefix(DeadLetter.prefix) {
        said[header.name.dropFirst(DeadLetter.prefix.count)] = header.value
      } else {
        original.append(header)
      }
    }
    func text(_ name: Substring) -> String? { said[name].map { String(decoding: $0, as: UTF8.self) } }
    guard let reason = text("reason") else { return nil }
    self.key = key
    self.value = value
    self.headers = original
    self.reason = reason
    id = text("id")
    detail = text("detail") ?? ""
    status = text("status").flatMap { Int($0) }
    attempts = text("attempts").flatMap { Int($0) }
    firstAt = text("first-at").flatMap { Int64($0) }
    lastAt = text("last-at").flatMap { Int64($0) }
    destination = text("dest")
    rule = text("rule")
    stream = text("topic")
    partition = text("partition")
    position = text("offset")
    replays = max(0, text("replays").flatMap { Int($0) } ?? 0).clampedCount
    response = said["response"]
    length = text("length").flatMap { Int($0) }
    time = timestamp ?? lastAt ?? 0
  }

  /// Where the original record stands: `stream/partition/position`.
  public var origin: String? {
    guard let stream, let partition, let position else { return nil }
    return "\(stream)/\(partition)/\(position)"
  }

  /// What the deduplication store knows the delivery by; nil where nothing says it.
  ///
  /// - Parameter reader: one for many dead letters.
  public func deliveryID(_ reader: inout ResultReader) -> DeliveryID? {
    if let value, length == nil, let fields = try? reader.read(value), let id = fields.id {
      return DeliveryID(named: id)
    }
    return (RetryHeaders(headers).id ?? id).map { DeliveryID(named: $0) }
  }

  /// The headers with which the original record goes back into its results stream: the dispatcher makes all attempts anew, under the same
  /// delivery id.
  ///
  /// - Parameter replays: how often it is put back now, this time included; the store starts afresh where it knows a smaller number.
  public func headers(forReplay replays: Int) -> [Header] {
    var carried = RetryHeaders()
    carried.replays = replays
    carried.origin = origin
    // A result without an id of its own got one from where it stood.
    carried.id = RetryHeaders(headers).id ?? id
    return carried.headers(behind: headers)
  }
}
