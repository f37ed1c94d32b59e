import DatabusCore
import SQLiteClient

/// State in one SQLite file: one process writes it, others may read.
///
/// Several pipelines can keep their state in one file; each sees its own. What was applied survives the end of the process; the
/// last moments before a loss of power may be missing, and the file is then as it was before them.
public struct SQLiteState: StateBackend {
  public enum Access: Sendable {
    /// Takes the file's lock, makes or migrates the file, and refuses a second writer.
    case writer
    /// Reads beside a writer, or without one. Sessions of partitions have the stored epoch and mint none; writes throw.
    case reader
  }

  public let capabilities = StateCapabilities(isShared: false, isDurable: true)
  public let id: String
  let store: StateStore

  /// - Parameters:
  ///   - path: made, with mode 0600, where it does not exist and `access` is `writer`; `<path>.lock` stands beside it.
  ///   - pipeline: the pipeline whose state this is.
  /// - Throws: `StateError.unusable` where the file is damaged, of a newer schema, or has another writer; `unavailable` where
  ///   the disk is full or the file locked.
  public init(path: String, pipeline: String, access: Access = .writer) async throws {
    store = StateStore(path: path, pipeline: pipeline, access: access)
    id = try await store.open()
  }

  public func open(_ scope: StateScope) async throws -> any StateSession { try await store.session(scope) }
  public func partitions() async throws -> [PartitionID] { try await store.partitions() }
  public func remove(_ partition: PartitionID) async throws { try await store.remove(partition) }
  public func close() async { await store.close() }
}

/// A session of one scope.
struct SQLiteStateSession: StateSession {
  let store: StateStore
  let name: StateScope
  /// The scope's row; nil for a reader that came before the writer made it.
  let scope: Int64?
  let epoch: UInt64
  let checkpoint: UInt64
  /// Names this session at its checkpoints.
  let writer: String

  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] { try await store.multiGet(keys, in: self) }

  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
    try await store.scan(self, prefix: prefix, after: after, limit: limit)
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
    try await store.apply(batch, checkpoint: checkpoint, by: self)
  }

  func close() async {}
}
