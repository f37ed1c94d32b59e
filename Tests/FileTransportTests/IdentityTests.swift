import DatabusCore
import FileTransport
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct IdentityTests {
  let scratch: Scratch
  let identities = MemoryFileIdentities()
  init() throws { scratch = try Scratch() }

  private func incarnation(_ name: String, runID: String? = nil) async throws -> String {
    let source = try await FileTransport(
      configuration: .init(streams: ["s": .init(paths: [scratch.file(name)])], runID: runID), identities: identities
    ).makeSource("s", .group("g"))
    _ = try await source.start()
    _ = try await source.collectAll()
    let incarnation = try await source.partitions()[0].incarnation
    await source.close()
    return incarnation
  }

  @Test func `a file keeps its incarnation as it grows and when it is renamed`() async throws {
    try scratch.write("a", "1\n")
    let first = try await incarnation("a")
    #expect(first.utf8.count == 24)
    #expect(try await incarnation("a") == first)
    for _ in 0..<3 {
      try scratch.append("a", String(repeating: "{\"x\":1}\n", count: 100))
      #expect(try await incarnation("a") == first)
    }
    try scratch.rename("a", "b")
    #expect(try await incarnation("b") == first)
  }

  @Test func `another file of the same name is another incarnation, even with the same inode`() async throws {
    try scratch.write("a", "1\n")
    let first = try await incarnation("a")
    let descriptor = open(scratch.file("a"), O_WRONLY | O_TRUNC)
    write(descriptor, "2\n", 2)
    close(descriptor)
    let second = try await incarnation("a")
    #expect(second != first)
    try scratch.write("new", "2\n")
    rename(scratch.file("new"), scratch.file("a"))
    #expect(try await incarnation("a") != second)
  }

  @Test func `a file seen while it was empty is known by the head of what was delivered`() async throws {
    try scratch.write("a", "")
    let empty = try await incarnation("a")
    try scratch.append("a", "1\n")
    #expect(try await incarnation("a") == empty)
    let descriptor = open(scratch.file("a"), O_WRONLY | O_TRUNC)
    write(descriptor, "2\n", 2)
    close(descriptor)
    #expect(try await incarnation("a") != empty)
  }

  @Test func `a run's id stands for every incarnation`() async throws {
    try scratch.write("a", "1\n")
    #expect(try await incarnation("a", runID: "nightly") == "nightly")
    #expect(try await identities.lookup(device: 0, inode: 0) == nil)
  }
}
