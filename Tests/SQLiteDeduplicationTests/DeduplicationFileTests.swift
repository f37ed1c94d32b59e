import DatabusCore
import Dispatcher
import Foundation
import SQLiteClient
import Testing

@testable import SQLiteDeduplication

extension SQLiteDeduplication {
  /// Makes the file full at this many pages, as a disk would be.
  func limitPages(_ count: Int) throws { try connection?.execute("PRAGMA max_page_count = \(count)") }
}

/// The file itself: whose it is, what may be wrong with it, and what is beside its dispatcher.
@Suite struct DeduplicationFileTests {
  let folder: DeduplicationFolder
  init() throws { folder = try DeduplicationFolder() }

  /// A file of some size, closed.
  private func fill() async throws {
    let store = try await folder.open()
    _ = try await store.process((0..<20_000).map { claim(id($0), 1) })
    await store.close()
  }

  private func rewrite(_ change: (inout Data) -> Void) throws {
    var data = try Data(contentsOf: URL(fileURLWithPath: folder.path))
    change(&data)
    try data.write(to: URL(fileURLWithPath: folder.path))
  }

  @Test func aSecondDispatcherEndsAtOnceAndNamesTheHolder() async throws {
    let store = try await folder.open()
    let message = await folder.refusal()
    #expect(message.contains("another dispatcher (process \(getpid()))") && message.contains("Redis"), "\(message)")
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    await store.close()
    let next = try await folder.open()
    #expect(try await next.answer(claim(id(1), 1)) == granted)
    await next.close()
  }

  @Test func whatWasAnsweredIsThereAfterAnEndInOrder() async throws {
    let store = try await folder.open()
    _ = try await store.process([claim(id(1), 1), settle(id(1), 1, .done), claim(id(2), 1)])
    await store.close()
    let next = try await folder.open()
    #expect(try await next.answer(claim(id(1), 2)) == .done)
    #expect(try await next.answer(claim(id(2), 2)) == .busy(.seconds(60)))
    await next.close()
  }

  // MARK: Beside the dispatcher

  @Test func toolsReadAndSetMarksBesideTheDispatcher() async throws {
    let store = try await folder.open()
    let (reader, tool) = (try await folder.open(.reader), try await folder.open(.marks))
    #expect(try await reader.marks() == [])
    let mark = DispatchMark(.destination("https://a.example"), .disabled, at: 1, detail: "gone")
    try await tool.set(mark)
    #expect(try await store.marks() == [mark])
    #expect(try await reader.marks() == [mark])
    // Both write by turns.
    _ = try await store.process([claim(id(1), 1)])
    try await store.set(DispatchMark(.rule("a"), .paused, at: 2))
    try await tool.remove(mark.subject, mark.kind)
    #expect(try await reader.marks() == [DispatchMark(.rule("a"), .paused, at: 2)])
    for other in [reader, tool] {
      await #expect(throws: DeduplicationError.self) { _ = try await other.process([claim(id(1), 1)]) }
    }
    await #expect(throws: DeduplicationError.self) { try await reader.set(mark) }
    await #expect(throws: DeduplicationError.self) { try await reader.remove(.rule("a"), .paused) }
    await store.close()
    // Without a dispatcher too.
    try await tool.set(mark)
    #expect(try await reader.marks().count == 2)
    await tool.close()
    await reader.close()
  }

  @Test func manyMarksFromTwoSidesMeet() async throws {
    let store = try await folder.open()
    let tool = try await folder.open(.marks)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        for number in 0..<100 { try await tool.set(DispatchMark(.rule("\(number)"), .paused, at: 1)) }
      }
      group.addTask {
        for number: UInt64 in 0..<100 { _ = try await store.process((0..<20).map { claim(id(number * 20 + $0), 1) }) }
      }
      try await group.waitForAll()
    }
    #expect(try await store.marks().count == 100)
    await store.close()
    await tool.close()
    #expect(try folder.rows() == 2000)
  }

  @Test func aToolThatComesFirstMakesTheFileWithItsFirstMark() async throws {
    let tool = try await folder.open(.marks)
    #expect(try await tool.marks() == [])
    #expect(try await tool.states(of: [id(1)]) == [nil])
    try await tool.remove(.rule("a"), .paused)
    await #expect(throws: DeduplicationError.self) { _ = try await tool.process([claim(id(1), 1)]) }
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    let mark = DispatchMark(.destination("https://a.example"), .paused, at: 1)
    try await tool.set(mark)
    // A dispatcher that starts beside it has the mark, and the file.
    let store = try await folder.open()
    #expect(try await store.marks() == [mark])
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    await #expect(throws: DeduplicationError.self) { _ = try await tool.process([claim(id(2), 1)]) }
    try await tool.remove(mark.subject, mark.kind)
    #expect(try await store.marks() == [])
    await store.close()
    await tool.close()
  }

  @Test func aToolThatFindsTheFileWhenItWritesTakesNothingFromItsDispatcher() async throws {
    let tool = try await folder.open(.marks)
    let store = try await folder.open()
    let mark = DispatchMark(.rule("a"), .cancelled, at: 1)
    try await tool.set(mark)
    #expect(try await store.marks() == [mark])
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    await store.close()
    await tool.close()
    await #expect(throws: DeduplicationError.self) { try await tool.set(mark) }
  }

  @Test func aReaderMakesNoFile() async throws {
    #expect(await folder.refusal(.reader).contains("cannot be opened"))
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    try Data().write(to: URL(fileURLWithPath: folder.path))
    do {
      _ = try await folder.open(.reader)
      Issue.record("an empty file was opened")
    } catch DeduplicationError.unavailable(let message) {
      #expect(message.contains("holds no deliveries yet"))
    }
  }

  @Test func theFilesAreTheirOwnersOnly() async throws {
    let store = try await folder.open()
    _ = try await store.answer(claim(id(1), 1))
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.url.path) {
      let attributes = try FileManager.default.attributesOfItem(atPath: folder.url.appendingPathComponent(name).path)
      #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600, "\(name)")
    }
    await store.close()
  }

  // MARK: Damage

  @Test func aTruncatedFileIsRefusedWithTheRemedyAndLeftAsItIs() async throws {
    for fraction in [0.9, 0.5, 0.1] {
      try? FileManager.default.removeItem(atPath: folder.path)
      try await fill()
      try rewrite { $0 = $0.prefix(Int(Double($0.count) * fraction)) }
      let before = try Data(contentsOf: URL(fileURLWithPath: folder.path))
      #expect(await folder.refusal().contains("backup"), "\(fraction)")
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
    try FileManager.default.removeItem(atPath: folder.path)
    let store = try await folder.open()
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    await store.close()
  }

  @Test func anUnknownStateOfARowIsTold() async throws {
    try await fill()
    try folder.python(
      "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('UPDATE deliveries SET state = 9'); c.commit()")
    let store = try await folder.open()
    do {
      _ = try await store.answer(claim(id(1), 1))
      Issue.record("it was answered")
    } catch DeduplicationError.unusable(let message) {
      #expect(message.contains("unknown state 9"))
    }
    await store.close()
  }

  @Test func aNewerSchemaAndAnotherKindOfFileAreRefusedByAll() async throws {
    try await fill()
    try folder.python("import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 12')")
    for access in [SQLiteDeduplication.Access.dispatcher, .marks, .reader] {
      let message = await folder.refusal(access)
      #expect(message.contains("version 12") && message.contains("up to 1"))
    }
    try folder.python("import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA application_id = 7')")
    for access in [SQLiteDeduplication.Access.dispatcher, .marks, .reader] {
      #expect(await folder.refusal(access).contains("not a Databus deduplication file"))
    }
  }

  // MARK: The disk

  @Test func aFullDiskIsUnavailableAnswersNothingAndPasses() async throws {
    let store = try await folder.open()
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    try await store.limitPages(8)
    let many = (2..<5000).map { claim(id($0), 1) }
    do {
      _ = try await store.process([settle(id(1), 1, .done)] + many)
      Issue.record("written to a full disk")
    } catch DeduplicationError.unavailable(let message) {
      #expect(message.contains(folder.path) && message.contains("free space"))
    }
    // All of a call or nothing.
    #expect(try await store.answer(claim(id(1), 2)) == .busy(.seconds(60)))
    try await store.limitPages(1_000_000)
    #expect(try await store.process([settle(id(1), 1, .done)] + many).dropFirst().allSatisfy { $0 == granted })
    await store.close()
  }

  @Test func anIdleStoreThatCannotForgetSaysSo() async throws {
    let log = LogLines()
    let store = try await folder.open(busyTimeout: .milliseconds(1), log: log.logger)
    let clock = folder.clock
    _ = try await store.process((0..<100).map { claim(id($0), 1, lease: .seconds(1), retention: .seconds(1)) })
    let other = try SQLiteConnection(path: folder.path, access: .readWrite)
    try other.beginWriting()
    for _ in 0..<4 {
      await clock.waitForSleepers()
      clock.advance(by: .seconds(1))
    }
    await clock.waitForSleepers()
    #expect(log.all.contains { $0.what.contains("cannot be removed") && $0.place == folder.path })
    other.rollback()
    clock.advance(by: .seconds(1))
    await clock.waitForSleepers()
    #expect(try folder.rows() == 0)
    await store.close()
  }

  @Test func aFileLockedByAnotherProgramIsUnavailable() async throws {
    let store = try await folder.open(busyTimeout: .milliseconds(100))
    let other = Process()
    let (input, output) = (Pipe(), Pipe())
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
    (other.standardInput, other.standardOutput) = (input, output)
    try other.run()
    _ = output.fileHandleForReading.availableData
    do {
      _ = try await store.answer(claim(id(1), 1))
      Issue.record("written through another's lock")
    } catch DeduplicationError.unavailable(let message) {
      #expect(message.contains(folder.path) && message.contains("locked"))
    }
    try input.fileHandleForWriting.close()
    other.waitUntilExit()
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    await store.close()
  }
}
