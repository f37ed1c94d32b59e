import DatabusCore

/// What a process knows itself while the deduplication store is away, where deliveries are to go on without it.
struct StoreBridge {
  /// How often what has ended in this process had been replayed by an operator: of as many of the latest as fit.
  private var ended = BoundedCache<DeliveryID, Int>(capacity: StoreBridge.remembered)
  /// How deliveries ended that the store has not heard of.
  private(set) var owed: [DeduplicationRequest.Settlement] = []

  /// About 10 MB.
  static let remembered = 200_000
  static let mostOwed = 100_000

  mutating func remember(_ id: DeliveryID, replays: Int) { ended.insert(replays, for: id) }

  /// Whether a delivery has ended here, and was not replayed since.
  mutating func hasEnded(_ id: DeliveryID, replays: Int) -> Bool { ended.value(for: id).map { $0 >= replays } ?? false }

  /// Notes what the store is to be told once it answers. Where there is too much of it, the oldest is forgotten: those may be sent again.
  mutating func owe(_ settlements: [DeduplicationRequest.Settlement]) {
    owed += settlements
    if owed.count > StoreBridge.mostOwed { owed.removeFirst(owed.count - StoreBridge.mostOwed * 3 / 4) }
  }

  mutating func takeOwed() -> [DeduplicationRequest.Settlement] {
    defer { owed = [] }
    return owed
  }
}

/// Going on without the store (`onUnavailable`: `send`): this process alone says what has been sent.
extension DeliveryDesk {
  /// Whether a claim is not worth asking for. One goes to the store now and then all the same, to see whether it answers.
  func goesWithoutStore(_ now: Instant) -> Bool {
    guard bridge != nil, let again = asksAgainAt else { return false }
    let isProbe = again <= now && !isAsking && !hasQuestions
    return !isProbe
  }

  func claimWithoutStore(_ job: DeliveryJob, _ now: Instant) {
    if bridge?.hasEnded(job.id, replays: job.carried.replays) == true {
      return pass(job, "it has ended here before", now)
    }
    parts.metrics.withoutStore.add(1)
    granted(job, job.attempts, false, now)
  }

  func settleWithoutStore(_ job: DeliveryJob, _ settlement: DeduplicationRequest.Settlement, _ now: Instant) {
    switch settlement.state {
    case .done, .dead, .stored: bridge?.owe([settlement])
    // It waits in this process, which knows it.
    case .waiting: break
    }
    settled(job, settlement, .settled, now)
  }

  /// Answers what the store was asked and has not answered.
  func answerWithoutStore(_ now: Instant) {
    let open = questions
    questions = []
    for (request, job) in open {
      switch request {
      case .claim: claimWithoutStore(job, now)
      case .settle(let settlement): settleWithoutStore(job, settlement, now)
      }
    }
  }

  /// The store cannot say what is paused, disabled or cancelled.
  func goOnWithoutMarks(_ now: Instant) {
    guard bridge != nil, !hasMarks else { return }
    storeIsAway("the deduplication store does not answer")
    replace([], now)
  }
}
