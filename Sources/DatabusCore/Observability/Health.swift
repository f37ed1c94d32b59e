import Synchronization

/// Whether a process does its work, and if not, why.
public struct Health: Sendable, Hashable {
  /// What is wrong with one part.
  public struct Reason: Sendable, Hashable {
    /// `events`, `rules`, `state`, a stream's name.
    public var part: String
    /// One sentence.
    public var message: String

    public init(part: String, message: String) {
      self.part = part
      self.message = message
    }
  }

  /// Nothing is wrong where there is none.
  public var reasons: [Reason]
  public var isReady: Bool { reasons.isEmpty }

  public init(reasons: [Reason] = []) { self.reasons = reasons }
}

/// What a process last said of its health: told by the part that does the work, read by whoever asks, from any thread. Asking
/// never waits for that part.
public final class HealthBoard: Sendable {
  private struct State {
    var health = Health(reasons: [.init(part: "pipeline", message: "it has not started yet")])
    var at = Instant(nanoseconds: 0)
  }

  /// Who was well and has said nothing for so long is not taken to be well any more.
  public static let staleAfter = Duration.seconds(10)

  private let state = Mutex(State())

  public init() {}

  public func tell(_ health: Health, at now: Instant) {
    state.withLock {
      $0.health = health
      $0.at = now
    }
  }

  /// Puts what it says into the metrics.
  public func publish(to metrics: MetricRegistry, at now: Instant) {
    metrics.gauge("databus_ready", "1 where the process is ready, 0 where it is not: /ready says why.").set(
      health(at: now).isReady ? 1 : 0)
  }

  public func health(at now: Instant) -> Health {
    let (health, at) = state.withLock { ($0.health, $0.at) }
    let age = now - at
    guard health.isReady, age > HealthBoard.staleAfter else { return health }
    return Health(reasons: [
      .init(part: "pipeline", message: "it has said nothing of itself for \(age.components.seconds) s: it may hang")
    ])
  }
}
