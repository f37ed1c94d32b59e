/// What the rule store keeps of one rule: the latest record as it came, whether it is in force, and the last valid one where it is not.
public struct StoredRule: Sendable, Hashable {
  public enum Status: Sendable, Hashable {
    case inForce
    /// The latest version is refused, with every reason.
    case refused([String])
  }

  public var ruleID: String
  public var status: Status
  /// The latest record's value.
  public var latest: [UInt8]
  /// The last valid version's value; nil where there never was one. The same as `latest` where that is in force.
  public var lastValid: [UInt8]?
  /// The key of the record that made the rule; nil where it had none.
  public var key: [UInt8]?
  /// `stream/partition/position` of the latest record.
  public var locator: String
  /// Milliseconds since 1970; nil where the transport has none.
  public var timestamp: Int64?

  public init(
    ruleID: String, status: Status, latest: [UInt8], lastValid: [UInt8]?, key: [UInt8]?, locator: String,
    timestamp: Int64?
  ) {
    self.ruleID = ruleID
    self.status = status
    self.latest = latest
    self.lastValid = lastValid
    self.key = key
    self.locator = locator
    self.timestamp = timestamp
  }
}

extension StoredRule {
  private static let formatVersion: UInt8 = 1

  /// The stored form: a version byte, flags, then length-prefixed fields.
  func encoded() -> [UInt8] {
    var buffer = ByteBuffer(capacity: latest.count + 128)
    buffer.append(StoredRule.formatVersion)
    var reasons: [String] = []
    if case .refused(let all) = status { reasons = all }
    let isInForce = status == .inForce
    let flags: UInt8 =
      (isInForce ? 1 : 0) | (lastValid != nil ? 2 : 0) | (key != nil ? 4 : 0) | (timestamp != nil ? 8 : 0)
    buffer.append(flags)
    func field(_ bytes: [UInt8]) {
      buffer.appendBigEndian(UInt32(bytes.count))
      buffer.append(bytes)
    }
    field(Array(ruleID.utf8))
    field(latest)
    // A valid rule is stored once.
    if let lastValid, !isInForce { field(lastValid) }
    if let key { field(key) }
    field(Array(locator.utf8))
    if let timestamp { buffer.appendBigEndian(UInt64(bitPattern: timestamp)) }
    buffer.appendBigEndian(UInt32(reasons.count))
    for reason in reasons { field(Array(reason.utf8)) }
    return Array(buffer.bytes)
  }

  /// Reads what `encoded` wrote; nil for anything else.
  init?(encoded bytes: [UInt8]) {
    var rest = bytes[...]
    func field() -> [UInt8]? {
      guard let count = number32(), rest.count >= count else { return nil }
      defer { rest = rest.dropFirst(count) }
      return Array(rest.prefix(count))
    }
    func number32() -> Int? {
      guard rest.count >= 4 else { return nil }
      defer { rest = rest.dropFirst(4) }
      return rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
    }
    guard rest.popFirst() == StoredRule.formatVersion, let flags = rest.popFirst(), let id = field(),
      let latest = field()
    else { return nil }
    let isInForce = flags & 1 != 0
    var lastValid: [UInt8]?
    if flags & 2 != 0 {
      if isInForce {
        lastValid = latest
      } else {
        guard let stored = field() else { return nil }
        lastValid = stored
      }
    }
    var key: [UInt8]?
    if flags & 4 != 0 {
      guard let stored = field() else { return nil }
      key = stored
    }
    guard let locator = field() else { return nil }
    var timestamp: Int64?
    if flags & 8 != 0 {
      guard rest.count >= 8 else { return nil }
      timestamp = Int64(bitPattern: rest.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
      rest = rest.dropFirst(8)
    }
    guard let count = number32() else { return nil }
    var reasons: [String] = []
    for _ in 0..<count {
      guard let reason = field() else { return nil }
      reasons.append(String(decoding: reason, as: UTF8.self))
    }
    self.init(
      ruleID: String(decoding: id, as: UTF8.self), status: isInForce ? .inForce : .refused(reasons), latest: latest,
      lastValid: lastValid, key: key, locator: String(decoding: locator, as: UTF8.self), timestamp: timestamp)
  }
}
