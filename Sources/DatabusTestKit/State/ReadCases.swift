import DatabusCore

/// Scans, scopes, and what is there after a kill.
extension StateSuite {
  private static let oddKeys: [[UInt8]] = [
    [0], [0, 0], [0, 1], [0x61], [0x61, 0], [0x61, 0x62], [0x62], [0x7f], [0x80], [0xc3, 0xa9], [0xfe], [0xfe, 0xff],
    [0xff], [0xff, 0], [0xff, 0xff], [0xff, 0xff, 0xff],
  ]

  private static func fill(_ run: StateRun, _ keys: [[UInt8]]) async throws -> any StateSession {
    let session = try await run.open()
    try await run.apply(session) { batch in
      for key in keys.reversed() { batch.put(key, key) }
    }
    return session
  }

  static func scanOrder(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await fill(run, oddKeys)
      let found = try await run.scan(session, [])
      trial.checkEqual(found, oddKeys, "the order of all keys")
    }
  }

  static func scanPrefix(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await fill(run, oddKeys)
      for prefix: [UInt8] in [[0], [0x61], [0xfe], [0xff], [0xff, 0xff], [0xfe, 0xff], [0x63]] {
        let found = Set(try await run.scan(session, prefix))
        trial.checkEqual(
          found, Set(oddKeys.filter { $0.starts(with: prefix) }), "the set of keys", at: "prefix \(prefix)")
      }
    }
  }

  static func scanPaging(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let keys = (0..<100).map { bytes("k\($0 + 100)") }
      let session = try await fill(run, keys + [bytes("j000"), bytes("l000")])
      for limit in [1, 7, 99, 100, 101] {
        let found = try await run.scan(session, bytes("k"), limit: limit)
        trial.checkEqual(found.count, Set(found).count, "the number of distinct keys", at: "pages of \(limit)")
        trial.checkEqual(Set(found), Set(keys), "the set of keys", at: "pages of \(limit)")
      }
    }
  }

  static func scopes(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let others = [
        PartitionID(stream: partition.stream, incarnation: partition.incarnation, index: 1),
        PartitionID(stream: partition.stream, incarnation: "life-2", index: 0),
        PartitionID(stream: partition.stream + "/0", incarnation: partition.incarnation, index: 0),
      ]
      let all: [StateScope] = [.pipeline] + ([partition] + others).map { .partition($0) }
      for (number, scope) in all.enumerated() {
        let session = try await run.open(scope)
        try await run.checkHolds(session, [("mine", nil)], at: "\(scope)")
        try await run.apply(session) { $0.put(bytes("mine"), bytes("\(number)")) }
      }
      for (number, scope) in all.enumerated() {
        try await run.checkHolds(try await run.open(scope), [("mine", "\(number)")], at: "\(scope)")
      }
      let backend = run.backend
      let listed = try await trial.within("partitions") { try await backend.partitions() }
      trial.checkEqual(Set(listed), Set([partition] + others), "the set of partitions with state")
      trial.checkEqual(listed.count, 4, "the number of partitions listed")
    }
  }

  static func removal(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let old = try await run.open()
      try await run.apply(old, checkpoint: 1) { $0.put(bytes("a"), bytes("1")) }
      let backend = run.backend
      try await trial.within("remove") { try await backend.remove(partition) }
      let new = try await run.open()
      try await run.checkHolds(new, [("a", nil)], at: "after the removal")
      trial.checkEqual(new.checkpoint, 0, "the checkpoint number after the removal")
      trial.check(new.epoch > old.epoch, "an epoch was minted again after the removal", at: "epoch \(new.epoch)")
      try await run.checkRefused(.fenced, old, checkpoint: 2, at: "a session from before the removal") {
        $0.put(bytes("a"), bytes("2"))
      }
    }
  }

  static func reopen(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { original in
      var run = original
      try trial.require(run.backend.capabilities.isDurable, "it says that it keeps nothing over a kill")
      guard let reopen = run.subject.reopenAfterKill else {
        return trial.report("it says that it is durable, and cannot be opened again (reopenAfterKill is nil)")
      }
      let id = run.backend.id
      let session = try await run.open()
      try await run.apply(session, checkpoint: 1) { $0.put(bytes("a"), bytes("1")) }
      try await run.apply(session, checkpoint: 2) { $0.put(bytes("b"), bytes("2")) }
      let pipeline = try await run.open(.pipeline)
      try await run.apply(pipeline) { $0.put(bytes("rule"), bytes("r")) }

      run.backend = try await trial.within("reopenAfterKill") { try await reopen() }
      trial.checkEqual(run.backend.id, id, "the backend's id after the kill")
      let again = try await run.open()
      trial.checkEqual(again.checkpoint, 2, "the checkpoint number after the kill")
      trial.check(again.epoch > session.epoch, "an epoch was minted again after the kill", at: "epoch \(again.epoch)")
      try await run.checkHolds(again, [("a", "1"), ("b", "2")], at: "after the kill")
      try await run.checkHolds(try await run.open(.pipeline), [("rule", "r")], at: "pipeline, after the kill")
      try await run.apply(again, checkpoint: 3) { $0.put(bytes("a"), bytes("3")) }
      try await run.checkHolds(again, [("a", "3")], at: "checkpoint 3, after the kill")
    }
  }

  static func ruleStore(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let vector = bytes("rules/vector")
      func write(_ batch: inout WriteBatch, _ rule: String, base: String?, next: String) {
        batch.put(bytes("rules/\(rule)"), bytes(next))
        batch.put(vector, bytes(next))
        batch.expect(vector, base.map(bytes))
      }
      let first = try await run.open(.pipeline)
      let second = try await run.open(.pipeline)
      trial.checkEqual([first.epoch, second.epoch], [0, 0], "the epochs of sessions of the pipeline")
      try await run.apply(first) { write(&$0, "a", base: nil, next: "0=1") }
      try await run.checkRefused(.diverged, second, at: "a second writer that has seen nothing") {
        write(&$0, "b", base: nil, next: "0=1")
      }
      try await run.apply(second) { write(&$0, "b", base: "0=1", next: "0=2") }
      try await run.checkRefused(.diverged, first, at: "a writer whose base is over") {
        write(&$0, "c", base: "0=1", next: "0=2")
      }
      // Sessions of the pipeline live side by side: the earlier one goes on where its base holds.
      try await run.apply(first) { write(&$0, "c", base: "0=2", next: "0=3") }
      try await run.checkHolds(
        second, [("rules/a", "0=1"), ("rules/b", "0=2"), ("rules/c", "0=3"), ("rules/vector", "0=3")],
        at: "after all writes")
    }
  }
}
