import Testing

@testable import DatabusCore

@Suite struct DeadLetterWriterTests {
  private func letter(value: [UInt8]?, key: [UInt8]? = nil, headers: [Header] = []) -> DeadLetterWriter.Letter {
    .init(
      partition: PartitionID(stream: "events", incarnation: "5f9c", index: 0), position: 7, timestamp: 5,
      reason: .notJSON, detail: "why", place: "a.jsonl:3:1", ruleID: nil, key: key, value: value, headers: headers)
  }

  private func write(
    _ letter: DeadLetterWriter.Letter, maximum: Int = .max, headers: Bool
  ) throws -> (value: [UInt8]?, key: [UInt8]?, headers: [String: String], bytes: Int) {
    var batch = DeliveryBatch()
    DeadLetterWriter(capabilities: SinkCapabilities(maximumRecordBytes: maximum, headers: headers))
      .append(letter, timestamp: 9, token: 1, to: &batch)
    let raw = batch[0].raw
    let contents = batch.contents
    let all = batch.headers(at: 0)
    return (
      raw.isTombstone ? nil : Array(contents[raw.valueOffset..<raw.valueOffset + raw.valueCount]),
      raw.keyOffset < 0 ? nil : Array(contents[raw.keyOffset..<raw.keyOffset + raw.keyCount]),
      Dictionary(all.map { ($0.name, String(decoding: $0.value ?? [], as: UTF8.self)) }) { $1 },
      raw.valueCount + raw.keyCount + all.reduce(0) { $0 + $1.name.utf8.count + ($1.value?.count ?? 0) }
    )
  }

  @Test func withHeadersTheRecordIsAsItCame() throws {
    let written = try write(
      letter(value: [0, 255], key: [1], headers: [Header(name: "h", value: Array("x".utf8))]), headers: true)
    #expect(written.value == [0, 255] && written.key == [1])
    #expect(
      written.headers == [
        "h": "x", "dx-id": DeadLetterWriter.id(letter(value: nil)).description, "dx-reason": "not_json",
        "dx-detail": "a.jsonl:3:1: why", "dx-topic": "events", "dx-partition": "0", "dx-offset": "7",
        "dx-timestamp": "5",
      ])
  }

  @Test func withoutHeadersItIsOneLineOfJSON() throws {
    let id = DeadLetterWriter.id(letter(value: nil)).description
    let text = try write(letter(value: Array("a\nb".utf8), key: [0xFF]), headers: false)
    #expect(
      text.value.map { String(decoding: $0, as: UTF8.self) }
        == #"{"id":"\#(id)","reason":"not_json","detail":"a.jsonl:3:1: why","event":"events/0/7","timestamp":5,"keyBase64":"/w==","value":"a\nb"}"#
    )
    let gone = try JSONDocument.value(of: try #require(write(letter(value: nil), headers: false).value))
    #expect(gone["value"] == nil && gone["valueBase64"] == nil)
  }

  @Test(arguments: [true, false]) func noPartOfARecordMakesItsDeadLetterTooLarge(_ hasHeaders: Bool) throws {
    let large = [UInt8](repeating: 1, count: 900_000)
    let maximum = 1 << 20
    var long = letter(value: large, key: large, headers: [Header(name: "h", value: large)])
    long.detail = String(repeating: "x", count: 900_000)
    for letter in [
      letter(value: large), letter(value: nil, key: large),
      letter(value: [1], headers: [Header(name: "h", value: large)]),
      long, letter(value: [UInt8](repeating: 0x22, count: 5 << 20)),
    ] {
      #expect(try write(letter, maximum: maximum, headers: hasHeaders).bytes <= maximum)
    }
    let cut = try write(letter(value: [UInt8](repeating: 97, count: 2 << 20)), maximum: maximum, headers: true)
    #expect(cut.value?.count == 64 << 10)
    #expect(cut.headers["dx-length"] == "2097152")
    #expect(cut.headers["dx-sha256"]?.count == 64)
  }
}

@Suite(.timeLimit(.minutes(1))) struct WaitingTests {
  @Test func aNotificationBeforeTheWaitIsNotLost() async {
    let signal = Signal()
    signal.notify()
    await signal.wait()
    async let waiting: Void = signal.wait()
    // Before or after the wait has begun: it is heard.
    signal.notify()
    await waiting
  }

  @Test func aWorkerRunsEveryJobBeforeAndAfterItsStop() async {
    for round in 0..<200 {
      let worker = WorkerThread(name: "test-\(round)")
      let first = Task.detached(executorPreference: worker) { round }
      if round % 2 == 0 { worker.stop() }
      let second = Task.detached(executorPreference: worker) { round + 1 }
      #expect(await first.value == round)
      worker.stop()
      let third = Task.detached(executorPreference: worker) { round + 2 }
      #expect(await second.value == round + 1)
      #expect(await third.value == round + 2)
    }
  }
}
