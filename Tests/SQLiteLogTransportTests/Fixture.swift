import DatabusCore
import Foundation
import Synchronization
import Testing

@testable import SQLiteLogTransport

/// A folder that is removed with its last user.
final class TemporaryFolder: Sendable {
  let url: URL

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("databus-log-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: url) }

  func path(_ name: String = "log.db") -> String { url.appendingPathComponent(name).path }
}

/// Remembers which tokens have ended, and lets a test wait for them.
final class Ends: CompletionPort {
  struct State {
    var completed: [UInt64] = []
    var failed: [UInt64: TransportError] = [:]
    var waiters: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
  }
  let state = Mutex(State())

  func complete(_ tokens: Span<UInt64>) {
    for index in tokens.indices {
      let token = tokens[index]
      state.withLock { $0.completed.append(token) }
    }
    wake()
  }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    for index in tokens.indices {
      let token = tokens[index]
      state.withLock { $0.failed[token] = error }
    }
    wake()
  }

  private func wake() {
    let ready = state.withLock { state in
      let count = state.completed.count + state.failed.count
      let ready = state.waiters.filter { $0.count <= count }
      state.waiters.removeAll { $0.count <= count }
      return ready
    }
    for waiter in ready { waiter.continuation.resume() }
  }

  /// Returns when this many have ended, one way or the other.
  func wait(for count: Int) async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if state.completed.count + state.failed.count >= count { return true }
        state.waiters.append((count, continuation))
        return false
      }
      if isThere { continuation.resume() }
    }
  }

  var completed: [UInt64] { state.withLock { $0.completed } }
  var failed: [UInt64: TransportError] { state.withLock { $0.failed } }
}

/// A clock that moves only when a test says so.
final class HandClock: EngineClock {
  struct State {
    var now = Instant(nanoseconds: 1_000_000_000_000)
    var wall: Int64 = 1_700_000_000_000
    var sleepers: [UInt64: (until: Instant, continuation: CheckedContinuation<Void, any Error>)] = [:]
    var nextSleeper: UInt64 = 0
  }
  let state = Mutex(State())

  func now() -> Instant { state.withLock { $0.now } }
  func wallMilliseconds() -> Int64 { state.withLock { $0.wall } }

  func sleep(until moment: Instant) async throws {
    let id = state.withLock { state in
      state.nextSleeper += 1
      return state.nextSleeper
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let isDue: Bool? = state.withLock { state in
          if Task.isCancelled { return nil }
          if state.now >= moment { return true }
          state.sleepers[id] = (moment, continuation)
          return false
        }
        if isDue == nil { continuation.resume(throwing: CancellationError()) }
        if isDue == true { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.sleepers.removeValue(forKey: id)?.continuation }?.resume(throwing: CancellationError())
    }
  }

  func advance(_ duration: Duration) {
    let due = state.withLock { state in
      state.now = state.now + duration
      state.wall += Int64(duration.wholeNanoseconds / 1_000_000)
      let due = state.sleepers.filter { $0.value.until <= state.now }
      for id in due.keys { state.sleepers.removeValue(forKey: id) }
      return due.values.map(\.continuation)
    }
    for continuation in due { continuation.resume() }
  }
}

/// A record as a test sees it.
struct Seen: Hashable {
  var partition: PartitionID
  var position: UInt64
  var key: String?
  var value: String?
  var timestamp: Int64?
  var headers: [Header]
}

/// What `next` told, in copyable form.
enum Told: Hashable {
  case batch(Assignment, [Seen])
  case assigned([Assignment])
  case lost([Assignment])
  case gap(Assignment, UInt64, UInt64)
  case idle
  case other
}

func text(_ span: RawSpan?) -> String? {
  guard let span else { return nil }
  return span.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
}

extension EventSource {
  func told(records: Int = 1000, bytes: Int = 1 << 20, wait: Duration = .zero) async throws -> Told {
    let event = try await next(records: records, bytes: bytes, wait: wait)
    switch consume event {
    case .batch(let batch):
      var seen: [Seen] = []
      for index in 0..<batch.count {
        let record = batch[index]
        seen.append(
          Seen(
            partition: batch.assignment.partition, position: record.position, key: text(record.key),
            value: text(record.value), timestamp: record.timestamp, headers: batch.headers(at: index)))
      }
      return .batch(batch.assignment, seen)
    case .assigned(let assignments): return .assigned(assignments)
    case .lost(let assignments): return .lost(assignments)
    case .gap(let assignment, let from, let to): return .gap(assignment, from, to)
    case .passed: return .other
    case .idle: return .idle
    case .revoking: return .other
    case .end: return .other
    }
  }

  /// What is told next that is not `idle`.
  func toldSomething(records: Int = 1000, bytes: Int = 1 << 20) async throws -> Told {
    for _ in 0..<200 {
      let told = try await told(records: records, bytes: bytes, wait: .milliseconds(100))
      if told != .idle { return told }
    }
    Issue.record("nothing was told within 20 s")
    return .idle
  }

  func assignments() async throws -> [Assignment] {
    guard case .assigned(let assignments) = try await toldSomething() else {
      Issue.record("no assignment was told")
      return []
    }
    return assignments
  }

  /// The next `count` records, of any partition.
  func records(_ count: Int, atMost: Int = 1000) async throws -> [Seen] {
    var seen: [Seen] = []
    while seen.count < count {
      guard case .batch(_, let more) = try await toldSomething(records: atMost) else {
        Issue.record("something else came than records")
        return seen
      }
      seen += more
    }
    return seen
  }

  func values(_ count: Int) async throws -> [String?] { try await records(count).map(\.value) }
}

func bytes(_ text: String?) -> [UInt8]? { text.map { [UInt8]($0.utf8) } }

func deliveries(_ values: [String?], key: String? = nil, firstToken: UInt64 = 1) -> DeliveryBatch {
  var batch = DeliveryBatch()
  for (index, value) in values.enumerated() {
    batch.append(key: bytes(key), value: bytes(value), timestamp: 0, token: firstToken + UInt64(index))
  }
  return batch
}

extension SQLiteLog {
  /// Appends and waits for the acknowledgement.
  func send(_ values: [String?], to topic: String, key: String? = nil) async throws {
    _ = try await append(values.map { LogRecord(key: bytes(key), value: bytes($0)) }, to: topic)
  }
}

func open(
  _ path: String, _ options: SQLiteLogOptions = SQLiteLogOptions(), clock: any EngineClock = SystemClock(),
  process: ProcessIdentity = .own
) async throws -> SQLiteLog {
  try await SQLiteLog(path: path, options: options, clock: clock, process: process)
}

/// Runs a program of another process to its end; its standard output.
@discardableResult
func run(_ program: String, _ arguments: String...) throws -> String {
  let process = Process()
  process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
  process.arguments = [program] + arguments
  let pipe = Pipe()
  process.standardOutput = pipe
  try process.run()
  let data = pipe.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  #expect(process.terminationStatus == 0)
  return String(decoding: data, as: UTF8.self)
}
