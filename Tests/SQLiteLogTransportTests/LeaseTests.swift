import DatabusCore
import Foundation
import Testing

@testable import SQLiteLogTransport

@Suite struct LeaseTests {
  let folder: TemporaryFolder
  let clock = HandClock()
  init() throws { folder = try TemporaryFolder() }

  /// Another process of this machine that lives until it is told to end.
  final class Other {
    let process = Process()
    init() throws {
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = ["sleep", "600"]
      try process.run()
    }
    var identity: ProcessIdentity { ProcessIdentity(process: process.processIdentifier) }
    func kill() {
      Foundation.kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    deinit { if process.isRunning { kill() } }
  }

  @Test func aSecondSourceOfTheGroupStandsByAndTakesOverWhenTheFirstCloses() async throws {
    let log = try await open(folder.path(), clock: clock)
    let first = try await log.makeSource("t", .group("g"))
    let owned = try await first.assignments()
    let second = try await log.makeSource("t", .group("g"))
    #expect(try await second.told(wait: .milliseconds(150)) == .idle)
    let mark = CommitMark(assignment: owned[0], position: Position(next: 5), metadata: "m")
    #expect(try await second.commit([mark]) == owned)
    await first.close()
    let taken = try await second.assignments()
    #expect(taken[0].generation == owned[0].generation + 1)
    #expect(try await second.committed(taken) == [nil])
    await second.close()
    await log.close()
  }

  @Test func anotherGroupOfTheTopicReadsForItself() async throws {
    let log = try await open(folder.path(), clock: clock)
    try await log.send(["a"], to: "t")
    for group in ["g", "h"] {
      let source = try await log.makeSource("t", .group(group))
      let assignment = try await source.assignments()[0]
      try await source.seek(assignment, to: Position(next: 1))
      #expect(try await source.values(1) == ["a"])
      await source.close()
    }
    await log.close()
  }

  @Test func anOwnerThatDoesNotRenewLosesItsLeaseAndItsCommitIsRefused() async throws {
    let here = try await open(folder.path(), clock: clock)
    let frozen = HandClock()
    let other = try Other()
    // A process that is stopped: its clock stands still, so it renews nothing, and it still lives.
    let there = try await open(folder.path(), clock: frozen, process: other.identity)
    let stale = try await there.makeSource("t", .group("g"))
    let owned = try await stale.assignments()
    let standby = try await here.makeSource("t", .group("g"))
    clock.advance(.seconds(4))
    #expect(try await standby.told(wait: .milliseconds(150)) == .idle)
    clock.advance(.seconds(2))
    let taken = try await standby.assignments()
    #expect(taken[0].generation == owned[0].generation + 1)
    let mark = CommitMark(assignment: owned[0], position: Position(next: 9), metadata: "stale")
    #expect(try await stale.commit([mark]) == owned)
    #expect(try await stale.toldSomething() == .lost(owned))
    #expect(try await standby.committed(taken) == [nil])
    await stale.close()
    // The stale one's close has not touched the new owner's lease.
    #expect(
      try await standby.commit([CommitMark(assignment: taken[0], position: Position(next: 2), metadata: "")]) == [])
    await standby.close()
    await here.close()
    await there.close()
  }

  @Test func renewalKeepsTheLeaseForAsLongAsTheOwnerLives() async throws {
    let log = try await open(folder.path(), clock: clock)
    let owner = try await log.makeSource("t", .group("g"))
    let owned = try await owner.assignments()
    let standby = try await log.makeSource("t", .group("g"))
    for _ in 0..<12 {
      while clock.state.withLock({ $0.sleepers.isEmpty }) { await Task.yield() }
      clock.advance(.seconds(1))
    }
    #expect(try await standby.told(wait: .milliseconds(150)) == .idle)
    #expect(
      try await owner.commit([CommitMark(assignment: owned[0], position: Position(next: 1), metadata: "")]) == [])
    await owner.close()
    await standby.close()
    await log.close()
  }

  @Test func anOwnerWhoseProcessIsGoneIsReplacedAtOnce() async throws {
    let other = try Other()
    let there = try await open(folder.path(), clock: clock, process: other.identity)
    let owner = try await there.makeSource("t", .group("g"))
    let owned = try await owner.assignments()
    let here = try await open(folder.path(), clock: clock)
    let standby = try await here.makeSource("t", .group("g"))
    #expect(try await standby.told(wait: .milliseconds(150)) == .idle)
    other.kill()
    // The clock has not moved: the lease is as good as new.
    let taken = try await standby.assignments()
    #expect(taken[0].generation == owned[0].generation + 1)
    await standby.close()
    await here.close()
    await there.close()
  }

  @Test func aLostLeaseIsToldByTheNextRenewal() async throws {
    let other = try Other()
    let there = try await open(folder.path(), clock: clock, process: other.identity)
    let owner = try await there.makeSource("t", .group("g"))
    let owned = try await owner.assignments()
    let identity = other.identity
    other.kill()
    #expect(identity.isGone(asSeenBy: .own))
    let here = try await open(folder.path(), clock: clock)
    let standby = try await here.makeSource("t", .group("g"))
    _ = try await standby.assignments()
    while clock.state.withLock({ $0.sleepers.count < 2 }) { await Task.yield() }
    clock.advance(.seconds(1))
    #expect(try await owner.toldSomething() == .lost(owned))
    await owner.close()
    await standby.close()
    await here.close()
    await there.close()
  }

  @Test func releasingAllPartitionsGivesTheGroupToTheStandby() async throws {
    let log = try await open(folder.path(), clock: clock)
    try await log.createTopic("t", partitions: 2)
    let first = try await log.makeSource("t", .group("g"))
    let owned = try await first.assignments()
    let second = try await log.makeSource("t", .group("g"))
    try await first.release([owned[0]])
    #expect(try await second.told(wait: .milliseconds(150)) == .idle)
    try await first.release([owned[1]])
    #expect(try await first.told(wait: .milliseconds(20)) == .idle)
    #expect(try await second.assignments().count == 2)
    await first.close()
    await second.close()
    await log.close()
  }

  @Test func anOperatorSetsAPositionOnlyWhileNobodyReads() async throws {
    let log = try await open(folder.path(), clock: clock)
    try await log.send(["a", "b", "c"], to: "t")
    let owner = try await log.makeSource("t", .group("g"))
    let owned = try await owner.assignments()
    let partition = owned[0].partition
    let mark = CommitMark(assignment: owned[0], position: Position(next: 3), metadata: "m")
    #expect(try await owner.commit([mark]) == [])
    do {
      try await log.setGroupPosition("g", partition, to: Position(next: 1))
      Issue.record("set while the group is alive")
    } catch let error as TransportError {
      #expect(error.message.contains("process \(getpid())") && error.message.contains("stop it"))
    }
    await owner.close()
    try await log.setGroupPosition("g", partition, to: Position(next: 2))
    let found = try await log.groupPositions("g", stream: "t")
    #expect(found.map(\.partition) == [partition])
    #expect(found.map(\.committed) == [CommittedPosition(position: Position(next: 2), metadata: "")])
    // A group that has never read can be given a position too.
    try await log.setGroupPosition("new", partition, to: Position(next: 3))
    #expect(try await log.groupPositions("new", stream: "t")[0].committed?.position.next == 3)
    #expect(try await log.groupPositions("none", stream: "t")[0].committed == nil)
    let gone = PartitionID(stream: "t", incarnation: "another", index: 0)
    await #expect(throws: TransportError.self) { try await log.setGroupPosition("g", gone, to: Position(next: 2)) }
    await log.close()
  }

  @Test func aProcessOfAnotherBootIsGoneAndOneOfAnotherNamespaceIsNotJudged() {
    var other = ProcessIdentity.own
    #expect(!other.isGone(asSeenBy: .own))
    other.boot = "an earlier boot"
    #expect(other.isGone(asSeenBy: .own))
    other = .own
    other.start += 1
    #expect(other.isGone(asSeenBy: .own))
    other.namespace = "a container's"
    #expect(!other.isGone(asSeenBy: .own))
    #expect(ProcessIdentity(ProcessIdentity.own.text) == .own)
    #expect(ProcessIdentity("nonsense") == nil)
  }
}
