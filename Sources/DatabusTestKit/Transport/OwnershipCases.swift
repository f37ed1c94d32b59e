import DatabusCore

/// Who owns a partition, and what that means.
extension TransportSuite {
  static func revoke(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let hook = try trial.require(run.subject.revoke, "its partitions cannot be revoked from here")
      try await run.append(0..<6)
      let reader = try await run.open(.committed)
      try trial.require(reader.source.capabilities.groups, "it divides no partitions among members")
      let records = try await run.read(reader, records: 6).records
      guard let assignment = records.first?.assignment,
        let fifth = records.first(where: { $0.value == TestRecord(4).value })
      else { return }
      let revoking = Task { try await hook(group, assignment.partition) }
      let told = try await run.read(reader, until: "the revocation") { !$0.revoking.isEmpty }
      try await trial.within("revoke") { try await revoking.value }
      trial.checkEqual(told.revoking, [assignment], "the list of assignments that are revoked")
      for deadline in told.deadlines {
        trial.check(deadline > SystemClock().now(), "the deadline of the revocation is over already")
      }
      try await run.append(6..<8)
      let after = try await run.poll(reader)
      trial.checkEqual(
        after.records.count, 6, "the number of records delivered before and after the revocation",
        at: "\(assignment)")
      try await commitAroundRelease(run, reader, of: assignment, counted: fifth, late: records[0])
      try await run.close(reader)
    }
  }

  /// Releases an assignment that is being revoked. A commit before that counts, one after it does not.
  private static func commitAroundRelease(
    _ run: TransportRun, _ reader: SourceReader, of assignment: Assignment, counted: SeenRecord, late: SeenRecord
  ) async throws {
    let trial = run.trial
    let isCommitting = reader.source.capabilities.commits
    if isCommitting {
      let refused = try await run.commit(reader, [CommitMark(after: counted, "in the window")])
      trial.checkEqual(refused, [], "the list of refused commits before the release", at: counted.place)
    }
    try await trial.within("release") { try await reader.source.release([assignment]) }
    if isCommitting {
      let refused = try await run.commit(reader, [CommitMark(after: late, "too late")])
      trial.checkEqual(
        refused, [assignment], "the list of refused commits after the release", at: "\(assignment)")
      if let committed = try await run.groupPosition(assignment.partition) {
        trial.checkEqual(
          committed?.position.next, counted.next, "what is committed after the release", at: counted.place)
      }
    }
  }

  static func lose(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let hook = try trial.require(run.subject.lose, "its partitions cannot be lost from here")
      try await run.append(0..<3)
      let reader = try await run.open(.committed)
      try trial.require(reader.source.capabilities.groups, "it divides no partitions among members")
      let records = try await run.read(reader, records: 3).records
      guard let assignment = records.first?.assignment else { return }
      let losing = Task { try await hook(group, assignment.partition) }
      let told = try await run.read(reader, until: "the loss") { !$0.lost.isEmpty }
      try await trial.within("lose") { try await losing.value }
      trial.checkEqual(told.lost, [assignment], "the list of assignments that are lost")
      try await run.append(3..<5)
      let after = try await run.poll(reader)
      trial.check(
        !after.records.dropFirst(3).contains { $0.assignment == assignment },
        "a lost assignment delivers records", at: "\(assignment)")
      try trial.require(reader.source.capabilities.commits, "it keeps no commits")
      let mark = CommitMark(after: records[2], "not ours any more")
      trial.checkEqual(
        try await run.commit(reader, [mark]), [assignment], "the list of refused commits", at: "\(assignment)")
      if let committed = try await run.groupPosition(assignment.partition) {
        trial.checkEqual(committed, nil, "what a lost assignment has committed", at: "\(assignment)")
      }
      try await run.close(reader)
    }
  }

  static func pastAssignment(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      try await run.append(0..<2)
      let reader = try await run.open(.committed)
      let source = reader.source
      let records = try await run.read(reader, records: 2).records
      guard let assignment = records.first?.assignment else { return }
      func ask(of past: Assignment, _ place: String) async throws {
        try await ignored(trial, "seek", place) { try await source.seek(past, to: Position(next: records[0].position)) }
        try await ignored(trial, "pause", place) { try await source.pause([past], true) }
        try await ignored(trial, "release", place) { try await source.release([past]) }
      }
      for generation in [assignment.generation &+ 1, assignment.generation &- 1] {
        try await ask(
          of: Assignment(partition: assignment.partition, generation: generation), "generation \(generation)")
      }
      // The one in force has neither moved nor stopped.
      try await run.append(2..<4)
      let seen = try await run.read(reader, until: "what comes after calls for another generation") {
        $0.values.contains(TestRecord(3).value)
      }
      trial.checkEqual(seen.records.count, 4, "the number of records delivered", at: "\(assignment)")
      try await trial.within("release") { try await source.release([assignment]) }
      try await ask(of: assignment, "released")
      try await run.close(reader)
    }
  }

  private static func ignored(
    _ trial: Trial, _ call: String, _ place: String, _ body: @escaping @Sendable () async throws -> Void
  ) async throws {
    do {
      try await trial.within(call, body)
    } catch let error as TransportError {
      trial.report("\(call) throws for an assignment that is over: \(error)", at: place)
    }
  }

  static func duplicateAssignment(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    let partitions = min(transport.maximumPartitions, 2)
    try await with(transport, trial, partitions: partitions) { run in
      for partition in 0..<partitions { try await run.append(partition..<partition + 1, to: partition) }
      let first = try await run.open(.committed)
      var seen = try await run.read(first, records: partitions)
      trial.checkEqual(seen.repeated, [], "the list of partitions assigned while they were held", at: "one member")
      trial.checkEqual(
        Set(seen.held.map(\.partition)).count, partitions, "the number of partitions assigned to the only member")
      if first.source.capabilities.groups {
        // What each has to give back is given back at once; who holds what is looked at after every step.
        let second = try await run.open(.committed)
        var released = 0
        for step in 0..<6 {
          seen = try await run.poll(first)
          let given = Array(seen.revoking.dropFirst(released))
          released = seen.revoking.count
          try await trial.within("release") { try await first.source.release(given) }
          let other = try await run.poll(second)
          trial.checkEqual(
            other.repeated, [], "the list of partitions assigned while they were held", at: "second member")
          for both in Set(seen.held.map(\.partition)).intersection(other.held.map(\.partition)) {
            trial.report("two members own one partition", at: "\(both), step \(step)")
          }
          if !trial.violations.isEmpty { break }
        }
        try await run.close(second)
      }
      try await run.close(first)
    }
  }

  static func everything(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    let partitions = min(transport.maximumPartitions, 2)
    try await with(transport, trial, partitions: partitions) { run in
      for partition in 0..<partitions {
        try await run.append(partition * 3..<partition * 3 + 3, to: partition)
      }
      // The member of the group stays open and keeps all that it has.
      let member = try await run.open(.committed)
      let records = try await run.read(member, records: partitions * 3).records
      guard let third = records.first(where: { $0.value == TestRecord(2).value }) else { return }
      let (subject, start) = (run.subject, Position(next: third.position))
      let source = try await trial.within("makeSource") {
        try await subject.transport.makeSource(
          subject.stream, .everything(from: [third.assignment.partition: start]))
      }
      try trial.require(!source.capabilities.wholeTable, "it reads its whole table at every start")
      try trial.require(source.capabilities.replayable, "it cannot be read again")
      // Nothing is sought: the source starts by itself where it was told.
      let reader = SourceReader(source, start: .nowhere)
      let expected = Set((2..<partitions * 3).map { TestRecord($0).value })
      let seen = try await run.read(reader, until: "the records of all partitions, without a seek") {
        $0.values.isSuperset(of: expected)
      }
      trial.checkEqual(
        seen.values, expected, "the set of records from where the source was told to start", at: third.place)
      if let assignment = seen.held.first(where: { $0.partition.index == 0 }),
        let first = records.first(where: { $0.value == TestRecord(0).value })
      {
        try await trial.within("seek") { try await source.seek(assignment, to: Position(next: first.position)) }
        _ = try await run.read(reader, until: "the records from before the start, after a seek to them") {
          $0.values.isSuperset(of: [TestRecord(0).value, TestRecord(1).value])
        }
      }
      let other = try await run.poll(member)
      trial.check(
        other.revoking.isEmpty && other.lost.isEmpty, "reading everything took a partition from a group's member")
      try await run.close(reader)
      try await run.close(member)
    }
  }

  static func addedPartition(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let add = try trial.require(run.subject.addPartition, "no partition can be added to its streams")
      try await run.append(0..<2)
      let reader = try await run.open(.committed)
      _ = try await run.read(reader, records: 2)
      let before = try await trial.within("partitions") { try await reader.source.partitions() }
      trial.checkEqual(before.map(\.index), [0], "the list of partitions")
      try await trial.within("addPartition") { try await add() }
      try await run.append(2..<4, to: 1)
      let seen = try await run.read(reader, until: "the records of the added partition") {
        $0.records(in: 1).count >= 2
      }
      trial.checkEqual(
        Set(seen.records(in: 1).map(\.value)), [TestRecord(2).value, TestRecord(3).value],
        "the set of records of the added partition")
      let after = try await trial.within("partitions") { try await reader.source.partitions() }
      trial.checkEqual(after.map(\.index).sorted(), [0, 1], "the list of partitions after one was added")
      try await run.close(reader)
    }
  }

  static func reconnect(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { original in
      var run = original
      let restart = try trial.require(run.subject.restart, "it cannot be opened again on the same storage")
      try await run.append(0..<4)
      let reader = try await run.open(.committed)
      let records = try await run.read(reader, records: 4).records
      let isCommitting = reader.source.capabilities.commits
      if isCommitting, let second = records.first(where: { $0.value == TestRecord(1).value }) {
        _ = try await run.commit(reader, [CommitMark(after: second, "kept")])
      }
      try trial.require(reader.source.capabilities.replayable, "what was read is not kept")
      try await run.close(reader)

      run.subject.transport = try await trial.within("restart") { try await restart() }
      let again = try await run.open(.first)
      let seen = try await run.read(again, until: "the records from before the restart") {
        $0.values.contains(TestRecord(3).value)
      }
      trial.checkEqual(
        seen.values, Set((0..<4).map { TestRecord($0).value }), "the set of records from before the restart")
      trial.checkEqual(
        Set(seen.held.map(\.partition)), Set(records.map(\.assignment.partition)),
        "the set of partitions (incarnation and all) after the restart")
      if isCommitting, let assignment = seen.held.first {
        let committed = try await trial.within("committed") { try await again.source.committed([assignment]) }
        trial.check(committed.first.flatMap { $0 } != nil, "the commit from before the restart is gone")
      }
      try await run.append(4..<5)
      _ = try await run.read(again, until: "a record from after the restart") {
        $0.values.contains(TestRecord(4).value)
      }
      try await run.close(again)
    }
  }

  static func closeWhileBlocked(_ transport: TransportUnderTest, _ trial: Trial) async throws {
    try await with(transport, trial) { run in
      let reader = try await run.open()
      _ = try await run.poll(reader)
      let source = reader.source
      let reading = Task { await outcome { _ = try await source.next(records: 1, bytes: 1024, wait: .seconds(3600)) } }
      for _ in 0..<20 { await Task.yield() }
      try await run.close(reader)
      let read = try await trial.within("the end of next after close") { await reading.value }
      trial.checkEqual(read, "closed", "the end of a waiting next")
      let later = try await trial.within("next after close") {
        await outcome { _ = try await source.next(records: 1, bytes: 1024, wait: .zero) }
      }
      trial.checkEqual(later, "closed", "the end of next on a closed source")

      guard transport.hasSinks, let limitRoom = run.subject.limitRoom else { return }
      let writer = try await SinkWriter(run.subject, trial)
      try await limitRoom(0)
      let sink = writer.sink
      let waiting = Task { await outcome { try await sink.writable() } }
      for _ in 0..<20 { await Task.yield() }
      try await run.close(writer)
      let waited = try await trial.within("the end of writable after close") { await waiting.value }
      trial.checkEqual(waited, "closed", "the end of a waiting writable")
    }
  }

  /// The class of what a call throws, in a word.
  private static func outcome(_ body: () async throws -> Void) async -> String {
    do {
      try await body()
      return "a result"
    } catch let error as TransportError {
      return "\(error.class)"
    } catch {
      return "\(error)"
    }
  }
}
