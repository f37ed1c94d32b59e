import DatabusCore

/// A server and a path on it: what a secret's URL permits, or where a destination is.
struct SecretScope: Sendable, Hashable {
  private let scheme: String
  /// In lower case, without a dot at its end.
  private let host: String
  private let port: Int?
  /// Between the slashes, as they are written, without an empty one at the end.
  private let segments: [Substring]
  /// A segment is "." or "..", or would be for a server that resolves escapes first: where that leads is the receiver's affair.
  private let climbs: Bool

  struct Problem: Error {
    /// The end of a sentence without its full stop.
    var reason: String
  }

  static func parse(_ url: String, isDestination: Bool = false) -> Result<SecretScope, Problem> {
    let parts: DestinationURL
    switch DestinationURL.parse(url) {
    case .success(let parsed): parts = parsed
    case .failure(let problem): return .failure(Problem(reason: problem.reason))
    }
    guard parts.host.utf8.allSatisfy({ $0 < 0x80 && $0 != UInt8(ascii: "%") }) else {
      return .failure(Problem(reason: "has a host that is not ASCII; write it as it is asked for (\"xn--...\")"))
    }
    let scope = SecretScope(url, parts)
    if isDestination { return .success(scope) }
    if !url.utf8.allSatisfy({ $0 < 0x80 }) {
      return .failure(Problem(reason: "has letters beyond ASCII in its path; write them escaped (\"%C3%A4\")"))
    }
    if url.utf8.contains(where: { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") }) {
      return .failure(Problem(reason: "has a query or a fragment; leave it out"))
    }
    if url.utf8.contains(UInt8(ascii: "*")) {
      return .failure(Problem(reason: "contains \"*\"; every destination below the URL is meant without it"))
    }
    if scope.climbs { return .failure(Problem(reason: "has a \".\" or \"..\" in its path; write the path itself")) }
    return .success(scope)
  }

  private init(_ url: String, _ parts: DestinationURL) {
    scheme = parts.scheme
    var host = parts.host.lowercased()
    if host.hasSuffix(".") { host.removeLast() }
    self.host = host
    port = parts.port ?? (scheme == "https" ? 443 : scheme == "http" ? 80 : nil)
    // Behind "scheme://": what is a valid URL has them.
    let rest = url.utf8.dropFirst(parts.scheme.utf8.count + 3)
    let path = rest.prefix { $0 != UInt8(ascii: "?") && $0 != UInt8(ascii: "#") }
      .drop { $0 != UInt8(ascii: "/") }
    var segments = path.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).dropFirst()
    if segments.last?.isEmpty == true { segments.removeLast() }
    self.segments = segments.map { Substring($0) }
    climbs = SecretScope.climbs(path)
  }

  private static func climbs(_ path: some Sequence<UInt8>) -> Bool {
    var segment: [UInt8] = []
    func isDots() -> Bool { segment == [0x2E] || segment == [0x2E, 0x2E] }
    for byte in unescaped(path) {
      if byte == UInt8(ascii: "/") || byte == UInt8(ascii: "\\") {
        if isDots() { return true }
        segment.removeAll(keepingCapacity: true)
      } else if segment.count < 3 {
        segment.append(byte)
      }
    }
    return isDots()
  }

  /// Escapes of ".", "/" and "\" resolved, whatever their case; others are left as they are.
  private static func unescaped(_ path: some Sequence<UInt8>) -> [UInt8] {
    let bytes = Array(path)
    var result: [UInt8] = []
    var place = 0
    while place < bytes.count {
      if bytes[place] == UInt8(ascii: "%"), place + 2 < bytes.count {
        switch (bytes[place + 1], bytes[place + 2] | 0x20) {
        case (UInt8(ascii: "2"), UInt8(ascii: "e")): result.append(UInt8(ascii: "."))
        case (UInt8(ascii: "2"), UInt8(ascii: "f")): result.append(UInt8(ascii: "/"))
        case (UInt8(ascii: "5"), UInt8(ascii: "c")): result.append(UInt8(ascii: "\\"))
        default:
          result.append(bytes[place])
          place += 1
          continue
        }
        place += 3
      } else {
        result.append(bytes[place])
        place += 1
      }
    }
    return result
  }

  /// Whether the destination is this one or below it.
  func contains(_ destination: SecretScope) -> Bool {
    guard scheme == destination.scheme, host == destination.host, port == destination.port else { return false }
    if segments.isEmpty { return true }
    return !destination.climbs && destination.segments.starts(with: segments)
  }
}
