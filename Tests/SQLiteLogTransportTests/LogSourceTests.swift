import DatabusCore
import Foundation
import Testing

@testable import SQLiteLogTransport

@Suite struct LogSourceTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  @Test func aBatchHoldsAtMostWhatWasAskedFor() async throws {
    let log = try await open(folder.path())
    try await log.send((0..<10).map { "\($0)aaaaaaaaa" }, to: "t")
    let source = try await log.makeSource("t", .everything(from: [:]))
    let assignment = try await source.assignments()[0]
    func values(_ told: Told) -> Int {
      guard case .batch(assignment, let seen) = told else { return -1 }
      return seen.count
    }
    #expect(values(try await source.told(records: 3)) == 3)
    #expect(values(try await source.told(records: 100, bytes: 25)) == 2)
    // A first record that alone is larger comes all the same.
    #expect(values(try await source.told(records: 100, bytes: 1)) == 1)
    #expect(values(try await source.told(records: 100)) == 4)
    #expect(try await source.told() == .idle)
    await source.close()
    await log.close()
  }

  @Test func aSourceStartsWhereItIsToldAndIgnoresPositionsOfAnotherLife() async throws {
    let log = try await open(folder.path())
    try await log.send(["a", "b", "c"], to: "t")
    let partition = try await log.topics()[0].partitions[0]
    let other = PartitionID(stream: "t", incarnation: "another", index: 0)
    let source = try await log.makeSource("t", .everything(from: [partition: Position(next: 3)]))
    _ = try await source.assignments()
    #expect(try await source.values(1) == ["c"])
    let fresh = try await log.makeSource("t", .everything(from: [other: Position(next: 3)]))
    _ = try await fresh.assignments()
    #expect(try await fresh.values(3) == ["a", "b", "c"])
    await #expect(throws: TransportError.self) { try await fresh.bounds(of: [other]) }
    await source.close()
    await fresh.close()
    await log.close()
  }

  @Test func aGroupDeliversNothingBeforeSeekAndResumesAtItsCommit() async throws {
    let log = try await open(folder.path())
    try await log.send(["a", "b", "c", "d"], to: "t")
    let source = try await log.makeSource("t", .group("g"))
    let assignment = try await source.assignments()[0]
    #expect(try await source.told(wait: .milliseconds(20)) == .idle)
    #expect(try await source.committed([assignment]) == [nil])
    try await source.seek(assignment, to: Position(next: 1))
    #expect(try await source.records(2, atMost: 2).map(\.value) == ["a", "b"])
    let mark = CommitMark(assignment: assignment, position: Position(next: 3), metadata: "backend/7/x")
    #expect(try await source.commit([mark]) == [])
    await source.close()

    let next = try await log.makeSource("t", .group("g"))
    let again = try await next.assignments()[0]
    #expect(again.partition == assignment.partition)
    #expect(again.generation > assignment.generation)
    let committed = try await next.committed([again])
    #expect(committed == [CommittedPosition(position: Position(next: 3), metadata: "backend/7/x")])
    try await next.seek(again, to: Position(next: 3))
    #expect(try await next.values(2) == ["c", "d"])
    // The closed one's ownership is over.
    await #expect(throws: TransportError.self) { try await source.commit([mark]) }
    #expect(try await next.commit([mark]) == [assignment])
    await next.close()
    await log.close()
  }

  @Test func seekDropsWhatWasReadAheadAndPausingKeepsRecordsBack() async throws {
    let log = try await open(folder.path())
    try await log.send((1...9).map(String.init), to: "t")
    let source = try await log.makeSource("t", .everything(from: [:]))
    let assignment = try await source.assignments()[0]
    #expect(try await source.records(5, atMost: 5).map(\.value) == ["1", "2", "3", "4", "5"])
    try await source.seek(assignment, to: Position(next: 2))
    #expect(try await source.records(2, atMost: 2).map(\.value) == ["2", "3"])
    try await source.pause([assignment], true)
    #expect(try await source.told(wait: .milliseconds(20)) == .idle)
    try await source.pause([assignment], false)
    #expect(try await source.records(1, atMost: 1).map(\.value) == ["4"])
    await source.close()
    await log.close()
  }

  @Test func aPositionPastTheEndIsAGapToTheEnd() async throws {
    let log = try await open(folder.path())
    try await log.send(["a"], to: "t")
    let source = try await log.makeSource("t", .everything(from: [:]))
    let assignment = try await source.assignments()[0]
    try await source.seek(assignment, to: Position(next: 50))
    #expect(try await source.toldSomething() == .gap(assignment, 50, 2))
    try await log.send(["b"], to: "t")
    #expect(try await source.values(1) == ["b"])
    await source.close()
    await log.close()
  }

  @Test func anEmptyTopicHasABeginningThatIsItsEnd() async throws {
    let log = try await open(folder.path())
    let source = try await log.makeSource("new", .everything(from: [:]))
    let partitions = try await source.partitions()
    #expect(partitions.count == 1)
    let one = Position(next: 1)
    #expect(try await source.bounds(of: partitions) == [PartitionBounds(first: one, end: one, isTruncated: false)])
    _ = try await source.assignments()
    #expect(try await source.told() == .idle)
    await source.close()
    await log.close()
  }

  @Test func keysStayTogetherAndAllPartitionsAreRead() async throws {
    let log = try await open(folder.path())
    try await log.createTopic("t", partitions: 4)
    for round in 0..<3 {
      for key in 0..<20 { try await log.send(["\(round)"], to: "t", key: "key-\(key)") }
    }
    let source = try await log.makeSource("t", .everything(from: [:]))
    #expect(try await source.assignments().map(\.partition.index) == [0, 1, 2, 3])
    let seen = try await source.records(60)
    let byKey = Dictionary(grouping: seen, by: \.key)
    #expect(byKey.count == 20)
    for records in byKey.values {
      #expect(Set(records.map(\.partition)).count == 1)
      #expect(records.map(\.value) == ["0", "1", "2"])
    }
    #expect(Set(seen.map(\.partition)).count == 4)
    await source.close()
    await log.close()
  }

  @Test func recordsWithoutKeyAreSpreadOverThePartitions() async throws {
    let log = try await open(folder.path())
    try await log.createTopic("t", partitions: 3)
    for number in 0..<9 { try await log.send(["\(number)"], to: "t") }
    #expect(try await log.topics()[0].bounds.map(\.end.next) == [4, 4, 4])
    await log.close()
  }

  @Test func noPartitionKeepsTheOthersFromTheirTurn() async throws {
    let log = try await open(folder.path())
    try await log.createTopic("t", partitions: 2)
    for number in 0..<20 { try await log.send(["\(number)"], to: "t") }
    let source = try await log.makeSource("t", .everything(from: [:]))
    _ = try await source.assignments()
    let turns = try await source.records(6, atMost: 1).map(\.partition.index)
    #expect(turns == [0, 1, 0, 1, 0, 1])
    await source.close()
    await log.close()
  }

  @Test func aPartitionThatIsAddedIsAssignedToAGroupAndToEveryReader() async throws {
    let log = try await open(folder.path())
    let reader = try await log.makeSource("t", .everything(from: [:]))
    let member = try await log.makeSource("t", .group("g"))
    #expect(try await reader.assignments().count == 1)
    #expect(try await member.assignments().count == 1)
    try await log.addPartitions("t", to: 3)
    #expect(try await reader.assignments().map(\.partition.index) == [1, 2])
    let added = try await member.assignments()
    #expect(added.map(\.partition.index) == [1, 2])
    #expect(
      try await member.commit([CommitMark(assignment: added[1], position: Position(next: 1), metadata: "")]) == [])
    await #expect(throws: TransportError.self) { try await log.addPartitions("t", to: 2) }
    await reader.close()
    await member.close()
    await log.close()
  }

  @Test func aTopicMadeAnewHasAnotherIncarnationAndItsReadersAreTold() async throws {
    let log = try await open(folder.path())
    try await log.send(["old"], to: "t")
    let reader = try await log.makeSource("t", .everything(from: [:]))
    let member = try await log.makeSource("t", .group("g"))
    let old = try await reader.assignments()
    let owned = try await member.assignments()
    #expect(try await reader.values(1) == ["old"])
    try await log.deleteTopic("t")
    #expect(try await reader.toldSomething() == .lost(old))
    #expect(try await member.toldSomething() == .lost(owned))
    #expect(try await log.topics().isEmpty)
    try await log.send(["new"], to: "t")
    let fresh = try await reader.assignments()
    #expect(fresh[0].partition.incarnation != old[0].partition.incarnation)
    #expect(fresh[0].generation > old[0].generation)
    #expect(try await reader.records(1).map(\.position) == [1])
    #expect(
      try await member.commit([CommitMark(assignment: owned[0], position: Position(next: 2), metadata: "")]) == owned)
    let again = try await member.assignments()
    #expect(again[0].partition == fresh[0].partition)
    #expect(try await member.committed(again) == [nil])
    await reader.close()
    await member.close()
    await log.close()
  }

  @Test func positionsAreFoundByTime() async throws {
    let clock = HandClock()
    let log = try await open(folder.path(), clock: clock)
    let start = clock.wallMilliseconds()
    for number in 0..<7 {
      try await log.send(["\(number)", "again"], to: "t")
      clock.advance(.seconds(1))
    }
    let source = try await log.makeSource("t", .everything(from: [:]))
    let partitions = try await source.partitions()
    func position(_ time: Int64) async throws -> UInt64 {
      try await source.positions(of: partitions, at: time)[0].next
    }
    #expect(try await position(0) == 1)
    #expect(try await position(start) == 1)
    #expect(try await position(start + 1) == 3)
    #expect(try await position(start + 3000) == 7)
    #expect(try await position(start + 6001) == 15)
    await source.close()
    await log.close()
  }

  @Test func closingEndsAWaitingNext() async throws {
    let log = try await open(folder.path())
    let reader = try await log.makeSource("t", .everything(from: [:]))
    _ = try await reader.assignments()
    let owner = try await log.makeSource("t", .group("g"))
    _ = try await owner.assignments()
    let standby = try await log.makeSource("t", .group("g"))
    for source in [reader, owner, standby] {
      let waiting = Task { try await source.told(wait: .seconds(60)) }
      await source.close()
      do {
        let told = try await waiting.value
        Issue.record("told \(told)")
      } catch let error as TransportError {
        #expect(error.class == .closed)
      }
    }
    await log.close()
  }

  @Test func anAppendOfAnotherProcessIsSeenWithinMilliseconds() async throws {
    let path = folder.path()
    let log = try await open(path)
    try await log.send(["first"], to: "t")
    let source = try await log.makeSource("t", .everything(from: [:]))
    _ = try await source.assignments()
    #expect(try await source.values(1) == ["first"])
    let waiting = Task {
      let seen = try await source.records(1)
      return (seen, Date().timeIntervalSince1970)
    }
    let written = try run(
      "python3", "-c",
      """
      import sqlite3, sys, time
      c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
      c.execute("BEGIN IMMEDIATE")
      c.execute("INSERT INTO log_1_0 (id, value, timestamp) VALUES (2, CAST('second' AS BLOB), 9)")
      c.execute("UPDATE partitions SET next = 3 WHERE topic = 1 AND number = 0")
      c.execute("COMMIT")
      print(time.time())
      """, path)
    let (seen, moment) = try await waiting.value
    #expect(seen.map(\.value) == ["second"])
    let delay = moment - (Double(written.trimmingCharacters(in: .whitespacesAndNewlines)) ?? 0)
    // Typically 3 ms; the bound is that of a machine that is busy with other tests.
    #expect(delay < 1)
    await source.close()
    await log.close()
  }

  @Test func theSameRecordsAreReadAgainWithTheSameIdentity() async throws {
    let path = folder.path()
    var passes: [[Seen]] = []
    let log = try await open(path)
    try await log.send(["a", "b"], to: "t", key: "k")
    await log.close()
    for _ in 0..<2 {
      let log = try await open(path)
      let source = try await log.makeSource("t", .everything(from: [:]))
      _ = try await source.assignments()
      passes.append(try await source.records(2))
      await source.close()
      await log.close()
    }
    #expect(passes[0] == passes[1])
    #expect(passes[0][0].timestamp.map { $0 > 1_600_000_000_000 } == true)
  }
}
