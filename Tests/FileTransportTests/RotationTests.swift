import DatabusCore
import FileTransport
import Foundation
import MemoryState
import Testing

/// Files that are rotated while no process reads them.
@Suite(.timeLimit(.minutes(1))) struct RotationTests {
  let scratch: Scratch
  let identities = StateFileIdentities(MemoryState(), isWritable: true)
  init() throws { scratch = try Scratch() }

  private func follow() async throws -> any EventSource {
    try await FileTransport(
      configuration: .init(
        streams: ["events": .init(paths: [scratch.file("a")], follow: true)], pollInterval: .milliseconds(2),
        rotationGrace: .zero),
      identities: identities
    ).makeSource("events", .group("g"))
  }

  /// One process that reads one record and ends.
  private func readOne() async throws -> PartitionID {
    try scratch.write("a", "1\n")
    let source = try await follow()
    let partition = try await source.start()[0].partition
    #expect(try await source.collect(1).map(\.value) == ["1"])
    await source.close()
    return partition
  }

  @Test func `the rest of a file that was renamed meanwhile is read first`() async throws {
    let partition = try await readOne()
    try scratch.append("a", "2\n")
    try scratch.rename("a", "a-20260101")
    try scratch.write("a", "3\n")
    try scratch.write("a.other", "9\n")

    let source = try await follow()
    guard case .assigned(let assignments) = try await source.tell() else { throw Unexpected() }
    try #require(assignments.count == 2)
    #expect(assignments[0].partition == partition && assignments[1].partition.incarnation != partition.incarnation)
    try await source.seek(assignments[0], to: Position(next: 2))
    #expect(try await source.collect(1).map(\.value) == ["2"])
    #expect(try await source.tell() == .revoking([assignments[0]]))
    try await source.release([assignments[0]])
    try await source.seek(assignments[1], to: Position(next: 0))
    #expect(try await source.collect(1).map(\.value) == ["3"])
    // What was given back is forgotten after a while, and not looked for again.
    while try await identities.lives(at: scratch.file("a")).count > 1 {
      _ = try await source.tell(wait: .milliseconds(20))
    }
    #expect(
      try await identities.lives(at: scratch.file("a")).map(\.incarnation) == [assignments[1].partition.incarnation])
    await source.close()
    let again = try await follow()
    #expect(try await again.tell() == .assigned([Assignment(partition: assignments[1].partition, generation: 1)]))
    await again.close()
  }

  @Test(arguments: ["deleted", "rewritten"])
  func `a file that is nowhere to be found is told as a gap`(how: String) async throws {
    let partition = try await readOne()
    if how == "deleted" {
      try scratch.write("new", "3\n")
      rename(scratch.file("new"), scratch.file("a"))
    } else {
      let descriptor = open(scratch.file("a"), O_WRONLY | O_TRUNC)
      write(descriptor, "3\n", 2)
      close(descriptor)
    }
    let source = try await follow()
    guard case .assigned(let assignments) = try await source.tell() else { throw Unexpected() }
    try #require(assignments.count == 2)
    #expect(assignments[0].partition == partition && source.capabilities.replayable)
    for assignment in assignments {
      try await source.seek(assignment, to: Position(next: assignment == assignments[0] ? 2 : 0))
    }
    var told: [Told] = []
    while told.count < 3 { told.append(try await source.tell()) }
    #expect(told.contains(.gap(assignments[0], from: 2, to: 3)))
    #expect(told.contains(.revoking([assignments[0]])))
    await source.close()
  }

  @Test func `a file that stands where it stood is one life`() async throws {
    let partition = try await readOne()
    try scratch.append("a", "2\n")
    let source = try await follow()
    #expect(try await source.tell() == .assigned([Assignment(partition: partition, generation: 1)]))
    await source.close()
  }
}
