import DatabusCore

/// What a dispatcher goes by.
public struct DispatchSettings: Sendable {
  public enum Mode: String, Sendable, Hashable, CaseIterable {
    /// Sent again where nobody knows whether it arrived.
    case atLeastOnce = "at-least-once"
    /// Never sent again then: it becomes a dead letter.
    case atMostOnce = "at-most-once"
  }

  /// What is done while the deduplication store is away.
  public enum WithoutStore: String, Sendable, Hashable, CaseIterable {
    /// Nothing is sent: results wait in their stream.
    case wait
    /// What this process does not remember itself is sent: repeats are possible.
    case send
  }

  /// The rules that deliveries are looked up in.
  public struct FollowedRules: Sendable, Hashable {
    public var stream: StreamReference
    /// URL schemes that rules may name.
    public var schemes: Set<String>

    public init(_ stream: StreamReference, schemes: Set<String>) {
      self.stream = stream
      self.schemes = schemes
    }
  }

  public var mode = Mode.atLeastOnce
  public var withoutStore = WithoutStore.wait
  /// nil: what has become of a delivery's rule does not matter.
  public var rules: FollowedRules?
  /// How deliveries are made to destinations that no entry of `destinations` matches.
  public var delivery = DeliverySettings()
  /// The first that matches counts.
  public var destinations: [(match: DestinationMatch, settings: DeliverySettings)] = []
  /// Deliveries that wait for one destination, at most.
  public var queue = 1000
  /// Attempts at a time, of all destinations.
  public var slots = 1024
  /// Deliveries in memory, at most.
  public var maximumInFlight = 131_072
  /// Their bytes.
  public var maximumInFlightBytes = 128 << 20
  public var retry = RetryPolicy()
  public var breaker = BreakerPolicy()
  /// How long it is remembered that a delivery has arrived.
  public var memory = Duration.seconds(24 * 3600)

  /// The results streams that are read.
  public var results: [StreamReference] = []

  public init() {}

  /// The results stream that a record belongs to which stands in it or in one of its retry streams.
  func resultsStream(of stream: String) -> String {
    for reference in results {
      if reference.stream == stream { return stream }
      let belongs = retry.tiers.indices.contains { retry.stream(of: reference.stream, tier: $0) == stream }
      if belongs { return reference.stream }
    }
    return stream
  }

  /// What the configuration says for a destination.
  ///
  /// - Parameter url: a target's.
  public func settings(for url: String) -> DeliverySettings {
    destinations.first { $0.match.matches(url) }?.settings ?? delivery
  }

  /// No server gets more than this of all attempts.
  var slotsPerServer: Int { max(1, slots / 4) }

  /// How long the store remembers what is not over yet: longer than it can take to come back from a retry stream.
  var openRetention: Duration { retry.age + (retry.tiers.last ?? .zero) + .seconds(3600) }
}
