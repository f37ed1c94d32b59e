import DatabusCore
import FileTransport
import Foundation
import Testing

@Suite(.timeLimit(.minutes(1))) struct FileSinkTests {
  let scratch: Scratch
  let ends = Ends()
  init() throws { scratch = try Scratch() }

  private func sink(_ path: String, bufferBytes: Int = 4 << 20) async throws -> any EventSink {
    try await FileTransport(
      configuration: .init(streams: ["results": .init(paths: [path])], bufferBytes: bufferBytes)
    ).makeSink("results", ends)
  }

  @Test func `a delivery is a line, and ends when the file was synced`() async throws {
    let sink = try await sink(scratch.file("out"))
    #expect(sink.capabilities.confirmsOnFlush && !sink.capabilities.headers && !sink.capabilities.keys)
    try await sink.deliver(["{\"a\":1}", "{}"], flushing: false)
    #expect(ends.seen.completed.isEmpty)
    try await sink.flush(by: SystemClock().now() + .seconds(20))
    #expect(ends.seen == Ends.Seen(completed: [0, 1]))
    #expect(try scratch.read("out") == "{\"a\":1}\n{}\n")
  }

  @Test func `a line is written without a flush`() async throws {
    let sink = try await sink(scratch.file("out"))
    try await sink.deliver(["{}"], flushing: false)
    while try scratch.read("out").isEmpty { await Task.yield() }
    #expect(try scratch.read("out") == "{}\n")
  }

  @Test func `raw line ends inside a value become spaces`() async throws {
    let sink = try await sink(scratch.file("out"))
    try await sink.deliver(["{\n\"a\":\r\n1}", "\n", ""])
    #expect(try scratch.read("out") == "{ \"a\":  1}\n \n\n")
  }

  @Test func `an existing file is appended to, and a torn last line is cut off`() async throws {
    for (before, after) in [("1\n22", "1\n{}\n"), ("1\n", "1\n{}\n"), ("torn", "{}\n"), ("", "{}\n")] {
      try scratch.write("out", before)
      let sink = try await sink(scratch.file("out"))
      try await sink.deliver(["{}"])
      await sink.close()
      #expect(try scratch.read("out") == after)
      try FileManager.default.removeItem(atPath: scratch.file("out"))
    }
    let long = String(repeating: "x", count: 200_000)
    try scratch.write("out", "1\n\(long)")
    _ = try await sink(scratch.file("out"))
    #expect(try scratch.read("out") == "1\n")
  }

  @Test func `two sinks never write to one file`() async throws {
    let first = try await sink(scratch.file("out"))
    #expect(await message { _ = try await self.sink(scratch.file("out")) }.contains("Another sink"))
    try await first.deliver(["1"])
  }

  @Test func `a tombstone is refused as a record and the others are written`() async throws {
    let sink = try await sink(scratch.file("out"))
    var batch = DeliveryBatch()
    batch.append(key: nil, value: Array("1".utf8), timestamp: 0, token: 7)
    batch.append(key: Array("k".utf8), value: nil as [UInt8]?, timestamp: 0, token: 8)
    batch.append(key: nil, value: Array("2".utf8), timestamp: 0, token: 9)
    #expect(try sink.send(batch, from: 0) == 3)
    try await sink.flush(by: SystemClock().now() + .seconds(20))
    #expect(ends.seen.completed == [7, 9] && ends.seen.failed == [8] && ends.seen.classes == [.record])
    #expect(try scratch.read("out") == "1\n2\n")
  }

  @Test func `a small buffer takes parts, and everything arrives in order`() async throws {
    let sink = try await sink(scratch.file("out"), bufferBytes: 100)
    let values = (0..<1000).map { "{\"n\":\($0)}" }
    try await sink.deliver(values)
    #expect(try scratch.read("out") == values.joined(separator: "\n") + "\n")
    #expect(ends.seen.completed == (0..<1000).map { UInt64($0) })
  }

  @Test func `a full disk fails the deliveries as the transport's trouble and leaves the sink usable`() async throws {
    let sink = try await sink("/dev/full")
    try await sink.deliver(["1", "2"])
    #expect(ends.seen.failed == [0, 1] && ends.seen.classes == [.transport])
    #expect(
      ends.seen.messages == [
        "Cannot write to /dev/full: No space left on device (free some space)."
      ])
    try await sink.deliver(["1"])
    #expect(ends.seen.failed == [0, 1, 0])
  }

  @Test func `a file that cannot be written to is named with a remedy`() async throws {
    let text = await message { _ = try await self.sink(scratch.file("none/out")) }
    #expect(text.hasPrefix("Cannot write to \(scratch.file("none/out")): No such file or directory"))
    #expect(await message { _ = try await self.sink(scratch.path) }.contains("name a file, not a directory"))
    if geteuid() != 0 {
      chmod(try scratch.write("closed", ""), 0o400)
      #expect(await message { _ = try await self.sink(scratch.file("closed")) }.contains("Permission denied"))
    }
  }

  @Test func `a pipe that nobody reads any more is fatal, and quiet`() async throws {
    mkfifo(scratch.file("pipe"), 0o600)
    #expect(await message { _ = try await self.sink(scratch.file("pipe")) }.contains("start its reader first"))
    let reader = open(scratch.file("pipe"), O_RDONLY | O_NONBLOCK)
    let sink = try await sink(scratch.file("pipe"))
    #expect(!sink.capabilities.confirmsOnFlush)
    try await sink.deliver(["1"])
    #expect(ends.seen.completed == [0])
    Foundation.close(reader)
    try await sink.deliver(["2"])
    #expect(ends.seen.failed == [0] && ends.seen.classes == [.fatal])
    #expect(await message { try await sink.deliver(["3"]) }.contains("has gone"))
  }

  @Test func `a pipe that is full holds intake, and close ends the wait`() async throws {
    mkfifo(scratch.file("pipe"), 0o600)
    let reader = open(scratch.file("pipe"), O_RDONLY | O_NONBLOCK)
    defer { Foundation.close(reader) }
    let sink = try await sink(scratch.file("pipe"), bufferBytes: 1000)
    var batch = DeliveryBatch()
    for index in 0..<10_000 {
      batch.append(
        key: nil, value: [UInt8](repeating: 120, count: 99), timestamp: 0, token: UInt64(index))
    }
    // A pipe holds 64 KiB: a flush that is not read cannot end before its deadline.
    var sent = 0
    var isFull = false
    while !isFull {
      sent += try sink.send(batch, from: sent)
      do { try await sink.flush(by: SystemClock().now() + .milliseconds(200)) } catch { isFull = true }
    }
    while true {
      let more = try sink.send(batch, from: sent)
      if more == 0 { break }
      sent += more
    }
    #expect(sent < 10_000)
    let room = Task { try await sink.writable() }
    await sink.close()
    await #expect(throws: TransportError.self) { try await room.value }
    #expect(await message { _ = try sink.send(batch, from: 0) }.contains("closed"))
  }
}
