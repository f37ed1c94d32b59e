import DatabusCore
import Synchronization

/// State within one process: for tests, and for pipelines that may begin anew.
///
/// A handle over a `MemoryStore`. Several handles over one store are several processes at one backend, or the lives of one
/// process after another.
public final class MemoryState: StateBackend {
  public let store: MemoryStore
  private let isClosed = Mutex(false)

  /// - Parameter store: nil for one of its own.
  public init(_ store: MemoryStore? = nil) {
    self.store = store ?? MemoryStore()
  }

  public var capabilities: StateCapabilities { store.capabilities }
  public var id: String { store.id }

  func checkOpen() throws {
    if isClosed.withLock({ $0 }) { throw StateError.unusable("the memory state is closed") }
  }

  public func open(_ scope: StateScope) async throws -> any StateSession {
    try checkOpen()
    let (epoch, checkpoint) = try store.access { contents -> (UInt64, UInt64) in
      var state = contents.scopes[scope] ?? ScopeState()
      if case .partition = scope {
        contents.lastEpoch += 1
        state.epoch = contents.lastEpoch
      }
      contents.scopes[scope] = state
      return (state.epoch, state.checkpoint)
    }
    return MemoryStateSession(self, scope, epoch: epoch, checkpoint: checkpoint)
  }

  public func partitions() async throws -> [PartitionID] {
    try checkOpen()
    return try store.access { contents in
      contents.scopes.compactMap { scope, state in
        if case .partition(let partition) = scope, state.hasState { return partition }
        return nil
      }.sorted()
    }
  }

  public func remove(_ partition: PartitionID) async throws {
    try checkOpen()
    try store.access { contents in
      contents.scopes[.partition(partition)] = nil
    }
  }

  /// Ends this handle and its sessions. The store stays.
  public func close() async {
    isClosed.withLock { $0 = true }
  }
}

final class MemoryStateSession: StateSession {
  let epoch: UInt64
  let checkpoint: UInt64
  private let backend: MemoryState
  private let scope: StateScope
  private let isClosed = Mutex(false)

  init(_ backend: MemoryState, _ scope: StateScope, epoch: UInt64, checkpoint: UInt64) {
    self.backend = backend
    self.scope = scope
    self.epoch = epoch
    self.checkpoint = checkpoint
  }

  private func checkOpen() throws {
    try backend.checkOpen()
    if isClosed.withLock({ $0 }) { throw StateError.unusable("the session is closed") }
  }

  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] {
    try checkOpen()
    return try backend.store.access { contents in
      let state = contents.scopes[scope]
      return keys.map { state?[$0] }
    }
  }

  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
    try checkOpen()
    return try backend.store.access { contents in
      contents.scopes[scope]?.scan(prefix: prefix, after: after, limit: limit)
        ?? StatePage(entries: [], last: nil)
    }
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
    try checkOpen()
    try backend.store.access { contents in
      // A scope that was removed has no epoch: a partition's session is fenced, the pipeline begins anew.
      guard try (contents.scopes[scope] ?? ScopeState()).admits(batch, epoch: epoch, checkpoint: checkpoint)
      else { return }
      contents.scopes[scope, default: ScopeState()].write(batch)
      if let checkpoint {
        contents.scopes[scope]?.checkpoint = checkpoint
        contents.scopes[scope]?.checkpointEpoch = epoch
      }
      if contents.lostAnswers > 0 {
        contents.lostAnswers -= 1
        throw StateError.unavailable("the answer was lost")
      }
    }
  }

  func close() async {
    isClosed.withLock { $0 = true }
  }
}
