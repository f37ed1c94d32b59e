import DatabusCore
import Foundation

@testable import SQLiteLogTransport

/// Another process that holds the file's write lock until it is told to end.
final class Blocker {
  private let process = Process()
  private let input = Pipe()

  init(_ path: String) throws {
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = [
      "python3", "-c",
      """
      import sqlite3, sys
      c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
      c.execute("BEGIN IMMEDIATE")
      print("locked", flush=True)
      sys.stdin.read()
      c.execute("ROLLBACK")
      """, path,
    ]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    _ = output.fileHandleForReading.availableData
  }

  func end() {
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }
}

extension SQLiteLog {
  /// Makes the file full at this many pages, as a disk would be.
  func limitPages(_ count: Int) async throws { try await file.writer.limitPages(count) }
}

extension LogWriter {
  func limitPages(_ count: Int) throws { try connection().execute("PRAGMA max_page_count = \(count)") }
}
