import DatabusCore
import FileTransport
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct FileSourceTests {
  let scratch: Scratch
  init() throws { scratch = try Scratch() }

  private func source(_ paths: [String], blockBytes: Int = 256 << 10, maximumLineBytes: Int = 64 << 20) async throws
    -> any EventSource
  {
    try await FileTransport(
      configuration: .init(
        streams: ["events": .init(paths: paths)], maximumLineBytes: maximumLineBytes, blockBytes: blockBytes)
    ).makeSource("events", .group("test"))
  }

  private func read(_ text: String, blockBytes: Int = 256 << 10, maximumLineBytes: Int = 64 << 20) async throws
    -> [Seen]
  {
    let path = try scratch.write("events.jsonl", text)
    let source = try await source([path], blockBytes: blockBytes, maximumLineBytes: maximumLineBytes)
    _ = try await source.start()
    let seen = try await source.collectAll()
    await source.close()
    return seen
  }

  @Test func `a line is a record whose position is its first byte and whose next is behind its newline`() async throws {
    let path = scratch.file("events.jsonl")
    #expect(
      try await read("{\"a\":1}\n{}\n") == [
        Seen(value: "{\"a\":1}", position: 0, next: 8, place: "\(path):1:1"),
        Seen(value: "{}", position: 8, next: 11, place: "\(path):2:1"),
      ])
  }

  @Test func `blank lines are skipped and counted`() async throws {
    let seen = try await read("\n  \t\n{}\n\r\n\n1\n\n")
    #expect(seen.map(\.value) == ["{}", "1"])
    #expect(seen.map { $0.place?.suffix(4) } == [":3:1", ":6:1"])
  }

  @Test func `the last line needs no newline at the end of a file`() async throws {
    #expect(try await read("1\n22").map(\.next) == [2, 4])
  }

  @Test func `a carriage return is left as JSON's white space`() async throws {
    #expect(try await read("1\r\n2\r\n").map(\.value) == ["1\r", "2\r"])
  }

  @Test func `a byte order mark at the head is not part of the first record`() async throws {
    let seen = try await read("\u{feff}{}\n")
    #expect(seen.map(\.value) == ["{}"])
    #expect(seen.map(\.position) == [0])
    #expect(try await read("\u{feff}\n").isEmpty)
  }

  @Test func `an empty file is at its end at once`() async throws { #expect(try await read("").isEmpty) }

  @Test(arguments: [64, 65, 100, 4096]) func `lines that straddle blocks are whole`(blockBytes: Int) async throws {
    let lines = (0..<500).map { "{\"n\":\($0),\"pad\":\"\(String(repeating: "x", count: $0 % 97))\"}" }
    let text = lines.joined(separator: "\n") + "\n"
    let seen = try await read(text, blockBytes: blockBytes)
    #expect(seen.map(\.value) == lines)
    let bytes = Array(text.utf8)
    for (index, record) in seen.enumerated() {
      #expect(String(decoding: bytes[Int(record.position)..<Int(record.next) - 1], as: UTF8.self) == lines[index])
      #expect(record.place == "\(scratch.file("events.jsonl")):\(index + 1):1")
    }
  }

  @Test func `a line of 10 MB is a record like any other`() async throws {
    let long = "\"" + String(repeating: "x", count: 10_000_000) + "\""
    #expect(try await read("1\n\(long)\n2\n").map(\.value) == ["1", long, "2"])
  }

  @Test(arguments: ["\n", ""]) func `a line over the maximum is cut behind it and passed over`(end: String) async throws
  {
    let long = String(repeating: "x", count: 5000)
    let seen = try await read("1\n\(long)\n2\n33\n\(long)\(end)", blockBytes: 64, maximumLineBytes: 100)
    #expect(seen.map(\.value.utf8.count) == [1, 101, 1, 2, 101])
    #expect(seen.map(\.next) == [2, 5003, 5005, 5008, 10_008 + UInt64(end.utf8.count)])
    #expect(seen.last?.place?.hasSuffix(":5:1") == true)
    // The same where the whole line lies in one block.
    #expect(try await read("\(long)\n2\n", maximumLineBytes: 100).map(\.value.utf8.count) == [101, 1])
  }

  @Test func `reading resumes at a position and knows its lines`() async throws {
    let path = try scratch.write("events.jsonl", "1\n\n22\n333\n")
    let source = try await source([path])
    _ = try await source.start(at: 3)
    #expect(try await source.collectAll().map(\.place) == ["\(path):3:1", "\(path):4:1"])
  }

  @Test func `a seek drops what was read ahead, and a source that had ended goes on`() async throws {
    let path = try scratch.write("events.jsonl", "1\n2\n3\n")
    let source = try await source([path])
    let assignment = try await source.start()[0]
    _ = try await source.tell(records: 1)
    try await source.seek(assignment, to: Position(next: 0))
    #expect(try await source.collectAll().map(\.value) == ["1", "2", "3"])
    try await source.seek(assignment, to: Position(next: 4))
    #expect(try await source.collectAll().map(\.value) == ["3"])
  }

  @Test func `no batch has more records or bytes than were asked for, but at least one record`() async throws {
    let path = try scratch.write("events.jsonl", "11\n22\n33\n44444444\n55\n")
    let source = try await source([path])
    _ = try await source.start()
    var sizes: [Int] = []
    for limits in [(2, 100), (10, 1), (10, 3), (10, 100)] {
      guard case .records(_, let seen) = try await source.tell(records: limits.0, bytes: limits.1) else {
        throw Unexpected()
      }
      sizes.append(seen.count)
    }
    #expect(sizes == [2, 1, 1, 1])
  }

  @Test func `each path is a partition, and all of them are read in their order`() async throws {
    let paths = try ["a.jsonl", "b.jsonl", "c.jsonl"].map { try scratch.write($0, "\"\($0)\"\n") }
    let source = try await source(paths)
    let assignments = try await source.start()
    #expect(assignments.map(\.partition.index) == [0, 1, 2])
    #expect(assignments.map(\.partition.stream) == ["a.jsonl", "b.jsonl", "c.jsonl"])
    #expect(try await source.collectAll().map(\.value) == ["\"a.jsonl\"", "\"b.jsonl\"", "\"c.jsonl\""])
    #expect(source.capabilities.finite && source.capabilities.replayable && !source.capabilities.commits)
  }

  @Test func `a paused partition delivers nothing, and holds back those behind it in a finite stream`() async throws {
    let paths = try ["a", "b", "c"].map { try scratch.write($0, "\"\($0)\"\n") }
    let source = try await source(paths)
    guard case .assigned(let assignments) = try await source.tell() else { throw Unexpected() }
    try await source.pause([assignments[1]], true)
    for assignment in assignments { try await source.seek(assignment, to: Position(next: 0)) }
    #expect(try await source.collect(1).map(\.value) == ["\"a\""])
    #expect(try await source.tell(wait: .milliseconds(50)) == .idle)
    try await source.pause([assignments[1]], false)
    #expect(try await source.collectAll().map(\.value) == ["\"b\"", "\"c\""])
  }

  @Test func `what is asked of an assignment that is over is ignored`() async throws {
    let source = try await source([try scratch.write("a", "1\n2\n")])
    let assignment = try await source.start()[0]
    var stale = assignment
    stale.partition.incarnation = "another life"
    try await source.pause([stale], true)
    try await source.seek(stale, to: Position(next: 2))
    try await source.release([stale])
    #expect(try await source.collect(2).map(\.value) == ["1", "2"])
    try await source.release([assignment])
    try await source.seek(assignment, to: Position(next: 0))
    try await source.pause([assignment], true)
    #expect(try await source.tell() == .end)
  }

  @Test func `nothing is delivered before the engine says where to start`() async throws {
    let source = try await source([try scratch.write("a", "1\n")])
    _ = try await source.tell()
    #expect(try await source.tell(wait: .milliseconds(50)) == .idle)
  }

  @Test func `the end of a partition is behind its last record, whatever blank lines follow`() async throws {
    let texts = ["": 0, "\n\n": 0, "1\n": 2, "1": 1, "1\n\n \r\n": 2, "\u{feff}\n": 0, "1\n\n2": 4]
    for (text, end) in texts {
      let source = try await source([try scratch.write("a", text)])
      let partitions = try await source.partitions()
      #expect(try await source.bounds(of: partitions).map(\.end.next) == [UInt64(end)], "\(text.debugDescription)")
      await source.close()
    }
  }

  @Test func `a file that is missing, a directory or not permitted is named with a remedy`() async throws {
    let missing = scratch.file("none.jsonl")
    let text = await message { _ = try await source([missing]) }
    #expect(text == "Cannot open \(missing): No such file or directory (check the path, or create the file).")
    #expect(await message { _ = try await source([scratch.path]) }.contains("name a file, not a directory"))
    if geteuid() != 0 {
      let closed = try scratch.write("closed", "1\n")
      chmod(closed, 0)
      #expect(await message { _ = try await source([closed]) }.contains("Permission denied (give this user permission"))
    }
  }

  @Test func `a commit of an assignment that is not current is refused`() async throws {
    let source = try await source([try scratch.write("a", "1\n")])
    let assignment = try await source.start()[0]
    var stale = assignment
    stale.generation += 1
    let marks = [assignment, stale].map { CommitMark(assignment: $0, position: Position(next: 2), metadata: "") }
    #expect(try await source.commit(marks) == [stale])
    try await source.release([assignment])
    #expect(try await source.commit(marks) == [assignment, stale])
    #expect(try await source.committed([assignment]) == [nil])
  }

  @Test func `an unknown stream says how to name it`() async throws {
    let transport = FileTransport(configuration: .init())
    #expect(await message { _ = try await transport.makeSource("x", .group("g")) }.contains("under \"streams\""))
    let rooted = FileTransport(configuration: .init(directory: scratch.path))
    try scratch.write("x.jsonl", "1\n")
    let source = try await rooted.makeSource("x", .group("g"))
    #expect(try await source.partitions().map(\.stream) == ["x.jsonl"])
    #expect(await message { _ = try await rooted.makeSource("../x", .group("g")) }.contains("cannot be the name"))
  }
}
