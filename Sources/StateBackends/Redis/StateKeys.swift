import DatabusCore

/// The names of the keys in Redis.
///
/// Everything of one scope has the same hash tag (what stands in braces), and so is on one node of a cluster:
/// `databus:{orders}:state` for the pipeline, `databus:{orders/events/<incarnation>/0}:state` for a partition.
struct StateKeys: Sendable {
  private let prefix: String
  private let pipeline: String

  init(prefix: String, pipeline: String) {
    self.prefix = prefix
    self.pipeline = StateKeys.encoded(pipeline)
  }

  /// Names this life of the pipeline's state.
  var id: String { "\(prefix):{\(pipeline)}:id" }
  /// The partitions that were ever opened: a set of their names.
  var partitions: String { "\(prefix):{\(pipeline)}:partitions" }

  func state(_ scope: StateScope) -> String { "\(prefix):{\(tag(scope))}:state" }
  func order(_ scope: StateScope) -> String { "\(prefix):{\(tag(scope))}:order" }
  func both(_ scope: StateScope) -> [String] { [state(scope), order(scope)] }

  private func tag(_ scope: StateScope) -> String {
    switch scope {
    case .pipeline: pipeline
    case .partition(let partition): "\(pipeline)/\(StateKeys.name(of: partition))"
    }
  }

  // MARK: Names of partitions

  /// `stream/incarnation/index`, percent-encoded where that would be ambiguous: no two partitions have the same name.
  static func name(of partition: PartitionID) -> String {
    "\(encoded(partition.stream))/\(encoded(partition.incarnation))/\(partition.index)"
  }

  /// Reads what `name(of:)` wrote; nil for anything else.
  static func partition(named name: String) -> PartitionID? {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 3, let stream = decoded(parts[0]), let incarnation = decoded(parts[1]),
      let index = Int(parts[2])
    else { return nil }
    return PartitionID(stream: stream, incarnation: incarnation, index: index)
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
      true
    default: false
    }
  }

  static func encoded(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    for byte in text.utf8 {
      if isPlain(byte) {
        bytes.append(byte)
      } else {
        bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func decoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard rest.count >= 2, let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16) else {
        return nil
      }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
  }
}

/// An entry's key as a field of the hash, and a member of the sorted set: the scope's own fields never begin so.
enum EntryField {
  static let mark = UInt8(ascii: "=")

  /// Where a scan begins, as ZRANGEBYLEX takes it.
  static func lowest(prefix: [UInt8], after: [UInt8]?) -> [UInt8] {
    if let after, !after.lexicographicallyPrecedes(prefix) { return [UInt8(ascii: "("), mark] + after }
    return [UInt8(ascii: "["), mark] + prefix
  }

  /// Where it ends: before the first key behind all that begin with the prefix.
  static func highest(prefix: [UInt8]) -> [UInt8] {
    var end = [mark] + prefix
    // The mark is below 0xFF: the loop ends.
    while end.last == 0xFF { end.removeLast() }
    end[end.count - 1] += 1
    return [UInt8(ascii: "(")] + end
  }
}
