/// Secrets by their names, each with the destinations that it may be sent to: who may write rules must not be able to send another
/// team's token to a host of his own.
///
/// No value ever appears in a message, and printing a secret shows none.
public struct Secrets: Sendable {
  public struct Secret: Sendable {
    /// The current one first; behind it those that are still accepted while one is replaced. At least one.
    public var values: [String]
    /// Where it may be sent to: each a URL that is the destination itself or a folder above it (`https://example.com/hooks`),
    /// with or without a "/" at its end. See `Secrets.problem(withURL:)`.
    public var urls: [String]

    public init(values: [String], urls: [String]) {
      self.values = values
      self.urls = urls
    }
  }

  private struct Entry: Sendable {
    var secret: Secret
    var scopes: [SecretScope]
  }

  private let entries: [String: Entry]

  /// A URL that `problem(withURL:)` complains about permits nothing.
  public init(_ secrets: [String: Secret]) {
    entries = secrets.mapValues { secret in
      Entry(secret: secret, scopes: secret.urls.compactMap { try? SecretScope.parse($0).get() })
    }
  }

  /// The names that are there.
  public var names: Set<String> { Set(entries.keys) }

  /// What is wrong with a URL that is to say where a secret may be sent to, as the end of a sentence without its full stop: "has no
  /// host"; nil where nothing is.
  public static func problem(withURL url: String) -> String? {
    if case .failure(let problem) = SecretScope.parse(url) { return problem.reason }
    return nil
  }

  /// The secret of this name, for a destination.
  ///
  /// Scheme, host and port must be the same, and the path the same or below: `https://example.com` does not stand for
  /// `https://example.com.evil.example/`, nor `/hooks` for `/hooks-of-others` or `/hooks/../others`.
  ///
  /// - Parameter url: the destination's, normalised (`DeliveryTarget.url`).
  public func secret(_ name: String, for url: String) -> Result<Secret, DeliveryRefusal> {
    guard let entry = entries[name] else {
      return .failure(
        DeliveryRefusal(
          .authentication, "there is no secret \"\(name)\": add it to \"dispatcher.secrets\" in the configuration"))
    }
    guard case .success(let destination) = SecretScope.parse(url, isDestination: true),
      entry.scopes.contains(where: { $0.contains(destination) })
    else {
      return .failure(
        DeliveryRefusal(
          .authentication,
          "the secret \"\(name)\" may not be sent to this destination: its \"urls\" in \"dispatcher.secrets\" list where to"
        ))
    }
    return .success(entry.secret)
  }
}

extension Secrets.Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
  public var description: String { "a secret for \(urls.joined(separator: ", "))" }
  public var debugDescription: String { description }
  /// Without the values.
  public var customMirror: Mirror { Mirror(self, children: ["urls": urls]) }
}
