import DatabusCore
import Foundation
import Testing

@testable import SQLiteLogTransport

@Suite struct RetentionTests {
  let folder: TemporaryFolder
  let clock = HandClock()
  init() throws { folder = try TemporaryFolder() }

  private func open(_ retention: LogRetention) async throws -> SQLiteLog {
    var options = SQLiteLogOptions()
    options.retention = ["t": retention]
    // Only when a test asks for it.
    options.retentionInterval = .seconds(1_000_000)
    return try await SQLiteLogTransportTests.open(folder.path(), options, clock: clock)
  }

  /// A log with this retention that holds values already: the append does not apply it.
  private func filled(_ retention: LogRetention, with values: [String]) async throws -> SQLiteLog {
    let log = try await SQLiteLogTransportTests.open(folder.path(), clock: clock)
    try await log.send(values, to: "t")
    await log.close()
    return try await open(retention)
  }

  private func bounds(_ log: SQLiteLog) async throws -> [UInt64] {
    let bounds = try await log.topics()[0].bounds[0]
    return [bounds.first.next, bounds.end.next]
  }

  @Test func withoutRetentionEverythingStays() async throws {
    let log = try await SQLiteLogTransportTests.open(folder.path())
    try await log.send(["a", "b"], to: "t")
    #expect(try await log.applyRetention("t") == 0)
    #expect(try await log.topics()[0].bounds[0].isTruncated == false)
    await log.close()
  }

  @Test func recordsAreRemovedByNumber() async throws {
    let log = try await filled(LogRetention(records: 3), with: (0..<10).map(String.init))
    #expect(try await log.applyRetention("t") == 7)
    #expect(try await bounds(log) == [8, 11])
    #expect(try await log.topics()[0].bounds[0].isTruncated)
    let source = try await log.makeSource("t", .everything(from: [:]))
    let assignment = try await source.assignments()[0]
    #expect(try await source.values(3) == ["7", "8", "9"])
    try await source.seek(assignment, to: Position(next: 2))
    #expect(try await source.toldSomething() == .gap(assignment, 2, 8))
    #expect(try await source.values(3) == ["7", "8", "9"])
    await source.close()
    await log.close()
  }

  @Test func recordsAreRemovedByAge() async throws {
    let log = try await open(LogRetention(age: .seconds(60)))
    try await log.send(["old", "old"], to: "t")
    clock.advance(.seconds(50))
    try await log.send(["young"], to: "t")
    #expect(try await log.applyRetention("t") == 0)
    clock.advance(.seconds(11))
    #expect(try await log.applyRetention("t") == 2)
    #expect(try await bounds(log) == [3, 4])
    clock.advance(.seconds(100))
    #expect(try await log.applyRetention("t") == 1)
    #expect(try await bounds(log) == [4, 4])
    // A row's number is never given twice, though the partition is empty.
    #expect(try await log.append([LogRecord(value: [1])], to: "t")[0].position == 4)
    await log.close()
  }

  @Test func recordsAreRemovedByBytes() async throws {
    let log = try await filled(LogRetention(bytes: 250), with: (0..<10).map { _ in String(repeating: "x", count: 100) })
    #expect(try await log.applyRetention("t") == 8)
    #expect(try await bounds(log) == [9, 11])
    #expect(try await log.applyRetention("t") == 0)
    await log.close()
  }

  @Test func moreThanOneTransactionCanRemoveIsRemovedAll() async throws {
    let log = try await filled(LogRetention(records: 5), with: (0..<25_000).map { _ in "x" })
    #expect(try await log.applyRetention("t") == 24_995)
    #expect(try await bounds(log) == [24_996, 25_001])
    await log.close()
  }

  @Test func whatTheSlowestGroupHasNotReadStays() async throws {
    let log = try await filled(LogRetention(records: 1), with: (0..<10).map(String.init))
    let slow = try await log.makeSource("t", .group("slow"))
    let fast = try await log.makeSource("t", .group("fast"))
    let slowAssignment = try await slow.assignments()[0]
    let fastAssignment = try await fast.assignments()[0]
    _ = try await fast.commit([CommitMark(assignment: fastAssignment, position: Position(next: 9), metadata: "")])
    // A group that has not committed yet holds everything.
    #expect(try await log.applyRetention("t") == 0)
    _ = try await slow.commit([CommitMark(assignment: slowAssignment, position: Position(next: 4), metadata: "")])
    #expect(try await log.applyRetention("t") == 3)
    #expect(try await bounds(log) == [4, 11])
    await slow.close()
    await #expect(throws: TransportError.self) { try await log.removeGroup("fast", of: "t") }
    try await log.removeGroup("slow", of: "t")
    #expect(try await log.applyRetention("t") == 5)
    await fast.close()
    await log.close()
  }

  @Test func forcedRetentionPassesAGroupAndTellsItOfTheGap() async throws {
    let log = try await filled(LogRetention(records: 1, force: true), with: (0..<10).map(String.init))
    let source = try await log.makeSource("t", .group("g"))
    let assignment = try await source.assignments()[0]
    try await source.seek(assignment, to: Position(next: 1))
    #expect(try await source.records(2, atMost: 2).count == 2)
    #expect(try await log.applyRetention("t") == 9)
    #expect(try await source.toldSomething() == .gap(assignment, 3, 10))
    #expect(try await source.values(1) == ["9"])
    await source.close()
    await log.close()
  }

  @Test func appendsLookForWhatIsToBeRemovedNowAndThen() async throws {
    var options = SQLiteLogOptions()
    options.retention = ["*": LogRetention(records: 2)]
    let log = try await SQLiteLogTransportTests.open(folder.path(), options, clock: clock)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    _ = try sink.send(deliveries(["a", "b", "c"]), from: 0)
    await ends.wait(for: 3)
    _ = try sink.send(deliveries(["d"]), from: 0)
    await ends.wait(for: 4)
    // Asked of the writer, which is at it, so the answer comes behind it.
    _ = try await log.append([], to: "t")
    #expect(try await bounds(log) == [2, 5])
    clock.advance(.seconds(11))
    _ = try sink.send(deliveries(["e"]), from: 0)
    await ends.wait(for: 5)
    _ = try await log.append([], to: "t")
    #expect(try await bounds(log) == [4, 6])
    await sink.close()
    await log.close()
  }
}
