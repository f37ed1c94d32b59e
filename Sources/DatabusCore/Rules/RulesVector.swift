/// How far each partition of the rules stream has been read.
public struct RulesVector: Hashable, Sendable {
  public var positions: [PartitionID: UInt64]

  public init(_ positions: [PartitionID: UInt64] = [:]) { self.positions = positions }

  public var isEmpty: Bool { positions.isEmpty }

  /// Whether everything that `other` had been read with is in here as well. Partitions of another incarnation do not count.
  public func includes(_ other: RulesVector) -> Bool {
    other.positions.allSatisfy { partition, next in
      guard let own = positions[partition] else {
        // The stream was re-created: the old life's positions say nothing any more.
        return positions.keys.contains {
          $0.stream == partition.stream && $0.index == partition.index && $0.incarnation != partition.incarnation
        }
      }
      return own >= next
    }
  }

  /// The larger position of each partition.
  public func merged(with other: RulesVector) -> RulesVector {
    RulesVector(positions.merging(other.positions) { max($0, $1) })
  }
}

extension RulesVector: CustomStringConvertible {
  /// `stream@incarnation/index:next`, separated by commas, in the order of the partitions. Percent-encodes what would be ambiguous.
  public var description: String {
    positions.sorted { $0.key < $1.key }.map { partition, next in
      "\(RulesVector.encode(partition.stream))@\(RulesVector.encode(partition.incarnation))/\(partition.index):\(next)"
    }.joined(separator: ",")
  }

  /// Reads what `description` wrote; nil for anything else.
  public init?(_ text: String) {
    var positions: [PartitionID: UInt64] = [:]
    for part in text.split(separator: ",", omittingEmptySubsequences: true) {
      guard let at = part.firstIndex(of: "@"), let slash = part.lastIndex(of: "/"), let colon = part.lastIndex(of: ":"),
        at < slash, slash < colon,
        let stream = RulesVector.decode(part[..<at]),
        let incarnation = RulesVector.decode(part[part.index(after: at)..<slash]),
        let index = Int(part[part.index(after: slash)..<colon]), let next = UInt64(part[part.index(after: colon)...])
      else { return nil }
      positions[PartitionID(stream: stream, incarnation: incarnation, index: index)] = next
    }
    self.positions = positions
  }

  private static func encode(_ text: String) -> String {
    var result = ""
    for byte in text.utf8 {
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
        result.unicodeScalars.append(UnicodeScalar(byte))
      default:
        let digits = String(byte, radix: 16, uppercase: true)
        result += digits.count == 1 ? "%0\(digits)" : "%\(digits)"
      }
    }
    return result
  }

  private static func decode(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      if byte != UInt8(ascii: "%") {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst(), let low = rest.popFirst(),
        let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(value)
    }
    return String(validating: bytes, as: UTF8.self)
  }
}
