/// What is known of the URLs that requests go to, so that each is looked at once.
struct DestinationCache {
  private let policy: AddressPolicy
  private let hasProxy: Bool
  private var known: [String: Result<HTTPTransfer.Destination, HTTPClientFailure>] = [:]
  private var bytes = 0

  /// Of all URLs together. Then everything is forgotten.
  private static let maximumBytes = 8 << 20
  /// What an entry costs besides its URL's text, roughly.
  private static let entryBytes = 600

  init(_ configuration: HTTPClient.Configuration) {
    policy = configuration.policy
    hasProxy = configuration.proxy != nil
  }

  mutating func destination(_ text: String) -> Result<HTTPTransfer.Destination, HTTPClientFailure> {
    if let known = known[text] { return known }
    let found = Result { () throws(HTTPClientFailure) in try look(at: text) }
    // One that is too long is refused, and not worth its room.
    if text.utf8.count > HTTPURL.maximumBytes { return found }
    bytes += text.utf8.count + DestinationCache.entryBytes
    if bytes > DestinationCache.maximumBytes {
      known = [:]
      bytes = text.utf8.count + DestinationCache.entryBytes
    }
    known[text] = found
    return found
  }

  private func look(at text: String) throws(HTTPClientFailure) -> HTTPTransfer.Destination {
    let url = try HTTPURL(text)
    if let failure = policy.denial(of: url) { throw failure }
    let isAllowed = policy.allows(host: url.host)
    // A proxy would send it to itself.
    if hasProxy, !isAllowed, url.host == "localhost" || url.host.hasSuffix(".localhost") {
      throw AddressPolicy.failure(url.place, .loopback)
    }
    return try HTTPTransfer.Destination(url, isAllowed: isAllowed)
  }
}
