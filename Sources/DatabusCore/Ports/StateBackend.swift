/// Why state could not be read or written.
public enum StateError: Error, Sendable, Hashable {
  /// Another session of the same scope was opened after this one: its epoch is newer. Nothing was written.
  case fenced
  /// The state is not what the write was based on (an expectation did not hold, or the checkpoint number is not the next). Nothing was written.
  case diverged(String)
  /// The backend is away or full: the same call may succeed later. Nothing is known to be written.
  case unavailable(String)
  /// The state cannot be used, and no retry will help: corrupt, of a newer schema, locked by another process.
  case unusable(String)
}

extension StateError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .fenced: "another process has taken over this state"
    case .diverged(let reason): "the state has changed since it was read: \(reason)"
    case .unavailable(let reason): reason
    case .unusable(let reason): reason
    }
  }
}

/// What a piece of state belongs to.
public enum StateScope: Hashable, Sendable {
  /// Rule store, incarnations, first-start partitions, presence. Sessions of several processes live side by side.
  case pipeline
  /// Operator state, position and rules vector of one partition. One session at a time: opening fences older ones.
  case partition(PartitionID)
}

/// Writes that happen together or not at all.
public struct WriteBatch: Sendable {
  public var puts: [(key: [UInt8], value: [UInt8])] = []
  public var deletes: [[UInt8]] = []
  /// What the keys must hold (nil: be absent) for the batch to be applied; otherwise `StateError.diverged`.
  public var expectations: [(key: [UInt8], value: [UInt8]?)] = []

  public init() {}

  public var isEmpty: Bool { puts.isEmpty && deletes.isEmpty }

  public mutating func put(_ key: [UInt8], _ value: [UInt8]) { puts.append((key, value)) }
  public mutating func delete(_ key: [UInt8]) { deletes.append(key) }
  public mutating func expect(_ key: [UInt8], _ value: [UInt8]?) {
    expectations.append((key, value))
  }
}

/// One page of a scan.
public struct StatePage: Sendable {
  public var entries: [(key: [UInt8], value: [UInt8])]
  /// Pass it as `after` for the next page; nil at the end.
  public var last: [UInt8]?

  public init(entries: [(key: [UInt8], value: [UInt8])], last: [UInt8]?) {
    self.entries = entries
    self.last = last
  }
}

public struct StateCapabilities: Sendable, Hashable {
  /// Several processes can use this backend for one pipeline.
  public var isShared: Bool
  /// What was applied is there after the process was killed.
  public var isDurable: Bool

  public init(isShared: Bool, isDurable: Bool) {
    self.isShared = isShared
    self.isDurable = isDurable
  }
}

/// Where a pipeline keeps what must survive a restart. All methods throw `StateError`.
///
/// Keys are bytes, ordered bytewise, and belong to one scope of one pipeline.
public protocol StateBackend: Sendable {
  var capabilities: StateCapabilities { get }
  /// Names this store's life for ever: commits name it, so that a commit of another store is told apart.
  var id: String { get }

  /// Opens a session. For a partition this mints a new epoch, atomically: sessions opened earlier are fenced from then on.
  func open(_ scope: StateScope) async throws -> any StateSession

  /// The partitions that have state.
  func partitions() async throws -> [PartitionID]

  /// Removes all state of a partition, for operators.
  func remove(_ partition: PartitionID) async throws

  func close() async
}

/// Access to the state of one scope.
public protocol StateSession: Sendable {
  /// The fencing number of this session; 0 for `.pipeline`.
  var epoch: UInt64 { get }
  /// The number of the last checkpoint applied in this scope when the session was opened; 0 where there is none.
  var checkpoint: UInt64 { get }

  /// The values of the keys, in their order; nil where there is none.
  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?]

  /// Entries whose key starts with `prefix`, in the keys' order, behind `after`, at most `limit`.
  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage

  /// Writes all or nothing.
  ///
  /// - Parameter checkpoint: the number of this checkpoint: the last one's plus 1. The same number again by the same
  ///   epoch succeeds and changes nothing (its answer was lost). nil for writes that are no checkpoint.
  /// - Throws: `fenced` where the epoch is not the stored one, `diverged` where an expectation or the number does not hold.
  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws

  func close() async
}

extension StateSession {
  /// All entries whose key starts with `prefix`.
  public func scanAll(prefix: [UInt8]) async throws -> [(key: [UInt8], value: [UInt8])] {
    var all: [(key: [UInt8], value: [UInt8])] = []
    var after: [UInt8]?
    repeat {
      let page = try await scan(prefix: prefix, after: after, limit: 1000)
      all += page.entries
      after = page.last
    } while after != nil
    return all
  }
}
