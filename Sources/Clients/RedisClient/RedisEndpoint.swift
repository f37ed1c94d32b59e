/// Where a Redis server is and as whom to speak to it: what a URL says.
///
/// `redis://user:password@host:port/db` and `unix:///path/of/socket?db=0`. The user name, the password, the port (6379) and the
/// database (0) may be absent; what is percent-encoded is decoded. Its description never holds the password.
public struct RedisEndpoint: Sendable, Hashable {
  public enum Address: Sendable, Hashable {
    case tcp(host: String, port: UInt16)
    case unix(path: String)
  }

  public var address: Address
  /// For servers with access lists (Redis 6 and later); nil: the default user.
  public var username: String?
  public var password: String?
  public var database: Int

  public init(_ address: Address, username: String? = nil, password: String? = nil, database: Int = 0) {
    self.address = address
    self.username = username
    self.password = password
    self.database = database
  }

  /// Why a text is no URL of a Redis server: the end of the sentence "it ...". Never repeats the text.
  public struct URLProblem: Error, Sendable, Hashable, CustomStringConvertible {
    public var description: String
    init(_ description: String) { self.description = description }
  }

  /// The longest path that the system takes for a socket, without its final zero byte (sun_path).
  static let longestSocketPath = 107

  public init(url: String) throws(URLProblem) {
    guard let mark = url.firstRange(of: "://") else {
      throw URLProblem("is no URL: write redis://host:6379 or unix:///path/of/socket")
    }
    if url.utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) {
      throw URLProblem("contains a space or a control character: percent-encode it (a space is %20)")
    }
    let rest = url[mark.upperBound...]
    switch url[..<mark.lowerBound] {
    case "redis": try self.init(network: rest)
    case "unix": try self.init(socket: rest)
    case "rediss":
      throw URLProblem(
        "asks for TLS (rediss://), which this program does not have: the hiredis of Debian 12 (0.14) cannot do it. Run a TLS tunnel "
          + "beside it (stunnel with \"client = yes\"), and write redis:// with the tunnel's address")
    default: throw URLProblem("has another scheme than redis:// and unix://")
    }
  }

  // MARK: redis://

  private init(network text: Substring) throws(URLProblem) {
    var rest = try RedisEndpoint.withoutFragment(text)
    var database = 0
    if let slash = rest.firstIndex(of: "/") {
      database = try RedisEndpoint.database(rest[rest.index(after: slash)...])
      rest = rest[..<slash]
    }
    var username: String?
    var password: String?
    // The last one: what stands before it may hold another that somebody forgot to encode.
    if let at = rest.lastIndex(of: "@") {
      (username, password) = try RedisEndpoint.credentials(rest[..<at])
      rest = rest[rest.index(after: at)...]
    }
    let (host, port) = try RedisEndpoint.hostAndPort(rest)
    self.init(.tcp(host: host, port: port), username: username, password: password, database: database)
  }

  private static func hostAndPort(_ text: Substring) throws(URLProblem) -> (String, UInt16) {
    var host = text
    var port: Substring?
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else {
        throw URLProblem("has an IPv6 address without its closing bracket")
      }
      host = text[text.index(after: text.startIndex)..<end]
      let behind = text[text.index(after: end)...]
      if behind.hasPrefix(":") {
        port = behind.dropFirst()
      } else if !behind.isEmpty {
        throw URLProblem("has something else than a port behind an IPv6 address")
      }
    } else if let colon = text.lastIndex(of: ":") {
      host = text[..<colon]
      port = text[text.index(after: colon)...]
      if host.contains(":") { throw URLProblem("has an IPv6 address without brackets: write redis://[::1]:6379") }
    }
    let name = try decoded(host)
    if name.isEmpty { throw URLProblem("has no host") }
    guard let port else { return (name, 6379) }
    guard let number = UInt16(port), number > 0 else {
      throw URLProblem("has a port that is no number from 1 to 65535")
    }
    return (name, number)
  }

  /// `user:password`, `:password` or `user`. Without a colon it is the user, as everywhere in URLs.
  private static func credentials(_ text: Substring) throws(URLProblem) -> (String?, String?) {
    guard let colon = text.firstIndex(of: ":") else {
      return (text.isEmpty ? nil : try decoded(text), nil)
    }
    let user = try decoded(text[..<colon])
    let password = try decoded(text[text.index(after: colon)...])
    return (user.isEmpty ? nil : user, password.isEmpty ? nil : password)
  }

  // MARK: unix://

  private init(socket text: Substring) throws(URLProblem) {
    var rest = try RedisEndpoint.withoutFragment(text)
    var database = 0
    if let mark = rest.firstIndex(of: "?") {
      for part in rest[rest.index(after: mark)...].split(separator: "&") {
        guard part.hasPrefix("db=") else { throw URLProblem("has a parameter other than db behind the question mark") }
        database = try RedisEndpoint.database(part.dropFirst(3))
      }
      rest = rest[..<mark]
    }
    var username: String?
    var password: String?
    if let slash = rest.firstIndex(of: "/"), slash != rest.startIndex {
      guard rest[..<slash].last == "@" else {
        throw URLProblem("has no absolute path: write three slashes, unix:///path/of/socket")
      }
      (username, password) = try RedisEndpoint.credentials(rest[..<slash].dropLast())
      rest = rest[slash...]
    }
    let path = try RedisEndpoint.decoded(rest)
    guard path.hasPrefix("/"), path.utf8.count > 1 else {
      throw URLProblem("has no absolute path: write three slashes, unix:///path/of/socket")
    }
    if path.utf8.count > RedisEndpoint.longestSocketPath {
      throw URLProblem(
        "has a path of more than \(RedisEndpoint.longestSocketPath) bytes: the system takes no longer one")
    }
    self.init(.unix(path: path), username: username, password: password, database: database)
  }

  // MARK: Parts

  private static func withoutFragment(_ text: Substring) throws(URLProblem) -> Substring {
    if text.contains("#") { throw URLProblem("contains a \"#\": in a password write %23") }
    return text
  }

  private static func database(_ text: Substring) throws(URLProblem) -> Int {
    if text.isEmpty { return 0 }
    guard let number = Int(text), (0...1_000_000).contains(number) else {
      throw URLProblem("names a database that is no number: write redis://host:6379/0")
    }
    return number
  }

  private static func decoded(_ text: Substring) throws(URLProblem) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      if byte != UInt8(ascii: "%") {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(hexadecimal), let low = rest.popFirst().flatMap(hexadecimal),
        high << 4 | low != 0
      else { throw URLProblem("has a \"%\" that two hexadecimal digits do not follow: write %25 for the sign itself") }
      bytes.append(high << 4 | low)
    }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw URLProblem("is not UTF-8 where it is percent-encoded")
    }
    return text
  }

  private static func hexadecimal(_ digit: UInt8) -> UInt8? {
    switch digit {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}

extension RedisEndpoint: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  /// As a URL, without user name and password.
  public var description: String {
    switch address {
    case .tcp(let host, let port): "redis://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(database)"
    case .unix(let path): "unix://\(path)?db=\(database)"
    }
  }
  public var debugDescription: String { description }
  public var customMirror: Mirror { Mirror(self, children: ["url": description]) }
}
