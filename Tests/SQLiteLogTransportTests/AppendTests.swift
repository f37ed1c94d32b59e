import DatabusCore
import Foundation
import Testing

@testable import SQLiteLogTransport

/// `SQLiteLog.append`: records without a sink.
@Suite struct AppendTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  private static func record(_ value: String, key: String? = nil) -> LogRecord {
    LogRecord(key: bytes(key), value: bytes(value))
  }

  /// Returns once so many calls wait behind the one that the writer is at.
  private func wait(for sends: Int, in log: SQLiteLog) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while log.file.queue.waiting.sends < sends {
      try #require(ContinuousClock.now < deadline, "\(log.file.queue.waiting.sends) calls wait, not \(sends)")
      await Task.yield()
    }
  }

  /// Starts a call while another process holds the file, so that the writer is at it and those that follow have to wait.
  private func first(_ log: SQLiteLog) async throws -> Task<[RecordPlace], any Error> {
    let call = Task { try await log.append([Self.record("first")], to: "t") }
    let deadline = ContinuousClock.now + .seconds(30)
    while log.file.queue.isIdle {
      try #require(ContinuousClock.now < deadline)
      await Task.yield()
    }
    while log.file.queue.waiting.sends > 0 {
      try #require(ContinuousClock.now < deadline)
      await Task.yield()
    }
    return call
  }

  @Test func callsThatWaitTogetherShareOneTransaction() async throws {
    let log = try await open(folder.path())
    _ = try await log.append([Self.record("topic")], to: "t")
    let before = await log.file.writer.transaction
    let blocker = try Blocker(folder.path())
    let call = try await first(log)
    let calls = (0..<8).map { number in Task { try await log.append([Self.record("\(number)")], to: "t") } }
    try await wait(for: 8, in: log)
    blocker.end()
    var positions = try await [call.value[0].position]
    for call in calls { positions.append(try await call.value[0].position) }
    #expect(Set(positions) == Set(2...10))
    #expect(await log.file.writer.transaction == before + 2)
    await log.close()
  }

  @Test func aCallThatAsksForTheImpossibleFailsAlone() async throws {
    var options = SQLiteLogOptions()
    options.maximumRecordBytes = 1000
    let log = try await open(folder.path(), options)
    _ = try await log.append([Self.record("topic")], to: "t")
    let blocker = try Blocker(folder.path())
    let call = try await first(log)
    let good = Task { try await log.append([Self.record("good")], to: "t") }
    let wrong = Task { try await log.append([Self.record("wrong")], to: "t", partition: 3) }
    try await wait(for: 2, in: log)
    // These are refused before they wait for anything.
    await #expect(throws: TransportError.self) {
      try await log.append([Self.record("small"), Self.record(String(repeating: "x", count: 1001))], to: "t")
    }
    await #expect(throws: TransportError.self) { try await log.append([Self.record("x")], to: "a\nb") }
    blocker.end()
    _ = try await call.value
    _ = try await good.value
    let error = await #expect(throws: TransportError.self) { try await wrong.value }
    #expect(error?.message.contains("there is no 3") == true)
    let source = try await log.makeSource("t", .everything(from: [:]))
    _ = try await source.assignments()
    #expect(try await source.values(3) == ["topic", "first", "good"])
    await source.close()
    await log.close()
  }

  @Test func recordsWithoutKeyGoTogetherAndThoseWithAKeyToItsPartition() async throws {
    let log = try await open(folder.path())
    try await log.createTopic("t", partitions: 4)
    var partitions: Set<Int> = []
    for _ in 0..<4 {
      let places = try await log.append([Self.record("a"), Self.record("b")], to: "t")
      #expect(places[0].partition == places[1].partition)
      partitions.insert(places[0].partition.index)
    }
    #expect(partitions == [0, 1, 2, 3])
    let keyed = try await log.append((0..<20).map { Self.record("\($0)", key: "k\($0 % 2)") }, to: "t")
    #expect(Set(keyed.enumerated().filter { $0.offset % 2 == 0 }.map(\.element.partition.index)).count == 1)
    #expect(try await log.append([Self.record("x", key: "k0")], to: "t", partition: 2)[0].partition.index == 2)
    await log.close()
  }

  @Test func aClosedLogTakesNothing() async throws {
    let log = try await open(folder.path())
    _ = try await log.append([Self.record("x")], to: "t")
    await log.close()
    let error = await #expect(throws: TransportError.self) { try await log.append([Self.record("y")], to: "t") }
    #expect(error?.class == .closed)
  }
}
