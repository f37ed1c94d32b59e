import CCrypto

/// Makes names for one life of a stream.
public enum Incarnation {
  private static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)

  /// A new name that nothing else has: 120 random bits as 24 characters of Crockford's base 32. (One character a byte keeps delivery
  /// ids within one block of SHA-256 for rule ids of up to 14 bytes: see docs/delivery-ids.md.)
  public static func mint() -> String {
    var bytes = [UInt8](repeating: 0, count: 15)
    let code = RAND_bytes(&bytes, Int32(bytes.count))
    precondition(code == 1, "the system has no random numbers")
    return text(bytes[...])
  }

  /// 15 bytes as 24 characters.
  private static func text(_ bytes: ArraySlice<UInt8>) -> String {
    var text: [UInt8] = []
    for start in stride(from: 0, to: 15, by: 5) {
      let word = bytes[start..<start + 5].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      for shift in stride(from: 35, through: 0, by: -5) { text.append(alphabet[Int(word >> UInt64(shift) & 31)]) }
    }
    return String(decoding: text, as: UTF8.self)
  }
}

extension Incarnation {
  /// A name made from what names a life of a stream elsewhere (a cluster's id and a topic): the same parts give the same name for ever, and
  /// other parts another one. 24 characters, as `mint` makes them.
  public static func derived(from parts: [String]) -> String {
    var hasher = IdentityHasher()
    hasher.part("databus/incarnation/1")
    for part in parts { hasher.part(part) }
    let digest = hasher.finish()
    var bytes: [UInt8] = []
    for word in 0..<2 { withUnsafeBytes(of: digest.word(word).bigEndian) { bytes += $0 } }
    return text(bytes.prefix(15))
  }
}
