import DatabusCore
import MemoryTransport
import Testing

@Suite struct SinkControlTests {
  let clock = TestClock()
  let transport: MemoryTransport
  let ends = Ends()

  init() {
    transport = MemoryTransport(MemoryLog(clock: clock))
  }

  private var control: MemoryTransport.Control { transport.control }
  private var texts: [String] { transport.records(of: "results").map(\.text) }

  @Test func aBatchArrivesWithKeysHeadersTombstonesAndTimestamps() async throws {
    let sink = try await transport.makeSink("results", ends)
    var batch = DeliveryBatch()
    let header = Header(name: "h", value: nil)
    batch.append(key: [1], value: [2, 3], headers: [header], timestamp: 7, token: 0)
    batch.append(key: nil, value: [], timestamp: 8, token: 1)
    batch.append(key: [], value: nil, timestamp: 9, token: 2)
    #expect(try sink.send(batch, from: 0) == 3)
    let records = transport.records(of: "results")
    #expect(records.map(\.key) == [[1], nil, []])
    #expect(records.map(\.value) == [[2, 3], [], nil])
    #expect(records.map(\.headers) == [[header], [], []])
    #expect(records.map(\.timestamp) == [7, 8, 9])
    #expect(records.map(\.position) == [0, 1, 2])
    #expect(ends.told == ["0", "1", "2"])
  }

  @Test func recordsWithOneKeyGoToOnePartition() async throws {
    try await transport.createTopic("results", partitions: 4)
    let sink = try await transport.makeSink("results", ends)
    var batch = DeliveryBatch()
    for token in 0..<40 {
      batch.append(key: [UInt8(token % 10)], value: [UInt8(token)], timestamp: 0, token: UInt64(token))
    }
    #expect(try sink.send(batch, from: 0) == 40)
    let byKey = Dictionary(grouping: transport.records(of: "results"), by: \.key)
    for records in byKey.values {
      #expect(Set(records.map(\.partition)).count == 1)
      #expect(records.map { $0.value?.first ?? 0 } == records.map { $0.value?.first ?? 0 }.sorted())
    }
    #expect(Set(transport.records(of: "results").map(\.partition)).count > 1)
  }

  @Test func heldEndsAreToldInTheOrderThatTheTestChooses() async throws {
    let sink = try await transport.makeSink("results", ends)
    control.holdEnds(on: "results")
    #expect(try sink.send(deliveries(["a", "b", "c", "d"]), from: 0) == 4)
    #expect(ends.told.isEmpty && texts.isEmpty)
    let held = control.held(on: "results")
    #expect(held.map(\.text) == ["a", "b", "c", "d"])
    try control.release(on: "results", [held[2].id, held[0].id])
    try control.fail(on: "results", [held[3].id], with: TransportError(.transport, "away"))
    try control.fail(on: "results", [held[1].id], with: TransportError(.transport, "lost answer"), appended: true)
    #expect(ends.told == ["2", "0", "3 transport", "1 transport"])
    #expect(texts == ["c", "a", "b"])
  }

  @Test func flushWaitsForWhatIsHeldAndGivesUpAtItsDeadline() async throws {
    let sink = try await transport.makeSink("results", ends)
    control.holdEnds(on: "results")
    #expect(try sink.send(deliveries(["a"]), from: 0) == 1)
    let clock = clock
    let flushing = Task { try await sink.flush(by: clock.now() + .seconds(5)) }
    await clock.waitForSleepers()
    clock.advance(by: .seconds(5))
    await #expect(throws: TransportError.self) { try await flushing.value }
    let second = Task { try await sink.flush(by: clock.now() + .seconds(5)) }
    await clock.waitForSleepers()
    try control.release(on: "results")
    try await second.value
    #expect(ends.told == ["0"])
  }

  @Test func roomIsAcceptedInPartAndWaitedFor() async throws {
    let sink = try await transport.makeSink("results", ends)
    control.limitRoom(on: "results", to: 2)
    #expect(try sink.send(deliveries(["a", "b", "c"]), from: 0) == 2)
    #expect(try sink.send(deliveries(["a", "b", "c"]), from: 2) == 0)
    let waiting = Task { try await sink.writable() }
    control.limitRoom(on: "results", to: nil)
    try await waiting.value
    #expect(try sink.send(deliveries(["a", "b", "c"]), from: 2) == 1)
    #expect(texts == ["a", "b", "c"])
  }

  @Test func whatIsHeldTakesTheRoomOfTheSink() async throws {
    var options = MemoryTransport.Options()
    options.maximumInFlight = 2
    let transport = MemoryTransport(options: options)
    let sink = try await transport.makeSink("results", ends)
    transport.control.holdEnds(on: "results")
    #expect(try sink.send(deliveries(["a", "b", "c"]), from: 0) == 2)
    #expect(try sink.send(deliveries(["c"]), from: 0) == 0)
    try transport.control.release(on: "results", [transport.control.held(on: "results")[0].id])
    try await sink.writable()
    #expect(try sink.send(deliveries(["c"]), from: 0) == 1)
  }

  @Test func failuresOfSendAreThrownOrEndItsDeliveries() async throws {
    let sink = try await transport.makeSink("results", ends)
    control.fail(.send, on: "results", with: TransportError(.fatal, "broken"))
    control.fail(.send, on: "results", with: TransportError(.transport, "away"))
    #expect(throws: TransportError.self) { try sink.send(deliveries(["a"]), from: 0) }
    #expect(ends.told.isEmpty)
    #expect(try sink.send(deliveries(["a", "b"]), from: 0) == 2)
    #expect(try sink.send(deliveries(["c"]), from: 0) == 1)
    #expect(ends.told == ["0 transport", "1 transport", "0"])
    #expect(texts == ["c"])
  }

  @Test func rejectedRecordsFailAloneAndNeighboursArrive() async throws {
    let sink = try await transport.makeSink("results", ends)
    control.reject(on: "results", with: TransportError(.record, "no")) { $0 == Array("b".utf8) }
    #expect(try sink.send(deliveries(["a", "b", "c"]), from: 0) == 3)
    #expect(Set(ends.told) == ["0", "1 record", "2"])
    #expect(texts == ["a", "c"])
    control.acceptAll(on: "results")
    #expect(try sink.send(deliveries(["b"]), from: 0) == 1)
    #expect(texts == ["a", "c", "b"])
  }

  @Test func aStreamThatKeepsNothingCounts() async throws {
    try transport.createTopic("results", partitions: 1, retention: .nothing)
    let sink = try await transport.makeSink("results", ends)
    #expect(try sink.send(deliveries(["a", "b"]), from: 0) == 2)
    #expect(transport.appendedCount(of: "results") == 2)
    #expect(texts.isEmpty && ends.told == ["0", "1"])
  }

  @Test func aLargeBatchCrossesWholeAndInOrder() async throws {
    let sink = try await transport.makeSink("results", ends)
    let all = (0..<5000).map { "record number \($0)" }
    for start in stride(from: 0, to: 5000, by: 700) {
      let part = Array(all[start..<min(start + 700, 5000)])
      #expect(try sink.send(deliveries(part), from: 0) == part.count)
    }
    #expect(texts == all)
  }

  @Test func aClosedSinkTellsNothingMore() async throws {
    let sink = try await transport.makeSink("results", ends)
    control.holdEnds(on: "results")
    #expect(try sink.send(deliveries(["a"]), from: 0) == 1)
    await sink.close()
    try control.release(on: "results")
    #expect(ends.told.isEmpty)
    #expect(throws: TransportError.self) { try sink.send(deliveries(["a"]), from: 0) }
  }
}
