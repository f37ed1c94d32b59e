import DatabusCore
import Synchronization

/// File identities in a pipeline's state, under `incarnation/file/`: a file that is found again after a restart keeps its
/// incarnation, and with it its events' identities.
public final class StateFileIdentities: FileIdentityStore {
  private let backend: any StateBackend
  private let isWritable: Bool
  /// What a tool beside the pipeline has seen and may not store.
  private let unsaved = MemoryFileIdentities()

  /// - Parameter isWritable: false for a tool that reads another process's state: it sees the stored identities, and those
  ///   that it mints itself last as long as it does.
  public init(_ backend: any StateBackend, isWritable: Bool) {
    self.backend = backend
    self.isWritable = isWritable
  }

  private static func key(_ device: UInt64, _ inode: UInt64) -> [UInt8] {
    Array("incarnation/file/\(device)/\(inode)".utf8)
  }

  public func lookup(device: UInt64, inode: UInt64) async throws -> FileIdentity? {
    if let own = try await unsaved.lookup(device: device, inode: inode) { return own }
    return try await translated {
      let session = try await backend.open(.pipeline)
      let stored = try await session.multiGet([StateFileIdentities.key(device, inode)])[0]
      await session.close()
      return stored.flatMap { FileIdentity(stored: $0, device: device, inode: inode) }
    }
  }

  public func save(_ identity: FileIdentity) async throws {
    guard isWritable else { return try await unsaved.save(identity) }
    try await translated {
      let session = try await backend.open(.pipeline)
      var batch = WriteBatch()
      batch.put(StateFileIdentities.key(identity.device, identity.inode), identity.stored)
      try await session.apply(batch, checkpoint: nil)
      await session.close()
    }
  }

  private static func key(_ path: String) -> [UInt8] { Array("incarnation/file-at/\(path)".utf8) }

  /// One line a life: `<device>/<inode>/` and what is stored of the identity.
  public func lives(at path: String) async throws -> [FileIdentity] {
    try await translated {
      let session = try await backend.open(.pipeline)
      let stored = try await session.multiGet([StateFileIdentities.key(path)])[0]
      await session.close()
      return String(decoding: stored ?? [], as: UTF8.self).split(separator: "\n").compactMap { line in
        let parts = line.split(separator: "/", maxSplits: 2)
        guard parts.count == 3, let device = UInt64(parts[0]), let inode = UInt64(parts[1]) else { return nil }
        return FileIdentity(stored: Array(parts[2].utf8), device: device, inode: inode)
      }
    }
  }

  public func setLives(_ lives: [FileIdentity], at path: String) async throws {
    guard isWritable else { return }
    let lines = lives.map { "\($0.device)/\($0.inode)/\(String(decoding: $0.stored, as: UTF8.self))\n" }
    try await translated {
      let session = try await backend.open(.pipeline)
      var batch = WriteBatch()
      batch.put(StateFileIdentities.key(path), Array(lines.joined().utf8))
      try await session.apply(batch, checkpoint: nil)
      await session.close()
    }
  }

  /// State that is away is tried again like a transport that is.
  private func translated<R>(_ body: () async throws -> R) async throws -> R {
    do { return try await body() } catch let error as StateError {
      throw TransportError(.transport, "The identity of a file cannot be kept in the state: \(error)")
    }
  }
}

extension FileIdentity {
  /// `1/<incarnation>/<head's length>/<head's hash>`.
  fileprivate var stored: [UInt8] { Array("1/\(incarnation)/\(headCount)/\(headHash)".utf8) }

  fileprivate init?(stored: [UInt8], device: UInt64, inode: UInt64) {
    let parts = String(decoding: stored, as: UTF8.self).split(separator: "/")
    guard parts.count == 4, parts[0] == "1", let count = Int(parts[2]), let hash = UInt128(parts[3]) else { return nil }
    self.init(incarnation: String(parts[1]), device: device, inode: inode, headCount: count, headHash: hash)
  }
}
