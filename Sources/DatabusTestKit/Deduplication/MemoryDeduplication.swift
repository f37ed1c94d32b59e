import DatabusCore
import Dispatcher
import Synchronization

/// Deduplication within one process, for tests: what is remembered ends with its storage.
public final class MemoryDeduplication: DeduplicationStore {
  /// What is remembered. Several stores over one storage are several processes, or the lives of one process after another.
  public final class Storage: Sendable {
    fileprivate let contents = Mutex(Contents())

    public init() {}
  }

  fileprivate struct Contents {
    var deliveries: [DeliveryID: RememberedDelivery] = [:]
    var marks: [Place: DispatchMark] = [:]
  }

  fileprivate struct Place: Hashable {
    var subject: DispatchMark.Subject
    var kind: DispatchMark.Kind
  }

  public let storage: Storage
  private let clock: any EngineClock
  private let isClosed = Mutex(false)

  public init(_ storage: Storage = Storage(), clock: any EngineClock = SystemClock()) {
    self.storage = storage
    self.clock = clock
  }

  private func access<R>(_ body: (inout sending Contents) -> sending R) throws -> sending R {
    if isClosed.withLock({ $0 }) { throw DeduplicationError.unusable("the deduplication store in memory is closed") }
    return storage.contents.withLock(body)
  }

  public func process(_ requests: [DeduplicationRequest]) async throws -> [DeduplicationAnswer] {
    let now = clock.wallMilliseconds()
    return try access { contents in
      requests.map { request in
        switch request {
        case .claim(let claim): RememberedDelivery.answer(request, &contents.deliveries[claim.id], at: now)
        case .settle(let settlement): RememberedDelivery.answer(request, &contents.deliveries[settlement.id], at: now)
        }
      }
    }
  }

  /// What is remembered of a delivery, expired or not.
  public func remembered(_ id: DeliveryID) -> RememberedDelivery? { storage.contents.withLock { $0.deliveries[id] } }

  public func states(of ids: [DeliveryID]) async throws -> [DeduplicationState?] {
    let now = clock.wallMilliseconds()
    return try access { contents in
      ids.map { id in
        guard let entry = contents.deliveries[id], entry.expiry > now else { return nil }
        return DeduplicationState(entry.state, replays: entry.replays)
      }
    }
  }

  public func marks() async throws -> [DispatchMark] { try access { Array($0.marks.values) } }

  public func set(_ mark: DispatchMark) async throws {
    try access { $0.marks[Place(subject: mark.subject, kind: mark.kind)] = mark }
  }

  public func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) async throws {
    try access { $0.marks[Place(subject: subject, kind: kind)] = nil }
  }

  public func risks() async throws -> [String] { ["It keeps nothing over its process: for tests."] }

  public func close() async { isClosed.withLock { $0 = true } }
}
