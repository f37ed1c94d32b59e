/// Which headers the configuration may add to deliveries.
enum HeaderRule {
  /// Those of the connection, of the message's end, and of whom it goes to (RFC 9110, section 7.6.1).
  private static let reserved: Set<String> = [
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
  ]

  /// Says what is wrong with a header, as a sentence without its full stop that never repeats the value; nil where nothing is.
  static func problem(_ name: String, _ value: String) -> String? {
    let lower = name.lowercased()
    guard !name.isEmpty, name.utf8.count <= 256, name.utf8.allSatisfy(isToken) else {
      return "no header can have this name: letters, digits and \"-\" are permitted"
    }
    if reserved.contains(lower) { return "the header \"\(name)\" is one that only the dispatcher sets" }
    if lower.hasPrefix("webhook-") {
      return "the header \"\(name)\" begins with \"webhook-\", as the dispatcher's own do"
    }
    if value.utf8.count > 8192 { return "the value of the header \"\(name)\" has more than 8,192 bytes" }
    if value.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F }) {
      return "the value of the header \"\(name)\" contains a control character"
    }
    return nil
  }

  /// RFC 9110, section 5.6.2.
  private static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
    }
  }
}
