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
    var text: [UInt8] = []
    for start in stride(from: 0, to: 15, by: 5) {
      let word = bytes[start..<start + 5].reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
      for shift in stride(from: 35, through: 0, by: -5) { text.append(alphabet[Int(word >> UInt64(shift) & 31)]) }
    }
    return String(decoding: text, as: UTF8.self)
  }
}
