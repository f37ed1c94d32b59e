import DatabusCore

/// What a sink accepts, and how that ends.
extension TransportSuite {
  /// The values that the stream holds, in the order of their positions.
  private static func stored(_ run: TransportRun, atLeast count: Int) async throws -> [[UInt8]?] {
    let reader = try await run.open(.first, batchRecords: 4096)
    _ = try await run.read(reader, until: "\(count) records written by the sink") { $0.records.count >= count }
    let seen = try await run.poll(reader)  // and what should not be there
    try await run.close(reader)
    return seen.records.sorted { $0.position < $1.position }.map(\.value)
  }

  static func saturation(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial, sink: true) { run in
      let writer = try await SinkWriter(run.subject, trial)
      let most = writer.sink.capabilities.maximumInFlight
      try trial.require(
        most <= 100_000, "its sinks take \(most) deliveries at once; set a smaller limit for the suite")
      let records = (0..<most + 10).map { TestRecord($0) }
      let accepted = try await writer.sendAll(records)
      trial.check(
        accepted.first ?? 0 <= most, "send accepted \(accepted.first ?? 0) deliveries; the limit is \(most)",
        at: "first send")
      let open = records.indices.filter { writer.ends.ends.told[SinkWriter.firstToken + UInt64($0)] == nil }
      trial.check(
        open.isEmpty, "\(open.count) deliveries were accepted and never ended, though flush returned",
        at: "delivery \(open.first ?? 0)")
      try await run.close(writer)
      let values = try await stored(run, atLeast: records.count - open.count)
      trial.checkEqual(values.count, records.count, "the number of records in the stream")
      if let place = zip(values, records).enumerated().first(where: { $1.0 != $1.1.value })?.offset {
        trial.report("a record is not the one that was sent there", at: "delivery \(place)")
      }
    }
  }

  static func oversize(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial, sink: true) { run in
      let writer = try await SinkWriter(run.subject, trial)
      let most = writer.sink.capabilities.maximumRecordBytes
      try trial.require(
        most <= 32 << 20, "its sinks take records of \(most) bytes; set a smaller limit for the suite")
      let large = TestRecord(value: Array(repeating: UInt8(ascii: "1"), count: most + 1))
      try await writer.sendAll([TestRecord(0), large, TestRecord(2)])
      let ends = writer.ends.ends
      trial.checkEqual(
        ends.failed, [SinkWriter.firstToken + 1: .record], "the list of failed deliveries",
        at: "a record of \(most + 1) bytes between two small ones")
      try await run.close(writer)
      let values = try await stored(run, atLeast: 2)
      trial.checkEqual(
        Set(values), [TestRecord(0).value, TestRecord(2).value], "the set of records in the stream")
    }
  }

  static func endsOnce(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial, sink: true) { run in
      let writer = try await SinkWriter(run.subject, trial)
      try await writer.sendAll((0..<6).map { TestRecord($0) })
      for (token, times) in writer.ends.ends.told.sorted(by: { $0.key < $1.key }) {
        trial.checkEqual(times, 1, "how often an end was told", at: "token \(token)")
      }
      trial.checkEqual(
        Set(writer.ends.ends.told.keys), Set((0..<6).map { SinkWriter.firstToken + UInt64($0) }),
        "the set of tokens that ended before flush returned")
      trial.checkEqual(writer.ends.ends.failed, [:], "the list of failed deliveries")
      try await run.close(writer)
      _ = try await stored(run, atLeast: 6)
    }
  }
}
