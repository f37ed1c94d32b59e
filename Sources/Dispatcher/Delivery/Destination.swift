import DatabusCore

/// One destination as long as something waits for it, is sent to it, or is remembered of it. Touched by the desk only.
final class Destination {
  let target: DeliveryTarget
  let server: DestinationServer
  /// What counts its attempts.
  let attempts: DispatchMetrics.Attempts
  private var queue = Queue<DeliveryJob>(keptCapacity: 64)
  /// Attempts under way, from the claim on.
  var active = 0
  var breaker = Breaker()
  private(set) var bucket: TokenBucket?
  /// Attempts at a time.
  var concurrency = 16
  /// It stands in the desk's line of those that can start something.
  var isInLine = false
  /// It asks to be left alone until then (429, 503 with Retry-After).
  var quietUntil = Instant(nanoseconds: 0)
  /// When a timer will look at it again.
  var wakesAt: Instant?
  var pace = DestinationPace()
  /// How many this process has put into retry streams for want of room here and not seen again, about.
  var setAside = 0

  init(_ target: DeliveryTarget, _ server: DestinationServer, _ attempts: DispatchMetrics.Attempts) {
    self.target = target
    self.server = server
    self.attempts = attempts
  }

  var queueCount: Int { queue.count }

  func append(_ job: DeliveryJob, at now: Instant) {
    pace.arrived(at: now, isFirst: active == 0 && queue.isEmpty)
    queue.append(job)
  }

  func popFirst() -> DeliveryJob? { queue.popFirst() }

  /// Takes out what `isUnwanted` says, in order.
  func remove(_ isUnwanted: (DeliveryJob) -> Bool) -> [DeliveryJob] { queue.remove(isUnwanted) }

  /// Takes out what stands behind the first `count`, in order.
  func removeAll(behind count: Int) -> [DeliveryJob] { queue.removeAll(behind: count) }

  /// How many it takes in a second; nil as long as that is not known.
  func rate(at now: Instant) -> Double? {
    guard let bucket else { return pace.rate(concurrency: concurrency, at: now) }
    return min(bucket.rate, pace.rate(concurrency: concurrency, at: now) ?? bucket.rate)
  }

  /// To be called about once a second while something waits for it.
  func look(at now: Instant) { pace.look(concurrency: concurrency, at: now) }

  /// Nothing is known that would keep it from taking what it is sent.
  func isHealthy(at now: Instant) -> Bool { breaker.state == .closed && quietUntil <= now }

  func setRate(_ rate: Double?, at now: Instant) {
    guard let rate else {
      bucket = nil
      return
    }
    if bucket?.rate != rate { bucket = TokenBucket(rate: rate, at: now) }
  }

  /// Takes a token; nil where it did or none is needed, else how long until there is one.
  func takeToken(at now: Instant) -> Duration? { bucket?.take(at: now) }
  func giveTokenBack() { bucket?.giveBack() }
  func emptyBucket(at now: Instant) { bucket?.empty(at: now) }

  /// Nothing is known of it that the next delivery would not find again.
  func isForgettable(at now: Instant) -> Bool {
    active == 0 && queueCount == 0 && breaker.state == .closed && quietUntil <= now
  }
}

/// What several destinations share: a host and port.
final class DestinationServer {
  let name: String
  var active = 0
  /// Destinations that wait for room here.
  var line: [Destination] = []

  init(_ name: String) { self.name = name }
}
