import DatabusCore
import Foundation
import Testing

@testable import SQLiteState

extension StateStore {
  /// Makes the file full at this many pages, as a disk would be.
  func limitPages(_ count: Int) throws { try connection?.execute("PRAGMA max_page_count = \(count)") }
}

@Suite struct StateFileTests {
  let folder: StateFolder
  let partition = PartitionID(stream: "events", incarnation: "i-1", index: 0)
  init() throws { folder = try StateFolder() }

  /// A state file of some size, closed.
  private func fill() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    try await session.apply(
      batch { for index in 0..<500 { $0.put(key("key-\(index)"), [UInt8](repeating: 7, count: 500)) } }, checkpoint: 1)
    await state.close()
  }

  private func rewrite(_ change: (inout Data) -> Void) throws {
    var data = try Data(contentsOf: URL(fileURLWithPath: folder.path))
    change(&data)
    try data.write(to: URL(fileURLWithPath: folder.path))
  }

  @Test func aSecondWriterEndsAtOnceAndNamesTheHolder() async throws {
    let state = try await folder.open()
    let message = await folder.refusal()
    #expect(message.contains("process \(getpid())"))
    await state.close()
    let next = try await folder.open()
    await next.close()
  }

  @Test func aWriterInAnotherProcessIsNamedAndItsEndFreesTheFile() async throws {
    try await fill()
    let other = Process()
    other.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    other.arguments = [
      "python3", "-c",
      """
      import fcntl, os, sys, time
      f = open(sys.argv[1] + ".lock", "r+")
      fcntl.flock(f, fcntl.LOCK_EX)
      os.pwrite(f.fileno(), b"%d\\n" % os.getpid(), 0)
      print("held", flush=True)
      time.sleep(600)
      """, folder.path,
    ]
    let output = Pipe()
    other.standardOutput = output
    try other.run()
    _ = output.fileHandleForReading.availableData
    #expect(await folder.refusal().contains("process \(other.processIdentifier)"))
    kill(other.processIdentifier, SIGKILL)
    other.waitUntilExit()
    let state = try await folder.open()
    await state.close()
  }

  @Test func aReaderReadsBesideTheWriterAndWritesNothing() async throws {
    let state = try await folder.open()
    let reader = try await folder.open("p", .reader)
    #expect(reader.id == state.id)
    let seen = try await reader.open(.pipeline)
    #expect(try await seen.multiGet([key("k")]) == [nil])
    let session = try await state.open(.partition(partition))
    try await session.apply(batch { $0.put(key("k"), [1]) }, checkpoint: 1)
    let rules = try await state.open(.pipeline)
    try await rules.apply(batch { $0.put(key("k"), [2]) }, checkpoint: nil)
    // The session that was opened before the writer's sees it too.
    #expect(try await seen.multiGet([key("k")]) == [[2]])
    #expect(try await seen.scanAll(prefix: []).map(\.value) == [[2]])
    let look = try await reader.open(.partition(partition))
    #expect(look.epoch == session.epoch && look.checkpoint == 1)
    #expect(try await look.multiGet([key("k")]) == [[1]])
    #expect(try await reader.partitions() == [partition])
    await #expect(throws: StateError.self) { try await look.apply(batch { $0.put(key("k"), [3]) }, checkpoint: nil) }
    await #expect(throws: StateError.self) { try await reader.remove(partition) }
    // Reading has fenced nobody.
    try await session.apply(batch { $0.put(key("k"), [4]) }, checkpoint: 2)
    await reader.close()
    await state.close()
    let alone = try await folder.open("p", .reader)
    #expect(try await alone.open(.partition(partition)).multiGet([key("k")]) == [[4]])
    await alone.close()
  }

  @Test func aReaderOfAFileThatDoesNotExistSaysSoAndMakesNone() async throws {
    #expect(await folder.refusal(.reader).contains("cannot be opened"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
  }

  @Test func aTruncatedFileIsRefusedWithTheRemedyAndLeftAsItIs() async throws {
    for fraction in [0.9, 0.5, 0.1] {
      try? FileManager.default.removeItem(atPath: folder.path)
      try await fill()
      try rewrite { $0 = $0.prefix(Int(Double($0.count) * fraction)) }
      let before = try Data(contentsOf: URL(fileURLWithPath: folder.path))
      let message = await folder.refusal()
      #expect(message.contains("backup"), "\(fraction)")
      #expect(try Data(contentsOf: URL(fileURLWithPath: folder.path)) == before)
    }
  }

  @Test func aFileOverwrittenInTheMiddleIsRefused() async throws {
    try await fill()
    try rewrite { $0.replaceSubrange(($0.count / 2)..<($0.count / 2 + 4096), with: Data(repeating: 0xaa, count: 4096)) }
    #expect(await folder.refusal().contains("damaged"))
  }

  @Test func aFileWhoseHeaderIsDamagedIsRefused() async throws {
    try await fill()
    try rewrite { $0.replaceSubrange(0..<16, with: Data(repeating: 0, count: 16)) }
    #expect(await folder.refusal().contains("not a SQLite file"))
  }

  @Test func anEmptiedFileIsNotTakenForANewOne() async throws {
    try await fill()
    try Data().write(to: URL(fileURLWithPath: folder.path))
    let message = await folder.refusal()
    #expect(message.contains("is empty") && message.contains("backup"))
    // Moved away on purpose, it begins anew, and as another state.
    try FileManager.default.removeItem(atPath: folder.path)
    let state = try await folder.open()
    #expect(try await state.open(.pipeline).checkpoint == 0)
    await state.close()
  }

  @Test func aWriteAheadLogWithoutItsFileIsRefused() async throws {
    try Data(repeating: 1, count: 100).write(to: URL(fileURLWithPath: folder.path + "-wal"))
    #expect(await folder.refusal().contains("put the file back"))
  }

  @Test func aNewerSchemaIsRefusedWithBothVersionsByWriterAndReader() async throws {
    try await fill()
    try folder.python("import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 12')")
    for access in [SQLiteState.Access.writer, .reader] {
      let message = await folder.refusal(access)
      #expect(message.contains("version 12") && message.contains("up to 1"))
    }
  }

  @Test func aFileOfSomethingElseIsRefused() async throws {
    try folder.python("import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE mine (a)')")
    #expect(await folder.refusal().contains("not a Databus state file"))
  }

  @Test func theFilesAreTheirOwnersOnly() async throws {
    let state = try await folder.open()
    _ = try await state.open(.pipeline)
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.url.path) {
      let attributes = try FileManager.default.attributesOfItem(atPath: folder.url.appendingPathComponent(name).path)
      #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600, "\(name)")
    }
    await state.close()
  }

  @Test func aFileLockedByAnotherProgramIsUnavailableAndNotUnusable() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    let other = Process()
    let input = Pipe()
    let output = Pipe()
    other.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    other.arguments = [
      "python3", "-c",
      """
      import sqlite3, sys
      c = sqlite3.connect(sys.argv[1], isolation_level=None)
      c.execute("BEGIN IMMEDIATE")
      print("locked", flush=True)
      sys.stdin.read()
      """, folder.path,
    ]
    other.standardInput = input
    other.standardOutput = output
    try other.run()
    _ = output.fileHandleForReading.availableData
    do {
      try await session.apply(batch { $0.put(key("k"), [1]) }, checkpoint: nil)
      Issue.record("written through another's lock")
    } catch StateError.unavailable(let message) {
      #expect(message.contains(folder.path) && message.contains("locked"))
    }
    try input.fileHandleForWriting.close()
    other.waitUntilExit()
    try await session.apply(batch { $0.put(key("k"), [1]) }, checkpoint: nil)
    #expect(try await session.multiGet([key("k")]) == [[1]])
    await state.close()
  }

  @Test func aFullDiskIsUnavailableWritesNothingAndPasses() async throws {
    let state = try await folder.open()
    let session = try await state.open(.partition(partition))
    try await session.apply(batch { $0.put(key("k"), [1]) }, checkpoint: 1)
    try await state.store.limitPages(20)
    let large = batch {
      $0.put(key("k"), [2])
      $0.put(key("large"), [UInt8](repeating: 1, count: 1_000_000))
    }
    do {
      try await session.apply(large, checkpoint: 2)
      Issue.record("written to a full disk")
    } catch StateError.unavailable(let message) {
      #expect(message.contains(folder.path) && message.contains("free space"))
    }
    #expect(try await session.multiGet([key("k"), key("large")]) == [[1], nil])
    try await state.store.limitPages(1_000_000)
    try await session.apply(large, checkpoint: 2)
    #expect(try await session.multiGet([key("k")]) == [[2]])
    await state.close()
  }

  @Test func whatWasAppliedSurvivesAWriterThatIsKilled() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    for number: UInt64 in 1...20 {
      try await session.apply(batch { $0.put(key("n"), [UInt8(number)]) }, checkpoint: number)
    }
    // As after SIGKILL: the files as they are at this moment, nothing closed.
    let copy = try StateFolder()
    for suffix in ["", "-wal"] {
      try FileManager.default.copyItem(atPath: folder.path + suffix, toPath: copy.path + suffix)
    }
    let after = try await copy.open()
    #expect(after.id == state.id)
    let found = try await after.open(.pipeline)
    #expect(found.checkpoint == 20)
    #expect(try await found.multiGet([key("n")]) == [[20]])
    await after.close()
    await state.close()
  }
}
