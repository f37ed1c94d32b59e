import DatabusCore
import Dispatcher
import Foundation
import MemoryTransport
import SQLiteDeduplication
import Synchronization
import Testing

/// Real files in a folder that is removed.
final class DeduplicationFolder: Sendable {
  let url: URL
  let clock = TestClock()

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("databus-dedup-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(at: url) }

  var path: String { url.appendingPathComponent("dedup.db").path }

  func open(
    _ access: SQLiteDeduplication.Access = .dispatcher, busyTimeout: Duration = .seconds(5), log: Logger = .off
  ) async throws -> SQLiteDeduplication {
    try await SQLiteDeduplication(path: path, access: access, busyTimeout: busyTimeout, clock: clock, log: log)
  }

  /// What a killed process leaves: the database and its write-ahead log as they are, and a lock that the system took away.
  func afterKill() throws -> DeduplicationFolder {
    let copy = try DeduplicationFolder()
    for suffix in ["", "-wal"] where FileManager.default.fileExists(atPath: path + suffix) {
      try FileManager.default.copyItem(atPath: path + suffix, toPath: copy.path + suffix)
    }
    return copy
  }

  /// The sentence with which the file is refused.
  func refusal(_ access: SQLiteDeduplication.Access = .dispatcher) async -> String {
    do {
      _ = try await open(access)
      Issue.record("the file was opened")
    } catch DeduplicationError.unusable(let message) {
      #expect(message.contains(path))
      return message
    } catch {
      Issue.record("\(error)")
    }
    return ""
  }

  @discardableResult
  func python(_ script: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, path]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return String(decoding: output, as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  /// The number of rows, the expired ones included.
  func rows() throws -> Int {
    Int(
      try python(
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM deliveries').fetchone()[0])"
      )) ?? -1
  }
}

func id(_ number: UInt64) -> DeliveryID { DeliveryID(high: number &* 0x9E37_79B9_7F4A_7C15, low: number) }

func claim(
  _ id: DeliveryID, _ token: UInt64, attempts: Int = 0, lease: Duration = .seconds(60),
  retention: Duration = .seconds(3600)
) -> DeduplicationRequest {
  .claim(.init(id: id, token: token, lease: lease, retention: retention, attempts: attempts))
}

func settle(
  _ id: DeliveryID, _ token: UInt64, _ state: DeduplicationRequest.Settlement.State, attempts: Int = 1,
  retention: Duration = .seconds(3600)
) -> DeduplicationRequest {
  .settle(.init(id: id, token: token, state: state, attempts: attempts, retention: retention))
}

let granted = DeduplicationAnswer.granted(attempts: 0, isOutcomeUnknown: false)

extension DeduplicationStore {
  func answer(_ request: DeduplicationRequest) async throws -> DeduplicationAnswer { try await process([request])[0] }
}

final class LogLines: LogSink {
  private let lines = Mutex<[LogLine]>([])
  func write(_ line: LogLine) { lines.withLock { $0.append(line) } }
  var all: [LogLine] { lines.withLock { $0 } }
  var logger: Logger { Logger(part: "dedup", sink: self) }
}
