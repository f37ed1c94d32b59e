/// Secrets by their names, each with the destinations that it may be sent to: who may write rules must not be able to send another
/// team's token to a host of his own.
public struct Secrets: Sendable {
  public struct Secret: Sendable {
    /// The current one first; behind it those that are still accepted while one is replaced.
    public var values: [String]
    /// Beginnings of URLs that it may be sent to, each up to and with a "/".
    public var urls: [String]

    public init(values: [String], urls: [String]) {
      self.values = values
      self.urls = urls
    }
  }

  private let secrets: [String: Secret]

  public init(_ secrets: [String: Secret]) { self.secrets = secrets }

  /// The secret of this name, for a destination.
  public func secret(_ name: String, for url: String) -> Result<Secret, DeliveryRefusal> {
    guard let secret = secrets[name] else {
      return .failure(
        DeliveryRefusal(
          .authentication, "there is no secret \"\(name)\": add it to \"dispatcher.secrets\" in the configuration"))
    }
    guard secret.urls.contains(where: { url.hasPrefix($0) || url + "/" == $0 }) else {
      return .failure(
        DeliveryRefusal(
          .authentication,
          "the secret \"\(name)\" may not be sent to this destination: its \"urls\" in \"dispatcher.secrets\" list where to"
        ))
    }
    return .success(secret)
  }
}
