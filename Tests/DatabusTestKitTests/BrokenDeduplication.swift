import DatabusCore
import DatabusTestKit
import Dispatcher
import MemoryTransport
import Synchronization

/// One thing that a deduplication store does wrong, and the case that must find it. Others may find it too: the rules hang together.
enum DeduplicationDefect: String, CaseIterable, Sendable {
  case ignoresTheRecordsAttempts = "a delivery that nobody knows is granted"
  case takesTheSameAttemptForAnother = "an attempt that asks again is granted again"
  case leasesNothing = "a running lease keeps others away"
  case hidesLostAttempts = "an attempt whose lease ran out is told to the next one"
  case tellsLostAttemptsOnce = "an unknown outcome is told again"
  case waitsForNothing = "a waiting delivery is granted once it is due"
  case letsStoredOnesGo = "a stored delivery is granted to the copy that has come as far"
  case sendsDoneOnes = "what is done is done"
  case sendsDeadOnes = "what is dead is dead"
  case letsAnyoneSettle = "only the owner settles"
  case refusesDone = "done is never refused"
  case settlesOnce = "a settlement that comes again is settled"
  case keepsTheFirstSettlement = "the owner may settle anew"
  case countsNothing = "attempts are counted"
  case ignoresReplays = "a replay starts afresh"
  case forgetsNothing = "what is forgotten was never there"
  case turnsRequestsRound = "requests of one call take effect in their order"
  case sharesNothing = "of claims at the same time one is granted"
  case answersEightThousand = "ten thousand deliveries in one call"
  case cutsTokens = "ids and tokens are bits, whatever they are"
  case claimsByLooking = "states are told, and nothing changes by it"
  case removesNoMarks = "marks are set, replaced and removed"
  case forgetsAtKill = "what was answered survives a kill"
  case neverCloses = "a closed store says so"
}

/// A sound store with one defect put over it.
final class BrokenDeduplication: DeduplicationStore {
  private let base: MemoryDeduplication
  private let defect: DeduplicationDefect?
  private struct Memory {
    var told: Set<DeliveryID> = []
    var settlements: Set<DeduplicationRequest> = []
    var settled: [DeliveryID: UInt64] = [:]
    var owners: [DeliveryID: UInt64] = [:]
    var count: UInt64 = 1000
  }
  private let memory = Mutex(Memory())

  init(_ base: MemoryDeduplication, _ defect: DeduplicationDefect?) {
    self.base = base
    self.defect = defect
  }

  /// A subject with a defect; a sound one without.
  static func subject(_ defect: DeduplicationDefect?) -> DeduplicationSubject {
    let clock = TestClock()
    let storage = MemoryDeduplication.Storage()
    @Sendable func open(_ storage: MemoryDeduplication.Storage) -> BrokenDeduplication {
      BrokenDeduplication(MemoryDeduplication(storage, clock: clock), defect)
    }
    var subject = DeduplicationSubject(
      store: open(storage), short: .seconds(1), pass: { clock.advance(by: $0) },
      reopenAfterKill: { open(defect == .forgetsAtKill ? .init() : storage) })
    subject.openAnother = { open(defect == .sharesNothing ? .init() : storage) }
    return subject
  }

  func process(_ requests: [DeduplicationRequest]) async throws -> [DeduplicationAnswer] {
    switch defect {
    case .turnsRequestsRound: return try await base.process(requests.reversed()).reversed()
    case .answersEightThousand where requests.count > 8192:
      let answers = try await base.process(Array(requests.prefix(8192)))
      return requests.indices.map { answers[min($0, 8191)] }
    default:
      var answers: [DeduplicationAnswer] = []
      for request in requests { answers.append(try await process(request)) }
      return answers
    }
  }

  private func process(_ request: DeduplicationRequest) async throws -> DeduplicationAnswer {
    switch request {
    case .claim(let claim): try await process(claim)
    case .settle(let settlement): try await process(settlement)
    }
  }

  private func process(_ asked: DeduplicationRequest.Claim) async throws -> DeduplicationAnswer {
    var claim = asked
    switch defect {
    case .ignoresTheRecordsAttempts: claim.attempts = 0
    case .takesTheSameAttemptForAnother:
      claim.token = memory.withLock {
        $0.count += 1
        return $0.count
      }
    case .leasesNothing: claim.lease = .zero
    case .ignoresReplays: claim.replays = 0
    case .forgetsNothing: claim.retention = .seconds(1 << 40)
    case .cutsTokens: claim.token >>= 1
    default: break
    }
    let answer = try await base.process([.claim(claim)])[0]
    switch (defect, answer) {
    case (.hidesLostAttempts, .granted(let attempts, _)): return .granted(attempts: attempts, isOutcomeUnknown: false)
    case (.tellsLostAttemptsOnce, .granted(let attempts, true)):
      let isFirst = memory.withLock { $0.told.insert(claim.id).inserted }
      return .granted(attempts: attempts, isOutcomeUnknown: isFirst)
    case (.letsStoredOnesGo, .stale), (.sendsDoneOnes, .done), (.sendsDeadOnes, .dead):
      return .granted(attempts: claim.attempts, isOutcomeUnknown: false)
    case (.refusesDone, .granted):
      memory.withLock { $0.owners[claim.id] = claim.token }
      return answer
    default: return answer
    }
  }

  private func process(_ asked: DeduplicationRequest.Settlement) async throws -> DeduplicationAnswer {
    var settlement = asked
    switch defect {
    case .takesTheSameAttemptForAnother: settlement.token = memory.withLock { $0.count }
    case .waitsForNothing: if case .waiting = settlement.state { settlement.state = .waiting(.zero) }
    case .refusesDone where settlement.state == .done:
      if memory.withLock({ $0.owners[asked.id] }) != asked.token { return .refused }
    case .settlesOnce: if !memory.withLock({ $0.settlements.insert(.settle(asked)).inserted }) { return .refused }
    case .keepsTheFirstSettlement:
      let last = memory.withLock { memory in
        defer { memory.settled[asked.id] = asked.token }
        return memory.settled[asked.id]
      }
      if last == asked.token { return .settled }
    case .countsNothing: settlement.attempts = 0
    case .forgetsNothing: settlement.retention = .seconds(1 << 40)
    case .cutsTokens: settlement.token >>= 1
    default: break
    }
    let answer = try await base.process([.settle(settlement)])[0]
    return defect == .letsAnyoneSettle ? .settled : answer
  }

  func states(of ids: [DeliveryID]) async throws -> [DeduplicationState?] {
    let states = try await base.states(of: ids)
    if defect == .claimsByLooking {
      _ = try await base.process(
        ids.map { .claim(.init(id: $0, token: 1 << 50, lease: .seconds(1000), retention: .seconds(1000))) })
    }
    return states
  }
  func marks() async throws -> [DispatchMark] { try await base.marks() }
  func set(_ mark: DispatchMark) async throws { try await base.set(mark) }
  func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) async throws {
    if defect != .removesNoMarks { try await base.remove(subject, kind) }
  }
  func risks() async throws -> [String] { try await base.risks() }
  func close() async { if defect != .neverCloses { await base.close() } }
}
