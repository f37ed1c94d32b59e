import DatabusCore

/// Which destinations an entry of the configuration is about: one URL, or all that begin alike.
public struct DestinationMatch: Sendable, Hashable, CustomStringConvertible {
  /// In lower case.
  public let scheme: String
  /// As targets have it, scheme and host in lower case and a path behind the host, and without the "*".
  public let url: String
  /// All URLs that begin with `url`.
  public let isPrefix: Bool

  /// Why a text is none: the end of the sentence "it ...".
  public struct Problem: Error, Hashable {
    public var reason: String
  }

  public var description: String { isPrefix ? url + "*" : url }

  /// `https://example.com/hook`, `https://example.com/*`, or `https://*` for all of a scheme.
  public static func parse(_ text: String) -> Result<DestinationMatch, Problem> {
    let isPrefix = text.utf8.last == UInt8(ascii: "*")
    let url = isPrefix ? String(text.dropLast()) : text
    if url.utf8.contains(UInt8(ascii: "*")) { return .failure(Problem(reason: "has a \"*\" that is not at its end")) }
    if isPrefix, url.hasSuffix("://"), case .success(let any) = DestinationURL.parse(url + "host") {
      return .success(DestinationMatch(scheme: any.scheme, url: any.scheme + "://", isPrefix: true))
    }
    return normal(url).flatMap { normal in
      if isPrefix, !normal.isHostComplete {
        return .failure(Problem(reason: "has its \"*\" right behind the host, so that it matches hosts of others too"))
      }
      return .success(DestinationMatch(scheme: normal.scheme, url: normal.url, isPrefix: isPrefix))
    }
  }

  /// - Parameter destination: a target's URL.
  public func matches(_ destination: String) -> Bool {
    if isPrefix { return destination.utf8.starts(with: url.utf8) }
    return destination == url
  }

  /// Everything that `other` matches is matched here too.
  func covers(_ other: DestinationMatch) -> Bool {
    other.isPrefix ? isPrefix && matches(other.url) : matches(other.url)
  }

  /// A URL that is matched here: where a secret may be sent to it, it may to all that are.
  var example: String { isPrefix ? url + "x" : url }

  /// The beginning of the URLs that a secret may be sent to, up to and with a "/".
  static func secretURL(_ text: String) -> Result<String, Problem> {
    for (character, what) in [("*", "a \"*\": all that is below the URL is meant without it"), ("?", "a query")]
    where text.contains(character) {
      return .failure(Problem(reason: "has \(what)"))
    }
    return normal(text).map { $0.url.utf8.last == UInt8(ascii: "/") ? $0.url : $0.url + "/" }
  }

  /// A URL as targets are written, and whether something stands behind its host.
  private static func normal(
    _ text: String
  ) -> Result<(scheme: String, url: String, isHostComplete: Bool), Problem> {
    switch DestinationURL.parse(text) {
    case .failure(let problem): return .failure(Problem(reason: problem.reason))
    case .success(let parsed):
      if text.utf8.contains(UInt8(ascii: "#")) { return .failure(Problem(reason: "has a fragment")) }
      let hostStart = text.utf8.index(text.startIndex, offsetBy: parsed.scheme.utf8.count + 3)
      let hostEnd = text.utf8[hostStart...].firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") }
      let rest = text[(hostEnd ?? text.endIndex)...]
      // A sender takes them away: what is sent would go elsewhere than what was compared.
      let segments = rest.utf8.prefix { $0 != UInt8(ascii: "?") }.split(separator: UInt8(ascii: "/"))
      if segments.contains(where: { $0.elementsEqual(".".utf8) || $0.elementsEqual("..".utf8) }) {
        return .failure(Problem(reason: "has a \".\" or \"..\" in its path"))
      }
      let path = rest.utf8.first == UInt8(ascii: "/") ? "" : "/"
      return .success((parsed.scheme, text[..<rest.startIndex].lowercased() + path + rest, hostEnd != nil))
    }
  }
}
