import DatabusCore
import Synchronization

/// What one or more `MemoryState` handles work on: the state that a process finds again when it opens a new handle.
public final class MemoryStore: Sendable {
  public let id: String
  let capabilities: StateCapabilities
  private let contents = Mutex(Contents())

  /// - Parameters:
  ///   - id: names this store's life; nil for one that no other store has.
  ///   - isShared: what the handles say of themselves: they are one process's, or those of several.
  ///   - isDurable: what the handles say of themselves. Nothing here outlives the real process; a test that stands for
  ///     several lives of a process keeps the store and opens a new handle.
  public init(id: String? = nil, isShared: Bool = false, isDurable: Bool = false) {
    var random = SystemRandomNumberGenerator()
    self.id = id ?? "memory-" + String(random.next(), radix: 16)
    capabilities = StateCapabilities(isShared: isShared, isDurable: isDurable)
  }

  struct Contents: Sendable {
    var scopes: [StateScope: ScopeState] = [:]
    /// The last epoch minted in any scope: epochs are never used again, not even after `remove`.
    var lastEpoch: UInt64 = 0
    var unavailable: String?
    var lostAnswers = 0
  }

  func access<R: Sendable>(_ body: (inout sending Contents) throws -> R) throws -> R {
    try contents.withLock { contents in
      if let reason = contents.unavailable { throw StateError.unavailable(reason) }
      return try body(&contents)
    }
  }

  // MARK: What a test makes happen

  /// All state as it was at one moment.
  public struct Snapshot: Sendable {
    let scopes: [StateScope: ScopeState]
    let lastEpoch: UInt64
  }

  public func snapshot() -> Snapshot {
    contents.withLock { Snapshot(scopes: $0.scopes, lastEpoch: $0.lastEpoch) }
  }

  /// Goes back to a snapshot: everything that was written since is lost, as after a failover or from an old dump. Sessions
  /// that were opened since are fenced, because their epochs are not the stored ones.
  public func restore(_ snapshot: Snapshot) {
    contents.withLock { contents in
      contents.scopes = snapshot.scopes
      contents.lastEpoch = snapshot.lastEpoch
    }
  }

  /// Every call throws `StateError.unavailable` with this reason; nil: the store is back.
  public func setUnavailable(_ reason: String?) {
    contents.withLock { $0.unavailable = reason }
  }

  /// The next `count` applies that succeed are written and throw `StateError.unavailable` all the same.
  public func loseAnswers(_ count: Int) {
    contents.withLock { $0.lostAnswers = count }
  }
}

/// The state of one scope.
struct ScopeState: Sendable {
  var epoch: UInt64 = 0
  var checkpoint: UInt64 = 0
  /// The epoch that wrote `checkpoint`.
  var checkpointEpoch: UInt64 = 0
  private var entries: [[UInt8]: [UInt8]] = [:]
  /// All keys in order, made when a scan asks for them.
  private var order: [[UInt8]]?

  var hasState: Bool { checkpoint > 0 || !entries.isEmpty }

  subscript(key: [UInt8]) -> [UInt8]? { entries[key] }

  mutating func write(_ batch: WriteBatch) {
    for key in batch.deletes where entries.removeValue(forKey: key) != nil { order = nil }
    for (key, value) in batch.puts where entries.updateValue(value, forKey: key) == nil { order = nil }
  }

  mutating func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) -> StatePage {
    let keys = order ?? entries.keys.sorted { $0.lexicographicallyPrecedes($1) }
    order = keys
    var low = 0
    var high = keys.count
    while low < high {
      let middle = (low + high) / 2
      let isBefore =
        keys[middle].lexicographicallyPrecedes(prefix)
        || after.map { !$0.lexicographicallyPrecedes(keys[middle]) } ?? false
      if isBefore { low = middle + 1 } else { high = middle }
    }
    var page: [(key: [UInt8], value: [UInt8])] = []
    var index = low
    while index < keys.count, page.count < max(limit, 1), keys[index].starts(with: prefix) {
      if let value = entries[keys[index]] { page.append((keys[index], value)) }
      index += 1
    }
    let isMore = index < keys.count && keys[index].starts(with: prefix)
    return StatePage(entries: page, last: isMore ? page.last?.key : nil)
  }

  /// Throws what a write of this batch by this epoch would throw; returns false where the checkpoint is there already.
  func admits(_ batch: WriteBatch, epoch: UInt64, checkpoint: UInt64?) throws -> Bool {
    if self.epoch != epoch { throw StateError.fenced }
    if let checkpoint {
      if checkpoint == self.checkpoint, checkpointEpoch == epoch, checkpoint > 0 { return false }
      if checkpoint != self.checkpoint + 1 {
        throw StateError.diverged("the last checkpoint is \(self.checkpoint), this one is numbered \(checkpoint)")
      }
    }
    for (key, value) in batch.expectations where entries[key] != value {
      throw StateError.diverged("the key \"\(String(decoding: key, as: UTF8.self))\" holds something else")
    }
    return true
  }
}
