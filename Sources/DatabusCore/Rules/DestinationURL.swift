/// The URL that a rule delivers to: absolute, with a host, without user information (RFC 3986, section 3).
public struct DestinationURL: Sendable, Hashable {
  /// In lower case.
  public var scheme: String
  public var host: String
  public var port: Int?

  public struct Problem: Error, Hashable {
    /// Goes on after the URL: "has no host".
    public var reason: String
  }

  public static func parse(_ text: String) -> Result<DestinationURL, Problem> {
    func failure(_ reason: String) -> Result<DestinationURL, Problem> { .failure(Problem(reason: reason)) }
    for scalar in text.unicodeScalars {
      if scalar == " " { return failure("contains a space") }
      if scalar.value < 0x20 || (scalar.value >= 0x7F && scalar.value < 0xA0) {
        return failure("contains a control character")
      }
      if scalar == "\\" || scalar == "<" || scalar == ">" || scalar == "\"" || scalar == "^" || scalar == "`" {
        return failure("contains \"\(scalar)\", which a URL cannot")
      }
    }
    guard let colon = text.firstIndex(of: ":"), text[colon...].hasPrefix("://") else {
      return failure("is not an absolute URL")
    }
    let scheme = text[..<colon]
    guard let first = scheme.utf8.first, isLetter(first),
      scheme.utf8.allSatisfy({ isLetter($0) || isDigit($0) || $0 == 0x2B || $0 == 0x2D || $0 == 0x2E })
    else { return failure("has no valid scheme") }
    let rest = text[text.index(colon, offsetBy: 3)...]
    // By bytes: a combining mark behind a delimiter makes another character of it, for Swift and for nobody else.
    let authority = rest[
      ..<(rest.utf8.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") }
        ?? rest.endIndex)]
    if authority.utf8.contains(UInt8(ascii: "@")) {
      return failure("contains user information; put credentials into \"delivery\"")
    }
    var host = authority
    var port: Int?
    let portStart: Substring.Index?
    if authority.first == "[" {
      guard let close = authority.firstIndex(of: "]") else { return failure("has an unclosed \"[\" in its host") }
      host = authority[...close]
      guard host.count > 2 else { return failure("has no host") }
      let behind = authority.index(after: close)
      guard behind == authority.endIndex || authority[behind] == ":" else { return failure("has an invalid host") }
      portStart = behind == authority.endIndex ? nil : behind
    } else {
      portStart = authority.firstIndex(of: ":")
      if let portStart { host = authority[..<portStart] }
      if host.contains("[") || host.contains("]") { return failure("has an invalid host") }
    }
    if let portStart {
      let digits = authority[authority.index(after: portStart)...]
      if !digits.isEmpty {
        guard digits.utf8.allSatisfy(isDigit), let number = Int(digits), (1...65535).contains(number) else {
          return failure("has an invalid port")
        }
        port = number
      }
    }
    if host.isEmpty { return failure("has no host") }
    return .success(DestinationURL(scheme: scheme.lowercased(), host: String(host), port: port))
  }

  private static func isLetter(_ byte: UInt8) -> Bool { (byte | 0x20) >= 0x61 && (byte | 0x20) <= 0x7A }
  private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }
}
