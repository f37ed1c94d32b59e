import DatabusCore
import FileTransport
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct PipeTests {
  let scratch: Scratch
  let path: String
  init() throws {
    scratch = try Scratch()
    path = scratch.file("pipe")
    guard mkfifo(path, 0o600) == 0 else { throw Unexpected() }
  }

  private func source() async throws -> any EventSource {
    try await FileTransport(configuration: .init(streams: ["events": .init(paths: [path])])).makeSource(
      "events", .group("g"))
  }

  @Test func `a pipe is read as it comes and ends with its writer`() async throws {
    let source = try await source()
    #expect(!source.capabilities.replayable && source.capabilities.finite)
    let assignment = try await source.start()[0]
    #expect(try await source.tell(wait: .milliseconds(30)) == .idle)
    let writer = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    try writer.write(contentsOf: Data("1\n2".utf8))
    #expect(try await source.collect(1).map(\.value) == ["1"])
    #expect(try await source.tell(wait: .milliseconds(30)) == .idle)
    try writer.write(contentsOf: Data("2\n3".utf8))
    #expect(try await source.collect(1).map(\.place) == ["\(path):2:1"])
    try writer.close()
    #expect(try await source.collectAll().map(\.value) == ["3"])
    let refused = await message { try await source.seek(assignment, to: Position(next: 0)) }
    #expect(refused.contains("cannot be read again"))
    await source.close()
  }

  @Test func `more than a pipe holds passes through it while nobody reads ahead without end`() async throws {
    let source = try await source()
    _ = try await source.start()
    let line = String(repeating: "x", count: 999) + "\n"
    let path = path
    let writing = Task.detached {
      let writer = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
      for _ in 0..<5000 { try writer.write(contentsOf: Data(line.utf8)) }
      try writer.close()
    }
    let seen = try await source.collectAll()
    try await writing.value
    #expect(seen.count == 5000)
    #expect(seen.last?.next == 5_000_000)
    await source.close()
  }

  @Test func `close ends a reader that is blocked on a pipe`() async throws {
    let source = try await source()
    _ = try await source.start()
    let writer = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
    let told = Task { try await source.tell(wait: .seconds(3600)) }
    await source.close()
    await #expect(throws: TransportError.self) { try await told.value }
    // The reader lets go of the pipe: writing to it fails.
    signal(SIGPIPE, SIG_IGN)
    while write(writer.fileDescriptor, "1\n", 2) == 2 { await Task.yield() }
    #expect(errno == EPIPE)
  }
}

@Suite(.timeLimit(.minutes(1))) struct StandardInputTests {
  @Test func `standard input is one partition named stdin whose incarnation is the run's`() async throws {
    let scratch = try Scratch()
    let descriptor = open(try scratch.write("in", "1\n\n2"), O_RDONLY)
    let saved = dup(STDIN_FILENO)
    dup2(descriptor, STDIN_FILENO)
    defer {
      if saved >= 0 { dup2(saved, STDIN_FILENO) }
      close(saved)
      close(descriptor)
    }
    let transport = FileTransport(configuration: .init(streams: ["events": .init(paths: ["-"])], runID: "run"))
    let source = try await transport.makeSource("events", .group("g"))
    let assignment = try await source.start()[0]
    #expect(assignment.partition == PartitionID(stream: "stdin", incarnation: "run", index: 0))
    let seen = try await source.collectAll()
    #expect(seen.map(\.value) == ["1", "2"])
    #expect(seen.map(\.place) == ["standard input:1:1", "standard input:3:1"])
    await source.close()
  }

  @Test func `without a run id every run has an incarnation of its own`() async throws {
    let incarnations = try await [0, 1].asyncMap { _ in
      let transport = FileTransport(configuration: .init(streams: ["events": .init(paths: ["/dev/stdin"])]))
      let source = try await transport.makeSource("events", .group("g"))
      defer { Task { await source.close() } }
      return try await source.partitions()[0].incarnation
    }
    #expect(incarnations[0] != incarnations[1])
  }
}

extension Array {
  fileprivate func asyncMap<R>(_ body: (Element) async throws -> R) async rethrows -> [R] {
    var all: [R] = []
    for element in self { all.append(try await body(element)) }
    return all
  }
}
