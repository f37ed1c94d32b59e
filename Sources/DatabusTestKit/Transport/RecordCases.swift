import DatabusCore

/// What becomes of records between their producer and `EventSource.next`.
extension TransportSuite {
  static func orderPerPartition(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    let partitions = min(transport.maximumPartitions, 2)
    try await with(transport, trial, partitions: partitions) { run in
      let perPartition = 40
      for number in 0..<perPartition {
        for partition in 0..<partitions {
          try await run.append(TestRecord(number * partitions + partition), to: partition)
        }
      }
      let reader = try await run.open()
      let seen = try await run.read(reader, records: perPartition * partitions)
      for partition in 0..<partitions {
        let records = seen.records(in: partition)
        let expected = (0..<perPartition).map { TestRecord($0 * partitions + partition).value }
        trial.checkEqual(records.map(\.value), expected, "the order", at: "partition \(partition)")
        for (earlier, later) in zip(records, records.dropFirst()) {
          trial.check(
            earlier.next <= later.position && earlier.position < earlier.next,
            "positions go from \(earlier.position) (next \(earlier.next)) to \(later.position)", at: later.place)
        }
      }
      try await run.close(reader)
    }
  }

  static func batchLimit(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try await run.append(0..<7)
      let reader = try await run.open(batchRecords: 3)
      let seen = try await run.read(reader, records: 7)
      trial.checkEqual(seen.excess, 0, "the number of records beyond what was asked for")
      try await run.close(reader)
    }
  }

  static func keys(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try trial.require(try await run.capabilities().keys, "its records have no keys")
      let appended = [
        TestRecord(key: Array("a".utf8), value: TestRecord(0).value),
        TestRecord(key: nil, value: TestRecord(1).value),
        TestRecord(key: [0, 0xff, 0x0a], value: TestRecord(2).value),
        TestRecord(key: Array(repeating: 0x61, count: 1000), value: TestRecord(3).value),
      ]
      for record in appended { try await run.append(record) }
      let reader = try await run.open()
      let seen = try await run.read(reader, records: appended.count)
      for record in appended {
        let found = seen.records.first { $0.value == record.value }
        trial.checkEqual(found?.key, record.key, "the key", at: found?.place ?? "")
      }
      try await run.close(reader)
    }
  }

  static func headers(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try trial.require(try await run.capabilities().headers, "its records have no headers")
      let headers = [
        Header(name: "b", value: Array("1".utf8)), Header(name: "a", value: [0, 0xff]),
        Header(name: "b", value: nil), Header(name: "c", value: []),
      ]
      try await run.append(TestRecord(value: TestRecord(0).value))
      try await run.append(TestRecord(value: TestRecord(1).value, headers: headers))
      try await run.append(TestRecord(value: TestRecord(2).value))
      let reader = try await run.open()
      let seen = try await run.read(reader, records: 3)
      for (number, expected) in [[], headers, []].enumerated() {
        let found = seen.records.first { $0.value == TestRecord(number).value }
        trial.checkEqual(
          found?.headers, expected, "the list of headers (in order, names repeated, nil and empty apart)",
          at: found?.place ?? "")
      }
      try await run.close(reader)
    }
  }

  static func tombstone(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let capabilities = try await run.capabilities()
      try trial.require(capabilities.tombstones, "it has no tombstones")
      let key: [UInt8]? = capabilities.keys ? Array("k".utf8) : nil
      try await run.append(TestRecord(key: key, value: TestRecord(0).value))
      try await run.append(TestRecord(key: key, value: nil))
      let reader = try await run.open()
      let seen = try await run.read(reader, records: 2)
      trial.checkEqual(seen.records.count { $0.value == nil }, 1, "the number of records without value")
      try await run.close(reader)
    }
  }

  static func emptyValue(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try trial.require(transport.emptyValues, "its records cannot have empty values")
    try await with(transport, trial) { run in
      try await run.append(TestRecord(0))
      try await run.append(TestRecord(value: []))
      let reader = try await run.open()
      let seen = try await run.read(reader, records: 2)
      trial.checkEqual(seen.records.count { $0.value == [] }, 1, "the number of records with an empty value")
      try await run.close(reader)
    }
  }

  static func identityAfterReread(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try trial.require(try await run.capabilities().replayable, "it cannot be read again")
      try await run.append(0..<4)
      var readings: [[SeenRecord]] = []
      for _ in 0..<2 {
        let reader = try await run.open()
        let first = try await run.read(reader, records: 4).records
        readings.append(first)
        if let assignment = first.first?.assignment, let position = first.first?.position {
          try await trial.within("seek") {
            try await reader.source.seek(assignment, to: Position(next: position))
          }
          readings.append(Array(try await run.read(reader, records: 8).records.dropFirst(4)))
        }
        try await run.close(reader)
      }
      func identities(_ records: [SeenRecord]) -> [[UInt8]: SeenRecord.Identity] {
        Dictionary(records.map { ($0.value ?? [], $0.identity) }, uniquingKeysWith: { $1 })
      }
      for reading in readings.dropFirst() {
        trial.checkEqual(
          identities(reading), identities(readings[0]),
          "the identity (incarnation, partition, position, timestamp) of the records read again")
      }
    }
  }

  static func identityAfterRecreation(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let recreate = try trial.require(run.subject.recreate, "its streams cannot be made anew from here")
      var lives: [Set<SeenRecord.Identity>] = []
      for life in 0..<2 {
        if life > 0 { try await trial.within("recreate") { try await recreate() } }
        try await run.append(0..<3)
        let reader = try await run.open()
        lives.append(Set(try await run.read(reader, records: 3).records.map(\.identity)))
        try await run.close(reader)
      }
      for identity in lives[0].intersection(lives[1]) {
        trial.report(
          "records of two lives of the stream have one identity",
          at: "\(identity.partition)/\(identity.position), incarnation \(identity.partition.incarnation)")
      }
    }
  }
}
