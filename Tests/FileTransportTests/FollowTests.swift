import DatabusCore
import FileTransport
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct FollowTests {
  let scratch: Scratch
  let identities = MemoryFileIdentities()
  init() throws { scratch = try Scratch() }

  private func follow(_ path: String, _ mode: SourceMode = .group("g"), grace: Duration = .zero) async throws
    -> any EventSource
  {
    try await FileTransport(
      configuration: .init(
        streams: ["events": .init(paths: [path], follow: true)], pollInterval: .milliseconds(2), rotationGrace: grace),
      identities: identities
    ).makeSource("events", mode)
  }

  @Test func `a file that grows is read on, line by line`() async throws {
    let source = try await follow(try scratch.write("a", "1\n2"))
    _ = try await source.start()
    #expect(try await source.collect(1).map(\.value) == ["1"])
    #expect(try await source.tell(wait: .milliseconds(30)) == .idle)
    #expect(try await source.bounds(of: source.partitions()).map(\.end.next) == [2])
    try scratch.append("a", "2\n")
    #expect(try await source.collect(1).map(\.value) == ["22"])
    #expect(!source.capabilities.finite)
  }

  @Test func `a paused file delivers nothing while others go on`() async throws {
    let paths = try ["a", "b"].map { try scratch.write($0, "\"\($0)\"\n") }
    let source = try await FileTransport(
      configuration: .init(streams: ["events": .init(paths: paths, follow: true)], pollInterval: .milliseconds(2))
    ).makeSource("events", .group("g"))
    guard case .assigned(let assignments) = try await source.tell() else { throw Unexpected() }
    try await source.pause([assignments[0]], true)
    for assignment in assignments { try await source.seek(assignment, to: Position(next: 0)) }
    #expect(try await source.collect(1).map(\.value) == ["\"b\""])
    #expect(try await source.tell(wait: .milliseconds(50)) == .idle)
    try await source.pause([assignments[0]], false)
    #expect(try await source.collect(1).map(\.value) == ["\"a\""])
  }

  @Test func `a renamed file is read to its end before the one that took its place`() async throws {
    let path = try scratch.write("a", "1\n")
    let source = try await follow(path)
    let old = try await source.start()[0]
    #expect(try await source.collect(1).map(\.value) == ["1"])
    try await source.pause([old], true)
    try scratch.append("a", "2\n3")
    try scratch.rename("a", "a.1")
    try scratch.write("a", "4\n")
    try await source.pause([old], false)
    var told: [Told] = []
    while told.count < 4 { told.append(try await source.tell()) }
    guard case .records(old, let seen) = told[0], case .assigned(let fresh) = told[1],
      case .records(old, let last) = told[2]
    else {
      Issue.record("\(told)")
      return
    }
    #expect(seen.map(\.value) == ["2"])
    #expect(last.map(\.value) == ["3"])
    #expect(told[3] == .revoking([old]))
    #expect(fresh[0].partition.index == 0 && fresh[0].partition.incarnation != old.partition.incarnation)
    try await source.release([old])
    try await source.seek(fresh[0], to: Position(next: 0))
    #expect(try await source.collect(1).map(\.value) == ["4"])
    #expect(try await source.partitions() == [fresh[0].partition])
  }

  @Test func `what a writer adds to a renamed file before it lets go is read`() async throws {
    let source = try await follow(try scratch.write("a", "1\n"), grace: .seconds(600))
    let old = try await source.start()[0]
    _ = try await source.collect(1)
    try scratch.rename("a", "a.1")
    try scratch.write("a", "")
    guard case .assigned(let fresh) = try await source.tell() else { throw Unexpected() }
    try scratch.append("a.1", "2\n")
    guard case .records(old, let late) = try await source.tell() else { throw Unexpected() }
    #expect(late.map(\.value) == ["2"])
    #expect(try await source.partitions() == [old.partition, fresh[0].partition].sorted())
  }

  @Test func `a truncated file is a gap and begins another life`() async throws {
    let path = try scratch.write("a", "111\n222\n33")
    let source = try await follow(path)
    let old = try await source.start()[0]
    _ = try await source.collect(2)
    #expect(try await source.tell(wait: .milliseconds(30)) == .idle)
    #expect(truncate(path, 0) == 0)
    try scratch.append("a", "4\n")
    #expect(try await source.tell() == .gap(old, from: 8, to: 10))
    #expect(try await source.tell() == .revoking([old]))
    guard case .assigned(let fresh) = try await source.tell() else { throw Unexpected() }
    #expect(fresh[0].partition.incarnation != old.partition.incarnation)
    try await source.seek(fresh[0], to: Position(next: 0))
    #expect(try await source.collect(1).map(\.value) == ["4"])
  }

  @Test func `a file rewritten with more bytes than were read is not taken for one that grew`() async throws {
    let path = try scratch.write("a", "1\n")
    let source = try await follow(path)
    let old = try await source.start()[0]
    _ = try await source.collect(1)
    #expect(try await source.tell(wait: .milliseconds(30)) == .idle)
    let descriptor = open(path, O_WRONLY)
    pwrite(descriptor, "2\n3\n", 4, 0)
    Foundation.close(descriptor)
    guard case .gap(old, from: 2, to: _) = try await source.tell() else { throw Unexpected() }
  }

  @Test func `a position past the end is a gap, and the file is read from its start as another life`() async throws {
    let source = try await follow(try scratch.write("a", "1\n"))
    let old = try await source.start(at: 100)[0]
    #expect(try await source.tell() == .gap(old, from: 100, to: 2))
    #expect(try await source.tell() == .revoking([old]))
    guard case .assigned(let fresh) = try await source.tell() else { throw Unexpected() }
    try await source.seek(fresh[0], to: Position(next: 0))
    #expect(try await source.collect(1).map(\.value) == ["1"])
  }

  @Test func `a table is read whole, and read on as it grows`() async throws {
    let source = try await follow(try scratch.write("rules", "1\n2"), .everything(from: [:]))
    #expect(source.capabilities.wholeTable)
    guard case .assigned(let first) = try await source.tell() else { throw Unexpected() }
    #expect(try await source.bounds(of: [first[0].partition]).map(\.end.next) == [3])
    #expect(try await source.collect(2).map(\.next) == [2, 3])
    try scratch.append("rules", "\n3\n")
    #expect(try await source.collect(1).map(\.value) == ["3"])
  }

  @Test(arguments: ["renamed over", "rewritten", "touched", "last line completed"])
  func `a table that changes other than by growth is assigned and read again`(how: String) async throws {
    let path = try scratch.write("rules", "111\n222")
    let source = try await follow(path, .everything(from: [:]))
    guard case .assigned(let first) = try await source.tell() else { throw Unexpected() }
    #expect(try await source.collect(2).map(\.value) == ["111", "222"])
    #expect(try await source.tell(wait: .milliseconds(30)) == .idle)
    var expected = ["4"]
    switch how {
    case "renamed over":
      try scratch.write("new", "4\n")
      Foundation.rename(scratch.file("new"), path)
    case "rewritten":
      let descriptor = open(path, O_WRONLY | O_TRUNC)
      Foundation.write(descriptor, "4\n", 2)
      Foundation.close(descriptor)
    case "touched":
      utimes(path, nil)
      expected = ["111", "222"]
    default:
      try scratch.append("rules", "9\n")
      expected = ["111", "2229"]
    }
    #expect(try await source.tell() == .lost(first))
    guard case .assigned(let second) = try await source.tell() else { throw Unexpected() }
    #expect(second[0].generation > first[0].generation && second[0].partition.index == 0)
    #expect(try await source.collect(expected.count).map(\.value) == expected)
    #expect(try await source.partitions() == [second[0].partition])
  }

  @Test func `close ends a waiting next`() async throws {
    let source = try await follow(try scratch.write("a", ""))
    _ = try await source.start()
    async let told = source.tell(wait: .seconds(3600))
    await source.close()
    do {
      _ = try await told
      Issue.record("next returned")
    } catch let error as TransportError { #expect(error.class == .closed) }
    do {
      _ = try await source.bounds(of: [])
      Issue.record("bounds returned")
    } catch let error as TransportError { #expect(error.class == .closed) }
  }
}
