import CCurl

/// A URL that requests can be sent to, checked and brought into one form once: http or https, scheme and host in lower
/// case, no user, no fragment, no dot behind the host, no port where it is the scheme's own.
///
/// It is read by libcurl's own parser, and libcurl is handed `text` as that has read it: nothing can be understood in two
/// ways.
public struct HTTPURL: Sendable, Hashable {
  /// The whole, normalised.
  public let text: String
  /// Scheme, host and port: `https://example.com:443`.
  public let origin: String
  /// A name, or an address (an IPv6 address without brackets).
  public let host: String
  public let port: Int
  public let isSecure: Bool
  /// The host, where it is an address.
  public let address: IPAddress?

  /// Host and port, for people: `example.com:443`, `[2001:db8::1]:80`.
  public var place: String { HTTPURL.place(host, port) }

  /// The longest text that is taken, in bytes.
  public static let maximumBytes = 8 << 10
  /// RFC 1035, section 2.3.4, as a text.
  private static let maximumHostBytes = 253

  /// - Throws: a failure of kind `.badURL`, with a sentence that says what is wrong and never repeats path or query.
  public init(_ text: String) throws(HTTPClientFailure) {
    let isSecure = try HTTPURL.checkBytes(text)
    let parsed = ParsedURL()
    try parsed.set(CURLUPART_URL, text)
    if parsed.part(CURLUPART_ZONEID) != nil { throw HTTPURL.refusal("its IPv6 address names a network interface") }
    guard let found = parsed.part(CURLUPART_HOST) else { throw HTTPURL.refusal("it has no host") }
    let host = try HTTPURL.normalise(found)
    try parsed.set(CURLUPART_SCHEME, isSecure ? "https" : "http")
    try parsed.set(CURLUPART_HOST, host.isIPv6 ? "[\(host.text)]" : host.text)
    try parsed.set(CURLUPART_FRAGMENT, nil)
    guard let port = parsed.part(CURLUPART_PORT, databus_curl_url_default_port).flatMap({ Int($0) }),
      (1...65535).contains(port)
    else { throw HTTPURL.refusal("its port is not a number from 1 to 65535") }
    guard let text = parsed.part(CURLUPART_URL, databus_curl_url_no_default_port),
      text.utf8.count <= HTTPURL.maximumBytes
    else { throw HTTPURL.refusal("it is longer than \(HTTPURL.maximumBytes) bytes") }
    // What libcurl will read is what has been looked at.
    let again = ParsedURL()
    try again.set(CURLUPART_URL, text)
    guard again.part(CURLUPART_URL, databus_curl_url_no_default_port) == text,
      again.part(CURLUPART_HOST) == (host.isIPv6 ? "[\(host.text)]" : host.text)
    else { throw HTTPURL.refusal("it has no form of its own") }
    self.text = text
    self.host = host.text
    self.port = port
    self.isSecure = isSecure
    address = host.address
    origin = (isSecure ? "https://" : "http://") + HTTPURL.place(host.text, port)
  }

  public static func == (a: HTTPURL, b: HTTPURL) -> Bool { a.text == b.text }

  public func hash(into hasher: inout Hasher) { hasher.combine(text) }

  static func place(_ host: String, _ port: Int) -> String {
    host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  static func refusal(_ reason: String) -> HTTPClientFailure {
    HTTPClientFailure(.badURL, "the URL cannot be used: \(reason)")
  }

  // MARK: Parts

  /// What no parser agrees with another about. Returns whether the scheme is https.
  private static func checkBytes(_ text: String) throws(HTTPClientFailure) -> Bool {
    if text.utf8.count > maximumBytes { throw refusal("it is longer than \(maximumBytes) bytes") }
    for byte in text.utf8 {
      if byte <= 0x20 || byte == 0x7f { throw refusal("it has a space or a control character") }
      if byte == UInt8(ascii: "\\") { throw refusal("it has a backslash") }
    }
    let scheme = text.utf8.prefix { $0 != UInt8(ascii: ":") }
    let isSecure = isSame(scheme, "https")
    guard isSecure || isSame(scheme, "http") else { throw refusal("it does not begin with http:// or https://") }
    let rest = text.utf8.dropFirst(scheme.count)
    // libcurl would pass over missing or additional slashes.
    guard rest.starts(with: "://".utf8), let first = rest.dropFirst(3).first, first != UInt8(ascii: "/") else {
      throw refusal("it does not begin with http:// or https:// and a host")
    }
    return isSecure
  }

  private static func isSame(_ text: Substring.UTF8View.SubSequence, _ word: String) -> Bool {
    text.elementsEqual(word.utf8) { $0 | 0x20 == $1 }
  }

  private struct Host {
    /// An IPv6 address without brackets.
    var text: String
    var address: IPAddress?

    var isIPv6: Bool { address?.isIPv6 ?? false }
  }

  private static func normalise(_ found: String) throws(HTTPClientFailure) -> Host {
    if found.utf8.first == UInt8(ascii: "[") {
      guard let address = IPAddress(String(found.dropFirst().dropLast())), address.isIPv6 else {
        throw refusal("its host is not an IPv6 address")
      }
      return Host(text: address.description, address: address)
    }
    guard found.utf8.allSatisfy({ $0 < 0x80 }) else {
      throw refusal("its host has letters beyond ASCII: write the form that begins with xn--")
    }
    guard let name = hostName(found) else { throw refusal("its host is not a name") }
    if let address = IPAddress(anyIPv4Notation: name) {
      return Host(text: address.description, address: address)
    }
    // Some parser might take it for an address.
    let last = name.utf8.lastIndex(of: UInt8(ascii: ".")).map { name[name.utf8.index(after: $0)...] } ?? name[...]
    let digits = last.utf8.starts(with: "0x".utf8) ? last.utf8.dropFirst(2) : last.utf8[...]
    let isNumber = digits.allSatisfy { (0x30...0x39).contains($0) || (digits.count < last.utf8.count && isHex($0)) }
    if isNumber { throw refusal("its host ends in a number and is not an IPv4 address") }
    return Host(text: name, address: nil)
  }

  private static func isHex(_ byte: UInt8) -> Bool { (0x61...0x66).contains(byte) }

  /// A host's name in lower case and without the dot that may stand behind it; nil where it is no name: labels of
  /// letters, digits, `-` and `_`, of 1 to 63 bytes.
  static func hostName(_ text: String) -> String? {
    var bytes = Array(text.utf8)
    if bytes.last == UInt8(ascii: ".") { bytes.removeLast() }
    guard !bytes.isEmpty, bytes.count <= maximumHostBytes else { return nil }
    var count = 0
    for index in bytes.indices {
      switch bytes[index] {
      case UInt8(ascii: "."):
        if count == 0 { return nil }
        count = 0
        continue
      case 0x41...0x5a: bytes[index] |= 0x20
      case 0x61...0x7a, 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "_"): break
      default: return nil
      }
      count += 1
      if count > 63 { return nil }
    }
    return count == 0 ? nil : String(decoding: bytes, as: UTF8.self)
  }
}

/// libcurl's parsed form of a URL.
struct ParsedURL: ~Copyable {
  /// libcurl reads it as long as a transfer uses it. Nil where there is no memory, which libcurl says of each call then.
  let handle = curl_url()

  deinit { curl_url_cleanup(handle) }

  func set(_ part: CURLUPart, _ value: String?) throws(HTTPClientFailure) {
    // Parts have their final form; of the whole, bytes beyond ASCII are escaped.
    let code = curl_url_set(handle, part, value, part == CURLUPART_URL ? databus_curl_url_set_flags : 0)
    switch code {
    case CURLUE_OK: return
    case CURLUE_USER_NOT_ALLOWED:
      throw HTTPURL.refusal("it has a user's name or password; use the configuration's secrets")
    case CURLUE_BAD_PORT_NUMBER: throw HTTPURL.refusal("its port is not a number from 1 to 65535")
    case CURLUE_BAD_HOSTNAME, CURLUE_NO_HOST: throw HTTPURL.refusal("its host is not a name")
    case CURLUE_BAD_IPV6: throw HTTPURL.refusal("its host is not an IPv6 address")
    default: throw HTTPURL.refusal("it is malformed (\(String(cString: curl_url_strerror(code))))")
    }
  }

  /// Nil where the URL has none.
  func part(_ part: CURLUPart, _ flags: UInt32 = 0) -> String? {
    var text: UnsafeMutablePointer<CChar>?
    guard curl_url_get(handle, part, &text, flags) == CURLUE_OK, let text else { return nil }
    defer { curl_free(text) }
    return String(cString: text)
  }
}
