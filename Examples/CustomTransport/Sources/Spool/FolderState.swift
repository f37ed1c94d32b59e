import DatabusCore
import Foundation

/// State as a folder with one file per scope. A file is replaced whole, by a rename: it is as it was before or as it is after.
/// That survives the end of the process; a loss of power may take back the last writes.
public struct FolderState: StateBackend {
  /// What the JSON file knows it by: `{"type": "folder", "path": "state"}`.
  public static let type = StateBackendType(
    "folder",
    settings: ObjectDeclaration(
      "State as a folder with one file per scope.",
      [FieldDeclaration("path", .path, required: true, example: "state", "The folder; made at first use.")]),
    capabilities: StateCapabilities(isShared: false, isDurable: true)
  ) { settings, context in
    try FolderState(path: settings.string("path"), pipeline: context.pipeline, access: context.access)
  }

  public let capabilities = type.capabilities
  public let id: String
  private let store: FolderStore

  /// - Parameter access: the pipeline takes the folder's lock; a tool reads beside it and can write nothing.
  public init(path: String, pipeline: String, access: ComponentAccess = .pipeline) throws {
    let folder = "\(path)/\(fileName(pipeline))"
    let lock = access == .pipeline ? try FolderLock(folder) : nil
    id = try FolderStore.identity(folder, isWritable: lock != nil)
    store = FolderStore(folder, lock)
  }

  public func open(_ scope: StateScope) async throws -> any StateSession { try await store.open(scope) }
  public func partitions() async throws -> [PartitionID] { try await store.partitions() }
  public func remove(_ partition: PartitionID) async throws { try await store.remove(partition) }
  public func close() async { await store.close() }
}

/// Letters, digits and percent signs only.
private func fileName(_ text: String) -> String {
  text.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? hex(Array(text.utf8))
}

/// Reads and writes the files on a thread of its own, one call after the other.
actor FolderStore {
  private let worker = WorkerThread(name: "folder-state")
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }
  private let folder: String
  /// nil: a tool's, which writes nothing.
  private var lock: FolderLock?
  private let isWritable: Bool

  init(_ folder: String, _ lock: FolderLock?) {
    self.folder = folder
    self.lock = lock
    isWritable = lock != nil
  }

  deinit { worker.stop() }

  static func identity(_ folder: String, isWritable: Bool) throws -> String {
    if let id = try? String(contentsOfFile: "\(folder)/id", encoding: .utf8) { return id }
    let id = Incarnation.mint()
    if isWritable { try write(id, "\(folder)/id") }
    return id
  }

  // MARK: Files

  private func path(_ scope: StateScope) -> String {
    switch scope {
    case .pipeline: "\(folder)/pipeline"
    case .partition(let partition):
      "\(folder)/"
        + [partition.stream, partition.incarnation, "\(partition.index)"].map(fileName).joined(separator: ",")
    }
  }

  private func read(_ scope: StateScope) throws -> ScopeFile {
    guard FileManager.default.fileExists(atPath: path(scope)) else { return ScopeFile() }
    do {
      return try ScopeFile(String(contentsOfFile: path(scope), encoding: .utf8), path: path(scope))
    } catch let error as StateError { throw error } catch {
      throw StateError.unavailable("\(path(scope)) cannot be read: \(error.localizedDescription)")
    }
  }

  /// `atomically`: written under another name, then renamed.
  private static func write(_ text: String, _ path: String) throws {
    do { try text.write(toFile: path, atomically: true, encoding: .utf8) } catch {
      throw StateError.unavailable("\(path) cannot be written: \(error.localizedDescription) Free some space.")
    }
  }

  /// Epochs are never used again, not even after `remove`.
  private func mintEpoch() throws -> UInt64 {
    let last = (try? String(contentsOfFile: "\(folder)/epoch", encoding: .utf8)).flatMap { UInt64($0) } ?? 0
    try Self.write("\(last + 1)", "\(folder)/epoch")
    return last + 1
  }

  // MARK: What the backend and its sessions ask

  func open(_ scope: StateScope) throws -> FolderSession {
    var file = try read(scope)
    if isWritable, case .partition = scope {
      file.epoch = try mintEpoch()
      try Self.write(file.text, path(scope))
    }
    return FolderSession(store: self, scope: scope, epoch: file.epoch, checkpoint: file.checkpoint)
  }

  func partitions() throws -> [PartitionID] {
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: folder) else { return [] }
    return try names.compactMap { name in
      let parts = name.split(separator: ",").compactMap { $0.removingPercentEncoding }
      guard parts.count == 3, let index = Int(parts[2]) else { return nil }
      let partition = PartitionID(stream: parts[0], incarnation: parts[1], index: index)
      return try read(.partition(partition)).isEmpty ? nil : partition
    }.sorted()
  }

  func remove(_ partition: PartitionID) throws {
    try refuseTools()
    // Its sessions are fenced: a file that is not there has no epoch.
    try? FileManager.default.removeItem(atPath: path(.partition(partition)))
  }

  func multiGet(_ keys: [[UInt8]], _ scope: StateScope) throws -> [[UInt8]?] {
    let file = try read(scope)
    return keys.map { file.entries[$0] }
  }

  func scan(_ prefix: [UInt8], after: [UInt8]?, limit: Int, _ scope: StateScope) throws -> StatePage {
    try read(scope).page(prefix, after: after, limit: max(limit, 1))
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?, _ session: FolderSession) throws {
    try refuseTools()
    var file = try read(session.scope)
    try file.apply(batch, checkpoint: checkpoint, epoch: session.epoch)
    try Self.write(file.text, path(session.scope))
  }

  private func refuseTools() throws {
    if lock == nil { throw StateError.unusable("\(folder) is open for reading only, or closed.") }
  }

  func close() { lock = nil }
}

struct FolderSession: StateSession {
  let store: FolderStore
  let scope: StateScope
  let epoch: UInt64
  let checkpoint: UInt64

  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] { try await store.multiGet(keys, scope) }
  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
    try await store.scan(prefix, after: after, limit: limit, scope)
  }
  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
    try await store.apply(batch, checkpoint: checkpoint, self)
  }
  func close() async {}
}

/// One pipeline process writes a folder: the system gives the lock back however the process ends.
final class FolderLock: Sendable {
  private let handle: FileHandle

  init(_ folder: String) throws {
    try? FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    let descriptor = Foundation.open("\(folder)/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    if descriptor < 0 { throw StateError.unusable("\(folder) cannot be written: check its permissions.") }
    handle = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    if flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
      throw StateError.unusable(
        "\(folder) is in use by another process: end that one, or give this one a folder of its own.")
    }
  }
}
