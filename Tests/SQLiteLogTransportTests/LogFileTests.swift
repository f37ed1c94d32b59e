import DatabusCore
import Foundation
import Testing

@testable import SQLiteLogTransport

@Suite struct LogFileTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private func refusal(_ path: String) async throws -> String {
    do {
      let log = try await open(path)
      await log.close()
      Issue.record("\(path) was opened")
      return ""
    } catch let error as TransportError {
      #expect(error.class == .transport)
      #expect(error.message.contains(path))
      return error.message
    }
  }

  @Test func aFileThatIsNoLogIsRefusedByNameAndLeftAsItIs() async throws {
    let text = folder.path("text")
    try Data(repeating: 65, count: 5000).write(to: URL(fileURLWithPath: text))
    #expect(try await refusal(text).contains("not a SQLite file"))
    #expect(try Data(contentsOf: URL(fileURLWithPath: text)) == Data(repeating: 65, count: 5000))
    let other = folder.path("other.db")
    try run(
      "python3", "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('CREATE TABLE mine (a)')", other)
    #expect(try await refusal(other).contains("not a Databus log"))
    #expect(try await refusal(folder.path("no/such/folder.db")).contains("cannot be opened"))
  }

  @Test func aLogOfANewerReleaseIsRefusedWithBothVersions() async throws {
    let path = folder.path()
    let log = try await open(path)
    try await log.send(["a"], to: "t")
    await log.close()
    try run(
      "python3", "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('PRAGMA user_version = 7')", path)
    let message = try await refusal(path)
    #expect(message.contains("version 7") && message.contains("up to 1"))
  }

  @Test func topicsAreListedMadeAndDeletedByName() async throws {
    let log = try await open(folder.path())
    try await log.createTopic("b", partitions: 2)
    try await log.createTopic("a", partitions: 1)
    #expect(try await log.topics().map(\.name) == ["a", "b"])
    #expect(try await log.topics().map(\.partitions.count) == [1, 2])
    await #expect(throws: TransportError.self) { try await log.createTopic("a", partitions: 1) }
    await #expect(throws: TransportError.self) { try await log.createTopic("", partitions: 1) }
    await #expect(throws: TransportError.self) { try await log.createTopic("x\u{0}y", partitions: 1) }
    await #expect(throws: TransportError.self) { try await log.createTopic("c", partitions: 0) }
    await #expect(throws: TransportError.self) { try await log.deleteTopic("none") }
    try await log.createTopic("'; DROP TABLE topics; --", partitions: 1)
    try await log.deleteTopic("b")
    #expect(try await log.topics().map(\.name) == ["'; DROP TABLE topics; --", "a"])
    await log.close()
    await #expect(throws: TransportError.self) { _ = try await log.topics() }
    await #expect(throws: TransportError.self) { _ = try await log.makeSource("a", .group("g")) }
  }

  @Test func theLastUserOfAFileClosesIt() async throws {
    let log = try await open(folder.path())
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    await log.close()
    _ = try sink.send(deliveries(["a"]), from: 0)
    await ends.wait(for: 1)
    #expect(ends.completed == [1])
    await sink.close()
    // SQLite removes the write-ahead log with the last connection.
    #expect(!FileManager.default.fileExists(atPath: folder.path() + "-wal"))
  }

  @Test func murmur2IsKafkas() {
    // Test vectors of Kafka's own client (UtilsTest.testMurmur2).
    let vectors: [(String, Int32)] = [
      ("21", -973_932_308), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536),
      ("a-little-bit-longer-string", -1_486_304_829),
      ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
    ]
    for (text, hash) in vectors {
      #expect([UInt8](text.utf8).withUnsafeBytes { Int32(bitPattern: Partitioner.murmur2($0)) } == hash, "\(text)")
    }
    #expect([UInt8]("abc".utf8).withUnsafeBytes { Int32(bitPattern: Partitioner.murmur2($0)) } == 479_470_107)
  }
}
