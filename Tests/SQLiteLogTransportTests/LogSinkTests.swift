import DatabusCore
import Foundation
import Testing

@testable import SQLiteLogTransport

@Suite struct LogSinkTests {
  let folder: TemporaryFolder
  init() throws { folder = try TemporaryFolder() }

  @Test func everyAcceptedDeliveryEndsOnceAndIsReadInOrder() async throws {
    let log = try await open(folder.path())
    let ends = Ends()
    let sink = try await log.makeSink("results", ends)
    let batch = deliveries((0..<500).map { "v\($0)" })
    #expect(try sink.send(batch, from: 0) == 500)
    await ends.wait(for: 500)
    #expect(ends.completed == Array(1...500))
    #expect(ends.failed.isEmpty)
    let source = try await log.makeSource("results", .everything(from: [:]))
    _ = try await source.assignments()
    let seen = try await source.records(500)
    #expect(seen.map(\.value) == (0..<500).map { "v\($0)" })
    #expect(seen.map(\.position) == Array(1...500))
    await source.close()
    await sink.close()
    await log.close()
  }

  @Test func keysHeadersTombstonesAndEmptyValuesComeBackAsTheyWere() async throws {
    let log = try await open(folder.path())
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    let headers = [Header(name: "a", value: [1, 2, 0]), Header(name: "ä", value: nil), Header(name: "", value: [])]
    let long = Header(name: "long", value: [UInt8](repeating: 7, count: 300))
    var batch = DeliveryBatch()
    batch.append(key: bytes("k"), value: bytes("v"), headers: headers + [long], timestamp: 5, token: 1)
    batch.append(key: bytes("k"), value: nil, timestamp: 5, token: 2)
    batch.append(key: nil, value: [], timestamp: 5, token: 3)
    batch.append(key: [], value: bytes("x"), timestamp: 5, token: 4)
    #expect(try sink.send(batch, from: 0) == 4)
    try await sink.flush(by: SystemClock().now() + .seconds(30))
    #expect(ends.completed == [1, 2, 3, 4])
    let source = try await log.makeSource("t", .everything(from: [:]))
    _ = try await source.assignments()
    let seen = try await source.records(4)
    try #require(seen.count == 4)
    #expect(seen[0].headers == headers + [long])
    #expect(seen.map(\.key) == ["k", "k", nil, ""])
    #expect(seen.map(\.value) == ["v", nil, "", "x"])
    await source.close()
    await sink.close()
    await log.close()
  }

  @Test func aRecordTooLargeEndsWithARecordErrorAndTheOthersAreWritten() async throws {
    var options = SQLiteLogOptions()
    options.maximumRecordBytes = 100
    let log = try await open(folder.path(), options)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    var batch = deliveries(["a", String(repeating: "x", count: 101), "b", String(repeating: "y", count: 100)])
    batch.append(
      key: nil, value: bytes("c"), headers: [Header(name: "h", value: [UInt8](repeating: 1, count: 100))], timestamp: 0,
      token: 9)
    #expect(try sink.send(batch, from: 0) == 5)
    await ends.wait(for: 5)
    #expect(ends.completed == [1, 3, 4])
    #expect(ends.failed[2]?.class == .record)
    #expect(ends.failed[2]?.message.contains("100 bytes") == true)
    #expect(ends.failed[9]?.class == .record)
    #expect(try await log.topics()[0].bounds[0].end.next == 4)
    await sink.close()
    await log.close()
  }

  @Test func aFullQueueAcceptsAPartAndGoesOnWhenThereIsRoom() async throws {
    var options = SQLiteLogOptions()
    options.maximumQueuedRecords = 10
    let log = try await open(folder.path(), options)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    let batch = deliveries((0..<95).map(String.init))
    var sent = try sink.send(batch, from: 0)
    #expect(sent == 10)
    var rounds = 0
    while sent < batch.count {
      try await sink.writable()
      let accepted = try sink.send(batch, from: sent)
      #expect(accepted <= 10)
      sent += accepted
      rounds += 1
    }
    #expect(rounds >= 9)
    await ends.wait(for: 95)
    #expect(ends.completed == Array(1...95))
    await sink.close()
    await log.close()
  }

  @Test func bytesAreBoundedTooButOneLargeRecordAlwaysFitsAnEmptyQueue() async throws {
    var options = SQLiteLogOptions()
    options.maximumQueuedBytes = 1000
    let log = try await open(folder.path(), options)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    let large = String(repeating: "l", count: 5000)
    let batch = deliveries([large, "after"])
    #expect(try sink.send(batch, from: 0) == 1)
    try await sink.writable()
    #expect(try sink.send(batch, from: 1) == 1)
    await ends.wait(for: 2)
    #expect(ends.completed == [1, 2])
    await sink.close()
    await log.close()
  }

  @Test func closingEndsThoseWhoWaitAndNothingIsToldAfterwards() async throws {
    var options = SQLiteLogOptions()
    options.maximumQueuedRecords = 1
    options.busyTimeout = .seconds(30)
    let log = try await open(folder.path(), options)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    // Another connection keeps the writer from writing.
    let blocker = try Blocker(folder.path())
    let batch = deliveries(["a", "b"])
    #expect(try sink.send(batch, from: 0) == 1)
    let writable = Task { try await sink.writable() }
    let flush = Task { try await sink.flush(by: SystemClock().now() + .seconds(60)) }
    await sink.close()
    await #expect(throws: TransportError.self) { try await writable.value }
    await #expect(throws: TransportError.self) { try await flush.value }
    #expect(throws: TransportError.self) { _ = try sink.send(deliveries(["c"]), from: 0) }
    blocker.end()
    await log.close()
    #expect(ends.completed.isEmpty && ends.failed.isEmpty)
  }

  @Test func aFlushThatIsNotDoneInTimeSaysSo() async throws {
    var options = SQLiteLogOptions()
    options.busyTimeout = .seconds(30)
    let log = try await open(folder.path(), options)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    let blocker = try Blocker(folder.path())
    _ = try sink.send(deliveries(["a"]), from: 0)
    await #expect(throws: TransportError.self) {
      try await sink.flush(by: SystemClock().now() + .milliseconds(20))
    }
    blocker.end()
    try await sink.flush(by: SystemClock().now() + .seconds(30))
    #expect(ends.completed == [1])
    await sink.close()
    await log.close()
  }

  @Test func aLockedFileIsATransportErrorAndNothingIsAcknowledged() async throws {
    var options = SQLiteLogOptions()
    options.busyTimeout = .milliseconds(30)
    let log = try await open(folder.path(), options)
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    let blocker = try Blocker(folder.path())
    _ = try sink.send(deliveries(["a", "b"]), from: 0)
    await ends.wait(for: 2)
    #expect(ends.completed.isEmpty)
    #expect(ends.failed[1]?.class == .transport)
    #expect(ends.failed[1]?.message.contains("locked") == true)
    blocker.end()
    _ = try sink.send(deliveries(["a", "b"], firstToken: 10), from: 0)
    await ends.wait(for: 4)
    #expect(ends.completed == [10, 11])
    #expect(try await log.topics()[0].bounds[0].end.next == 3)
    await sink.close()
    await log.close()
  }

  @Test func aFullDiskIsATransportErrorAndLaterAppendsSucceed() async throws {
    let log = try await open(folder.path())
    let ends = Ends()
    let sink = try await log.makeSink("t", ends)
    try await log.limitPages(30)
    _ = try sink.send(deliveries((0..<50).map { _ in String(repeating: "x", count: 10_000) }), from: 0)
    await ends.wait(for: 50)
    #expect(ends.completed.isEmpty)
    let error = try #require(ends.failed[1])
    #expect(error.class == .transport)
    #expect(error.message.contains("no room") && error.message.contains(folder.path()))
    try await log.limitPages(1_000_000)
    _ = try sink.send(deliveries(["now"], firstToken: 100), from: 0)
    await ends.wait(for: 51)
    #expect(ends.completed == [100])
    #expect(try await log.topics()[0].bounds[0].end.next == 2)
    await sink.close()
    await log.close()
  }

  @Test func manySinksOfAProcessShareOneWriterAndEachKeepsItsOrder() async throws {
    let log = try await open(folder.path())
    let other = try await open(folder.path())
    let ends = (0..<4).map { _ in Ends() }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for index in 0..<4 {
        group.addTask {
          let sink = try await (index % 2 == 0 ? log : other).makeSink("t\(index)", ends[index])
          for number in 0..<50 {
            #expect(try sink.send(deliveries(["\(number)"], firstToken: UInt64(number)), from: 0) == 1)
          }
          await ends[index].wait(for: 50)
          await sink.close()
        }
      }
      try await group.waitForAll()
    }
    for index in 0..<4 {
      #expect(ends[index].completed == Array(0..<50))
      let source = try await log.makeSource("t\(index)", .everything(from: [:]))
      _ = try await source.assignments()
      #expect(try await source.values(50) == (0..<50).map(String.init))
      await source.close()
    }
    await log.close()
    await other.close()
  }

  @Test func theFileIsItsOwnersOnly() async throws {
    let log = try await open(folder.path())
    try await log.send(["a"], to: "t")
    for suffix in ["", "-wal", "-shm"] {
      let attributes = try FileManager.default.attributesOfItem(atPath: folder.path() + suffix)
      #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600, "\(suffix)")
    }
    await log.close()
  }
}
