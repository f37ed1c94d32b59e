import Synchronization

/// What a file is known by, so that it keeps its incarnation across restarts and renames: device and inode, and a hash of
/// its head, because inodes are given out again.
public struct FileIdentity: Sendable, Hashable {
  /// The most bytes of a head that are hashed.
  public static var maximumHeadBytes: Int { 1024 }

  /// The name minted when the file was first seen.
  public var incarnation: String
  public var device: UInt64
  public var inode: UInt64
  /// How many bytes of the head are hashed: fewer than `maximumHeadBytes` while the file is short.
  public var headCount: Int
  public var headHash: UInt128

  public init(incarnation: String, device: UInt64, inode: UInt64, headCount: Int, headHash: UInt128) {
    self.incarnation = incarnation
    self.device = device
    self.inode = inode
    self.headCount = headCount
    self.headHash = headHash
  }

  /// FNV-1a, 128 bits: tells a file from another one that got its inode; it need not withstand an attacker, who could
  /// as well write what he likes into the file.
  public static func hash(_ bytes: some Sequence<UInt8>) -> UInt128 {
    var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
    for byte in bytes { hash = (hash ^ UInt128(byte)) &* 0x0000_0000_0100_0000_0000_0000_0000_013b }
    return hash
  }
}

/// Where file identities are kept. The engine wires it to the state backend's `.pipeline` scope.
public protocol FileIdentityStore: Sendable {
  /// The identity saved last for a file with this device and inode; nil where there is none.
  func lookup(device: UInt64, inode: UInt64) async throws -> FileIdentity?
  /// Saves an identity in place of the one saved earlier for its device and inode. Durable when it returns: records
  /// are delivered under the incarnation only afterwards.
  func save(_ identity: FileIdentity) async throws

  /// The files that have stood at a path and were not given back yet, the oldest first.
  func lives(at path: String) async throws -> [FileIdentity]
  /// Durable when it returns.
  func setLives(_ lives: [FileIdentity], at path: String) async throws
}

/// Identities that last as long as the process.
public final class MemoryFileIdentities: FileIdentityStore {
  private struct Key: Hashable {
    var device: UInt64
    var inode: UInt64
  }
  private let identities = Mutex<[Key: FileIdentity]>([:])
  private let paths = Mutex<[String: [FileIdentity]]>([:])

  public init() {}

  public func lookup(device: UInt64, inode: UInt64) async throws -> FileIdentity? {
    identities.withLock { $0[Key(device: device, inode: inode)] }
  }

  public func save(_ identity: FileIdentity) async throws {
    identities.withLock { $0[Key(device: identity.device, inode: identity.inode)] = identity }
  }

  public func lives(at path: String) async throws -> [FileIdentity] { paths.withLock { $0[path] ?? [] } }

  public func setLives(_ lives: [FileIdentity], at path: String) async throws { paths.withLock { $0[path] = lives } }
}
