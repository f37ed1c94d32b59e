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

/// What the parts of a process last said of their health: told by those who do the work, read by whoever asks, from any thread. Asking
/// never waits for them.
public final class HealthBoard: Sendable {
  private struct Entry {
    var health: Health
    var at: Instant
  }

  /// Who was well and has said nothing for so long is not taken to be well any more.
  public static let staleAfter = Duration.seconds(10)

  private let entries: Mutex<[String: Entry]>

  /// - Parameter parts: who will tell of himself; none of them has started yet.
  public init(parts: [String] = [HealthBoard.pipeline]) {
    var entries: [String: Entry] = [:]
    for part in parts {
      entries[part] = Entry(
        health: Health(reasons: [.init(part: part, message: "it has not started yet")]), at: Instant(nanoseconds: 0))
    }
    self.entries = Mutex(entries)
  }

  /// The router's part.
  public static let pipeline = "pipeline"
  public static let dispatcher = "dispatcher"

  public func tell(_ health: Health, of part: String = HealthBoard.pipeline, at now: Instant) {
    entries.withLock { $0[part] = Entry(health: health, at: now) }
  }

  /// Puts what it says into the metrics.
  public func publish(to metrics: MetricRegistry, at now: Instant) {
    metrics.gauge("databus_ready", "1 where the process is ready, 0 where it is not: /ready says why.").set(
      health(at: now).isReady ? 1 : 0)
  }

  /// What keeps any of them.
  public func health(at now: Instant) -> Health {
    let entries = entries.withLock { $0.sorted { $0.key < $1.key } }
    return Health(reasons: entries.flatMap { HealthBoard.reasons($0.key, $0.value, now) })
  }

  private static func reasons(_ part: String, _ entry: Entry, _ now: Instant) -> [Health.Reason] {
    let age = now - entry.at
    guard entry.health.isReady, age > HealthBoard.staleAfter else { return entry.health.reasons }
    return [.init(part: part, message: "it has said nothing of itself for \(age.components.seconds) s: it may hang")]
  }
}
