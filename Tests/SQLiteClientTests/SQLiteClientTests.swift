import Foundation
import SQLiteClient
import Testing

/// Real files in a folder that is removed.
@Suite final class SQLiteClientTests {
  let folder: URL

  init() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent("databus-sqlite-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(at: folder) }

  private func path(_ name: String = "a.db") -> String { folder.appendingPathComponent(name).path }

  private func connection(_ busyTimeout: Duration = .milliseconds(30)) throws -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path(), access: .create, busyTimeout: busyTimeout)
    try connection.useWriteAheadLog(.full)
    return connection
  }

  private func error(_ body: () throws -> Void) -> SQLiteError? {
    do {
      try body()
      Issue.record("nothing was thrown")
    } catch let error as SQLiteError {
      return error
    } catch {
      Issue.record("\(error)")
    }
    return nil
  }

  @Test func valuesComeBackAsTheyWereBound() throws {
    let connection = try connection()
    try connection.execute("CREATE TABLE t (a, b, c, d, e, f)")
    let insert = try connection.prepare("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?)")
    let lent: [UInt8] = [9, 0, 9]
    try lent.withUnsafeBytes { bytes in
      try insert.bind(1, Int64.min)
      try insert.bind(2, "a\u{0}ä")
      try insert.bind(3, "")
      try insert.bind(4, [] as [UInt8])
      if let start = bytes.baseAddress { try insert.bindBorrowed(5, start, bytes.count) }
      try insert.bindNull(6)
      try insert.run()
    }
    #expect(connection.changes == 1)
    let select = try connection.prepare("SELECT *, typeof(c), typeof(d), typeof(f) FROM t")
    let found: Void? = try select.first { row in
      #expect(row.integer(0) == .min)
      #expect(row.text(1) == "a\u{0}ä")
      #expect(row.text(2) == "")
      #expect(row.bytes(3) == [])
      #expect(row.bytes(4) == [9, 0, 9])
      #expect(row.isNull(5) && row.bytes(5) == nil && row.text(5) == nil)
      #expect([row.text(6), row.text(7), row.text(8)] == ["text", "blob", "null"])
    }
    #expect(found != nil)
  }

  @Test func aTransactionThatThrowsLeavesNothing() throws {
    struct Stop: Error {}
    let connection = try connection()
    try connection.execute("CREATE TABLE t (a)")
    #expect(throws: Stop.self) {
      try connection.write {
        try connection.execute("INSERT INTO t VALUES (1)")
        throw Stop()
      }
    }
    #expect(!connection.isInTransaction)
    #expect(try connection.integer("SELECT count(*) FROM t") == 0)
    try connection.write { try connection.execute("INSERT INTO t VALUES (1)") }
    #expect(try connection.integer("SELECT count(*) FROM t") == 1)
  }

  @Test func aLockedFileIsBusyAfterTheTimeAndNamesTheRemedy() throws {
    let holder = try connection()
    let other = try connection()
    try holder.beginWriting()
    let error = try #require(error { try other.beginWriting() })
    #expect(error.kind == .busy)
    #expect(error.message.contains(path()) && error.message.contains("fuser"))
    holder.rollback()
    try other.beginWriting()
    try other.commit()
  }

  @Test func aReaderSeesOneStateWhileAnotherWrites() throws {
    let writer = try connection()
    try writer.execute("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    let reader = try connection()
    try reader.read {
      #expect(try reader.integer("SELECT count(*) FROM t") == 1)
      try writer.execute("INSERT INTO t VALUES (2)")
      #expect(try reader.integer("SELECT count(*) FROM t") == 1)
    }
    #expect(try reader.integer("SELECT count(*) FROM t") == 2)
  }

  @Test func theChangeStampMovesWithEveryCommitOfAnotherConnectionAndOnlyThen() throws {
    let writer = try connection()
    try writer.execute("CREATE TABLE t (a)")
    let reader = try connection()
    _ = try reader.integer("SELECT count(*) FROM t")
    var stamps = [try #require(reader.changeStamp())]
    #expect(reader.changeStamp() == stamps[0])
    for value in 0..<50 {
      try writer.execute("INSERT INTO t VALUES (\(value))")
      stamps.append(try #require(reader.changeStamp()))
      #expect(stamps[stamps.count - 1] != stamps[stamps.count - 2])
    }
    try writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    try writer.execute("INSERT INTO t VALUES (1)")
    #expect(reader.changeStamp() != stamps.last)
    #expect(try reader.integer("SELECT count(*) FROM t") == 51)
  }

  @Test func aFullFileSaysThatThereIsNoRoom() throws {
    let connection = try connection()
    try connection.execute("CREATE TABLE t (a); PRAGMA max_page_count = 10")
    let error = try #require(error { try connection.execute("INSERT INTO t VALUES (zeroblob(1000000))") })
    #expect(error.kind == .full)
    #expect(error.message.contains(path()) && error.message.contains("free space"))
  }

  @Test func aFileThatIsNotSQLitesAndADamagedOneAreToldApart() throws {
    let text = path("text.db")
    try Data(repeating: 65, count: 4096).write(to: URL(fileURLWithPath: text))
    let notADatabase = try #require(
      error { _ = try SQLiteConnection(path: text, access: .readWrite).integer("SELECT count(*) FROM sqlite_schema") })
    #expect(notADatabase.kind == .notADatabase && notADatabase.message.contains(text))

    var connection: SQLiteConnection? = try connection()
    try connection?.execute("CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100000))")
    connection = nil
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path()))
    try handle.seek(toOffset: 4096)
    try handle.write(contentsOf: Data(repeating: 255, count: 4096))
    try handle.close()
    let corrupt = try #require(error { _ = try self.connection().text("SELECT a FROM t") })
    #expect(corrupt.kind == .corrupt)
    #expect(corrupt.message.contains(path()) && corrupt.message.contains("backup"))
  }

  @Test func aFileThatCannotBeOpenedSaysWhy() throws {
    let missing = try #require(error { _ = try SQLiteConnection(path: path("no/a.db"), access: .create) })
    #expect(missing.kind == .cannotOpen && missing.message.contains("No such file"))
    let absent = try #require(error { _ = try SQLiteConnection(path: path("absent.db"), access: .readOnly) })
    #expect(absent.kind == .cannotOpen && absent.message.contains(path("absent.db")))
    #expect(error { _ = try SQLiteConnection(path: "", access: .create) }?.kind == .cannotOpen)
    #expect(!FileManager.default.fileExists(atPath: path("absent.db")))
  }

  @Test func aConnectionForReadingRefusesToWrite() throws {
    var writer: SQLiteConnection? = try connection()
    try writer?.execute("CREATE TABLE t (a)")
    let reader = try SQLiteConnection(path: path(), access: .readOnly)
    let error = try #require(error { try reader.execute("INSERT INTO t VALUES (1)") })
    #expect(error.kind == .readOnly && error.message.contains("right to write"))
    writer = nil
  }

  @Test func aNewFileIsItsOwnersOnlyAndAnOldOneIsLeftAsItIs() throws {
    func mode() throws -> Int? {
      (try FileManager.default.attributesOfItem(atPath: path())[.posixPermissions] as? NSNumber)?.intValue
    }
    _ = try connection()
    #expect(try mode() == 0o600)
    try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: path())
    _ = try connection()
    #expect(try mode() == 0o640)
  }

  @Test func openingAFileAgainKeepsTheLocksOfThisProcess() throws {
    let holder = try connection()
    try holder.execute("CREATE TABLE t (a)")
    try holder.beginWriting()
    // Makes nothing; a careless open and close would drop the holder's locks.
    _ = try SQLiteConnection(path: path(), access: .create)
    let script = """
      import sqlite3, sys
      c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
      try:
          c.execute("BEGIN EXCLUSIVE")
          print("free")
      except sqlite3.OperationalError as e:
          print(e)
      """
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, path()]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let answer = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(answer.contains("locked"))
    holder.rollback()
  }

  // MARK: Schemas

  private func schema(_ steps: [String]) -> SQLiteSchema {
    SQLiteSchema(applicationID: "Test", name: "a test file", steps: steps)
  }
  private let first = "CREATE TABLE t (a); INSERT INTO t VALUES (1)"

  @Test func aFileIsMigratedStepByStepAndOnlyOnce() throws {
    let connection = try connection()
    try schema([first]).migrate(connection)
    #expect(try schema([first]).check(connection) == 1)
    let second = "ALTER TABLE t ADD COLUMN b; UPDATE t SET b = a + 1"
    try schema([first, second]).migrate(connection)
    try schema([first, second]).migrate(connection)
    #expect(try connection.integer("SELECT b FROM t") == 2)
    #expect(try connection.integer("SELECT count(*) FROM t") == 1)
    #expect(try connection.integer("PRAGMA user_version") == 2)
  }

  @Test func aFileThatAnotherIsJustMakingIsSeenAsEmptyOrAsWhole() throws {
    let schema = schema(["CREATE TABLE a (x)", "CREATE TABLE b (x)"])
    for round in 0..<60 {
      let path = path("\(round).db")
      let maker = try SQLiteConnection(path: path, access: .create)
      try maker.useWriteAheadLog(.normal)
      let isMade = DispatchSemaphore(value: 0)
      Thread.detachNewThread { [maker = UncheckedBox(maker)] in
        try? schema.migrate(maker.value)
        isMade.signal()
      }
      let reader = try SQLiteConnection(path: path, access: .readWrite)
      var seen = 0
      while seen != 2 {
        seen = try schema.check(reader)
        #expect(seen == 0 || seen == 2)
      }
      isMade.wait()
    }
  }

  @Test func aMigrationThatFailsLeavesTheFileAsItWas() throws {
    let connection = try connection()
    try schema([first]).migrate(connection)
    #expect(throws: SQLiteError.self) {
      try schema([first, "UPDATE t SET a = 7", "nonsense"]).migrate(connection)
    }
    #expect(try connection.integer("PRAGMA user_version") == 1)
    #expect(try connection.integer("SELECT a FROM t") == 1)
  }

  @Test func aNewerFileIsRefusedWithBothVersions() throws {
    let connection = try connection()
    try schema([first, "CREATE TABLE u (a)"]).migrate(connection)
    let error = try #require(error { try schema([first]).migrate(connection) })
    #expect(error.kind == .newerSchema)
    #expect(error.message.contains(path()) && error.message.contains("version 2") && error.message.contains("up to 1"))
  }

  @Test func aFileOfSomethingElseIsRefused() throws {
    let connection = try connection()
    try connection.execute("CREATE TABLE mine (a)")
    #expect(error { try schema([first]).migrate(connection) }?.kind == .notADatabase)
    let other = SQLiteSchema(applicationID: "Othr", name: "another file", steps: [first])
    let marked = try SQLiteConnection(path: path("b.db"), access: .create)
    try schema([first]).migrate(marked)
    #expect(error { try other.migrate(marked) }?.message.contains("not another file") == true)
  }
}

/// Hands one connection to one other thread, which alone uses it from then on.
private struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}
