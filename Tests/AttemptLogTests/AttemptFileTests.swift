import DatabusCore
import Dispatcher
import Foundation
import SQLiteClient
import Testing

@testable import AttemptLog

/// The file: its bounds, its readers, and a disk that is too slow.
@Suite struct AttemptFileTests {
  private let folder: AttemptFolder
  init() throws { folder = try AttemptFolder() }

  @Test func theOldestNotesGoAboveTheNumber() async throws {
    for start in [0, 40, 80] {
      try await folder.write((start..<start + 40).map { note("d\($0)", .delivered) }, records: 100)
    }
    #expect(try folder.count() == 100)
    #expect(try await folder.read { try await $0.story(of: "d19") } == nil)
    #expect(try await folder.read { try await $0.story(of: "d20") } != nil)
    #expect(try await folder.read { try await $0.story(of: "d119") } != nil)
  }

  @Test func oldNotesGo() async throws {
    let now = SystemClock().wallMilliseconds()
    try await folder.write(
      [note("a", .delivered, at: now - 7_200_000), note("b", .delivered, at: now)], age: .seconds(3600))
    #expect(try await folder.stories() == ["b"])
  }

  @Test func aLogThatIsMadeSmallerForgetsWithoutFurtherNotes() async throws {
    try await folder.write((0..<10_000).map { note("d\($0)", .delivered) })
    let log = try await folder.open(records: 10)
    try await eventually("all but ten are gone") { try folder.count() == 10 }
    await log.close()
    #expect(try await folder.read { try await $0.story(of: "d9999") } != nil)
  }

  @Test func notesAreReadWhileTheLogIsOpen() async throws {
    let log = try await folder.open()
    log.note([note("a", .failed)])
    try await eventually("it is there") { try await folder.stories() == ["a"] }
    log.note([note("a", .delivered)])
    try await eventually("the second one is there") {
      try await folder.read { try await $0.story(of: "a") }?.entries.count == 2
    }
    await log.close()
    // What comes behind the end is counted.
    log.note([note("b", .delivered)])
    #expect(folder.counter("databus_dispatch_notes_dropped_total") == 1)
  }

  @Test func twoProcessesNoteInOneFile() async throws {
    let logs = [try await folder.open(), try await folder.open()]
    for number in 0..<200 { logs[number % 2].note([note("d\(number)", .delivered)]) }
    for log in logs { await log.close() }
    #expect(try folder.count("SELECT count(DISTINCT delivery) FROM notes") == 200)
  }

  @Test func whatTheDiskIsTooSlowForIsDroppedCountedAndSaid() async throws {
    let log = try await AttemptLog(
      AttemptsConfiguration(path: folder.path), queueLimit: 100, clock: SystemClock(), metrics: folder.metrics,
      log: Logger(part: "attempts", minimum: .info, sink: folder.lines))
    let blocker = try SQLiteConnection(path: folder.path, access: .readWrite)
    try blocker.beginWriting()
    for number in 0..<1000 { log.note([note("d\(number)", .delivered)]) }
    // At most 100 in the queue, and as many in the hands of the writer, which waits for the file.
    let dropped = folder.counter("databus_dispatch_notes_dropped_total")
    #expect((800...900).contains(dropped))
    blocker.rollback()
    await log.close()
    #expect(try folder.count() == 1000 - dropped)
    #expect(folder.counter("databus_dispatch_notes_total") == 1000 - dropped)
    // Said when it is known, and at the end; each note is in one line.
    let lines = folder.lines.all
    #expect((1...2).contains(lines.count), "\(lines)")
    #expect(lines.allSatisfy { $0.hasSuffix("notes of deliveries are missing in the log of attempts") }, "\(lines)")
    #expect(lines.reduce(0) { $0 + (Int($1.prefix { $0 != " " }) ?? 0) } == dropped, "\(lines)")
  }

  @Test func whatCannotBeWrittenIsSaidOnceAndWrittenLater() async throws {
    let log = try await folder.open()
    log.note([note("a", .delivered)])
    try await eventually("it is there") { try folder.count() == 1 }
    let other = try SQLiteConnection(path: folder.path, access: .readWrite)
    try other.execute("CREATE TRIGGER broken BEFORE INSERT ON notes BEGIN SELECT RAISE(ABORT, 'no'); END")
    log.note([note("b", .delivered)])
    await eventually("it is said") { folder.lines.all.count == 1 }
    #expect(folder.lines.all.first?.contains(folder.path) == true)
    try other.execute("DROP TRIGGER broken")
    try await eventually("it is written") { try folder.count() == 2 }
    await eventually("it is said") { folder.lines.all.last == "deliveries are noted again" }
    #expect(folder.lines.all.count == 2)
    await log.close()
  }

  @Test func theFileOfSomebodyElseIsRefused() async throws {
    try SQLiteConnection(path: folder.path, access: .create).execute("CREATE TABLE t (x)")
    for open in [{ _ = try await self.folder.open() }, { _ = try await AttemptReader(path: self.folder.path) }]
      as [() async throws -> Void]
    {
      do {
        try await open()
        Issue.record("it was opened")
      } catch let error as SQLiteError {
        #expect(error.kind == .notADatabase && error.message.contains("not a Databus log of attempts"))
      }
    }
    #expect(try folder.count("SELECT count(*) FROM sqlite_schema") == 1)
  }

  @Test func theFileIsReadableByItsOwnerOnly() async throws {
    try await folder.write([note("a", .delivered)])
    let mode = try FileManager.default.attributesOfItem(atPath: folder.path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
  }
}
