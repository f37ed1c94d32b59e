import DatabusCore

/// Positions: commits, seeking, gaps.
extension TransportSuite {
  static func commitThenResume(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try await run.append(0..<6)
      let reader = try await run.open(.committed)
      try trial.require(reader.source.capabilities.commits, "it keeps no commits")
      let seen = try await run.read(reader, records: 6)
      guard let third = seen.records.first(where: { $0.value == TestRecord(2).value }) else {
        return trial.report("the third record did not come")
      }
      let none = try await trial.within("committed") { try await reader.source.committed([third.assignment]) }
      trial.checkEqual(none, [nil], "what is committed before the first commit")
      let metadata = "backend-1/7/events:0=12"
      let refused = try await run.commit(reader, [CommitMark(after: third, metadata)])
      trial.checkEqual(refused, [], "the list of refused commits of the owner", at: third.place)
      try await run.close(reader)

      let next = try await run.open(.committed)
      let again = try await run.read(next, until: "the records behind the commit") {
        $0.values.isSuperset(of: [TestRecord(3).value, TestRecord(4).value, TestRecord(5).value])
      }
      if let assignment = again.held.first {
        let committed = try await trial.within("committed") { try await next.source.committed([assignment]) }
        trial.checkEqual(committed.first??.position.next, third.next, "the committed position", at: third.place)
        trial.checkEqual(committed.first??.metadata, metadata, "the metadata of the commit", at: third.place)
      }
      try await run.close(next)
    }
  }

  static func exactResume(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try trial.require(try await run.capabilities().replayable, "it cannot be read again")
      try await run.append(0..<5)
      let reader = try await run.open()
      let records = try await run.read(reader, records: 5).records
      try await run.close(reader)
      for (place, record) in records.enumerated() where place > 0 {
        let resumed = try await run.open(.at([0: records[place - 1].next]))
        let seen = try await run.read(resumed, until: "the records from \(record.place) on") {
          $0.values.contains(TestRecord(4).value)
        }
        trial.checkEqual(
          seen.records.map(\.value), (place..<5).map { TestRecord($0).value }, "what is read from a position on",
          at: "position \(records[place - 1].next)")
        trial.checkEqual(
          seen.records.first?.position, record.position, "the position of the record read there", at: record.place)
        try await run.close(resumed)
      }
    }
  }

  static func staleGeneration(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try await run.append(0..<3)
      let reader = try await run.open(.committed)
      try trial.require(reader.source.capabilities.commits, "it keeps no commits")
      let seen = try await run.read(reader, records: 3)
      guard let record = seen.records.first else { return }
      for generation in [record.assignment.generation &+ 1, record.assignment.generation &- 1] {
        var mark = CommitMark(after: record, "stale")
        mark.assignment.generation = generation
        let refused = try await run.commit(reader, [mark])
        trial.checkEqual(
          refused, [mark.assignment], "the list of refused commits", at: "generation \(generation)")
      }
      let committed = try await trial.within("committed") {
        try await reader.source.committed([record.assignment])
      }
      trial.checkEqual(committed, [nil], "what is committed after refused commits", at: record.place)
      try await run.close(reader)
    }
  }

  static func operatorReset(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let reset = try trial.require(run.subject.setGroupPosition, "its groups' positions cannot be set")
      try await run.append(0..<5)
      let reader = try await run.open(.committed)
      try trial.require(reader.source.capabilities.commits, "it keeps no commits")
      let records = try await run.read(reader, records: 5).records
      guard let second = records.first(where: { $0.value == TestRecord(1).value }),
        let last = records.first(where: { $0.value == TestRecord(4).value })
      else { return trial.report("not every record came") }
      _ = try await run.commit(reader, [CommitMark(after: last, "backend-1/9/")])
      try await run.close(reader)
      try await trial.within("setGroupPosition") {
        try await reset(group, second.assignment.partition, second.position)
      }

      let next = try await run.open(.committed)
      let seen = try await run.read(next, until: "the records behind the position that was set") {
        $0.values.contains(TestRecord(1).value)
      }
      if let assignment = seen.held.first {
        let committed = try await trial.within("committed") { try await next.source.committed([assignment]) }
        trial.checkEqual(
          committed.first??.position.next, second.position, "the position that was set", at: second.place)
        trial.checkEqual(
          committed.first??.metadata, "", "the metadata beside a position that an operator set", at: second.place)
      }
      try await run.close(next)
    }
  }

  static func pause(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try await run.append(0..<2)
      let reader = try await run.open()
      guard let assignment = try await run.read(reader, records: 2).records.first?.assignment else { return }
      try await trial.within("pause") { try await reader.source.pause([assignment], true) }
      try await run.append(2..<4)
      let silent = try await run.poll(reader)
      trial.checkEqual(
        silent.records.count, 2, "the number of records delivered before and during a pause",
        at: "\(assignment.partition)")
      try await trial.within("pause") { try await reader.source.pause([assignment], false) }
      let seen = try await run.read(reader, until: "the records held back by the pause") {
        $0.values.contains(TestRecord(3).value)
      }
      trial.check(seen.values.contains(TestRecord(2).value), "a record was passed over by a pause")
      try await run.close(reader)
    }
  }

  static func holes(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let skip = try trial.require(run.subject.skip, "every position of its partitions holds a record")
      try await run.append(0..<2)
      try await trial.within("skip") { try await skip(0) }
      let reader = try await run.open()
      let records = try await run.read(reader, records: 2).records
      guard let last = records.last else { return }
      let assignment = last.assignment
      let bounds = try await trial.within("bounds") { try await reader.source.bounds(of: [assignment.partition]) }
      guard let end = bounds.first?.end.next else { return trial.report("bounds of a partition are missing") }
      trial.check(end > last.next, "nothing stands behind the last record", at: "\(assignment.partition)/\(end)")
      // Bounded by itself: a transport that tells nothing here is found without a long wait.
      let seen = try await trial.within("next") {
        try await reader.pump(for: .seconds(2)) { $0.passed[assignment] == end }
      }
      trial.checkEqual(
        seen.passed[assignment], end, "how far positions without records were passed", at: last.place)
      trial.checkEqual(seen.gaps, [], "the list of gaps: nothing is gone that was ever there")
      try await run.append(2..<3)
      let more = try await run.read(reader, until: "the record behind positions without records") {
        $0.values.contains(TestRecord(2).value)
      }
      trial.check(
        more.records.last.map { $0.position >= end } ?? false, "a record stands among positions that were passed")
      try await run.close(reader)
    }
  }

  static func outOfRange(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try trial.require(try await run.capabilities().replayable, "it cannot be read again")
      try await run.append(0..<4)
      let reader = try await run.open()
      let records = try await run.read(reader, records: 4).records
      guard let assignment = records.first?.assignment, let end = records.map(\.next).max() else { return }
      let beyond = end + 1000
      try await trial.within("seek") { try await reader.source.seek(assignment, to: Position(next: beyond)) }
      // Bounded by itself: a transport that tells nothing here is found without a long wait.
      let ahead = try await trial.within("next") {
        try await reader.pump(for: .seconds(2)) { !$0.gaps.isEmpty }
      }
      trial.checkEqual(
        ahead.gaps, [Observations.Gap(assignment: assignment, from: beyond, to: end)],
        "what is told after a seek behind the end", at: "\(assignment.partition)/\(beyond)")
      try await run.append(4..<5)
      _ = try await run.read(reader, until: "the record appended after a seek behind the end") {
        $0.values.contains(TestRecord(4).value)
      }
      try await run.close(reader)

      if let truncate = run.subject.truncate {
        let before = records[2].position
        try await trial.within("truncate") { try await truncate(assignment.partition, before) }
        try await truncated(run, records)
      }
    }
  }

  /// The second half of `outOfRange`: what stood before the third record is gone.
  private static func truncated(_ run: TransportRun, _ records: [SeenRecord]) async throws {
    let trial = run.trial
    let from = records[0].position
    let reader = try await run.open(.at([0: from]))
    let seen = try await run.read(reader, until: "the records that retention left") {
      $0.values.contains(TestRecord(4).value)
    }
    let bounds = try await trial.within("bounds") {
      try await reader.source.bounds(of: [records[0].assignment.partition])
    }
    guard let first = bounds.first else { return trial.report("bounds of a partition are missing") }
    trial.check(first.isTruncated, "the bounds do not say that records were removed", at: "\(first.first)")
    trial.checkEqual(first.first.next, records[2].position, "the first position that can be read")
    trial.checkEqual(
      seen.gaps.map { [$0.from, $0.to] }, [[from, first.first.next]],
      "what is told after a seek before the first record (from, to)", at: records[0].place)
    try await run.close(reader)
  }
}
