import DatabusCore
import RedisClient

/// State in Redis: all processes of a pipeline share it.
///
/// Several pipelines, and several installations with different key prefixes, can use one Redis. How much of what was applied
/// survives a crash of Redis itself is a matter of its configuration (`appendonly`, `appendfsync`, `save`, replicas). Where Redis has lost
/// writes, sessions that were open are refused (`StateError.diverged`): nothing is written over a stale base.
///
/// Redis 5 or later. See docs/decisions/state-in-redis.md for the keys.
public struct RedisState: StateBackend {
  public enum Access: Sendable {
    case writer
    /// Changes nothing. Sessions of partitions have the stored epoch and mint none; writes throw.
    case reader
  }

  public struct Options: Sendable {
    public var connection: RedisConnection.Options
    /// All keys begin with it. Letters, digits, `.`, `_`, `-` and `:`.
    public var keyPrefix: String

    public init(_ connection: RedisConnection.Options, keyPrefix: String = "databus") {
      self.connection = connection
      self.keyPrefix = keyPrefix
    }

    /// What is wrong with a key prefix, as the end of the sentence "it ..."; nil where nothing is.
    public static func problem(ofKeyPrefix text: String) -> String? {
      let permitted = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:".utf8)
      return text.utf8.allSatisfy(permitted.contains)
        ? nil : "contains other characters than letters, digits, \".\", \"_\", \"-\" and \":\""
    }
  }

  public let capabilities = StateCapabilities(isShared: true, isDurable: true)
  let store: StateStore

  /// Where Redis is emptied it is another one from the next session on.
  public var id: String { store.id.withLock { $0 } }

  /// - Parameters:
  ///   - pipeline: the pipeline whose state this is.
  ///   - log: is told where the server's configuration puts the state at risk.
  /// - Throws: `StateError.unavailable` where Redis is away or takes no writes now; `unusable` where it refuses us: no right password,
  ///   no rights, a cluster's node.
  public init(
    _ options: Options, pipeline: String, access: Access = .writer, log: Logger = .off
  ) async throws {
    store = StateStore(options, pipeline: pipeline, access: access, log: log)
    do {
      try await store.open()
    } catch {
      await store.close()
      throw error
    }
  }

  public func open(_ scope: StateScope) async throws -> any StateSession { try await store.session(scope) }
  public func partitions() async throws -> [PartitionID] { try await store.partitions() }
  public func remove(_ partition: PartitionID) async throws { try await store.remove(partition) }
  public func close() async { await store.close() }
}

/// A session of one scope.
struct RedisStateSession: StateSession {
  let store: StateStore
  let scope: StateScope
  /// Counts the sessions of this backend.
  let number: UInt64
  let epoch: UInt64
  let checkpoint: UInt64

  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] { try await store.multiGet(keys, in: self) }

  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
    try await store.scan(self, prefix: prefix, after: after, limit: limit)
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
    try await store.apply(batch, checkpoint: checkpoint, by: self)
  }

  func close() async { await store.end(self) }
}
