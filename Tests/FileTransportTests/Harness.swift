import DatabusCore
import FileTransport
import Foundation
import Synchronization

/// A directory that is removed with its last reference.
final class Scratch: Sendable {
  let path: String

  init() throws {
    path = NSTemporaryDirectory() + "databus-file-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { "\(path)/\(name)" }

  /// Replaces a file in place: the inode stays.
  @discardableResult
  func write(_ name: String, _ text: String) throws -> String {
    try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
    return file(name)
  }

  func append(_ name: String, _ text: String) throws {
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: file(name)))
    try handle.seekToEnd()
    try handle.write(contentsOf: Data(text.utf8))
    try handle.close()
  }

  func rename(_ name: String, _ other: String) throws {
    try FileManager.default.moveItem(atPath: file(name), toPath: file(other))
  }

  func read(_ name: String) throws -> String { try String(contentsOfFile: file(name), encoding: .utf8) }
}

struct Seen: Equatable {
  var value: String
  var position: UInt64
  var next: UInt64
  var place: String?
}

enum Told: Equatable {
  case records(Assignment, [Seen])
  case assigned([Assignment])
  case revoking([Assignment])
  case gap(Assignment, from: UInt64, to: UInt64)
  case lost([Assignment])
  case idle, end
}

extension EventSource {
  /// The next event, copied; waits as long as it takes, within a limit that only a defect reaches.
  func tell(records: Int = 1000, bytes: Int = 1 << 20, wait: Duration = .seconds(20)) async throws -> Told {
    switch try await next(records: records, bytes: bytes, wait: wait) {
    case .batch(let batch):
      var seen: [Seen] = []
      for index in 0..<batch.count {
        let record = batch[index]
        var value = "(none)"
        if let bytes = record.value { value = String(decoding: bytes.withUnsafeBytes { Array($0) }, as: UTF8.self) }
        seen.append(
          Seen(value: value, position: record.position, next: record.raw.next, place: batch.storage.place(of: index)))
      }
      return .records(batch.assignment, seen)
    case .assigned(let assignments): return .assigned(assignments)
    case .revoking(let assignments, deadline: _): return .revoking(assignments)
    case .lost(let assignments): return .lost(assignments)
    case .gap(let assignment, let from, let to): return .gap(assignment, from: from, to: to)
    case .passed: throw Unexpected()
    case .idle: return .idle
    case .end: return .end
    }
  }

  /// Takes the first assignments and starts them all.
  func start(at position: UInt64 = 0) async throws -> [Assignment] {
    guard case .assigned(let assignments) = try await tell() else { throw Unexpected() }
    for assignment in assignments { try await seek(assignment, to: Position(next: position)) }
    return assignments
  }

  /// So many records, however they come in batches.
  func collect(_ count: Int) async throws -> [Seen] {
    var all: [Seen] = []
    while all.count < count {
      guard case .records(_, let seen) = try await tell() else { throw Unexpected() }
      all += seen
    }
    return all
  }

  /// All records up to the end.
  func collectAll() async throws -> [Seen] {
    var all: [Seen] = []
    while true {
      switch try await tell() {
      case .records(_, let seen): all += seen
      case .end: return all
      default: throw Unexpected()
      }
    }
  }
}

struct Unexpected: Error {}

/// Remembers how deliveries ended.
final class Ends: CompletionPort {
  struct Seen: Equatable {
    var completed: [UInt64] = []
    var failed: [UInt64] = []
    var classes: [TransportError.Class] = []
    var messages: [String] = []
  }
  private let state = Mutex(Seen())
  var seen: Seen { state.withLock { $0 } }

  func complete(_ tokens: Span<UInt64>) {
    let copy = tokens.indices.map { tokens[$0] }
    state.withLock { $0.completed += copy }
  }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    let copy = tokens.indices.map { tokens[$0] }
    state.withLock {
      $0.failed += copy
      $0.classes.append(error.class)
      $0.messages.append(error.message)
    }
  }
}

extension EventSink {
  /// Sends values with the tokens 0, 1, ... and flushes.
  func deliver(_ values: [String], flushing: Bool = true) async throws {
    var batch = DeliveryBatch()
    for (index, value) in values.enumerated() {
      batch.append(key: nil, value: Array(value.utf8), timestamp: 0, token: UInt64(index))
    }
    var sent = 0
    while sent < values.count {
      sent += try send(batch, from: sent)
      if sent < values.count { try await writable() }
    }
    if flushing { try await flush(by: SystemClock().now() + .seconds(20)) }
  }
}

func message(of body: () async throws -> Void) async -> String {
  do {
    try await body()
    return "(nothing was thrown)"
  } catch {
    return "\(error)"
  }
}
