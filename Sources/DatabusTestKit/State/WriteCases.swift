import DatabusCore

/// What is written, and what is refused.
extension StateSuite {
  static func atomicApply(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await run.open()
      try await run.apply(session, checkpoint: 1) { batch in
        for number in 0..<500 { batch.put(bytes("key-\(number)"), bytes("old")) }
      }
      try await run.apply(session, checkpoint: 2) { batch in
        for number in 0..<250 { batch.put(bytes("key-\(number)"), bytes("new")) }
        for number in 250..<500 { batch.delete(bytes("key-\(number)")) }
        batch.delete(bytes("never there"))
      }
      try await run.checkHolds(
        session, (0..<500).map { ("key-\($0)", $0 < 250 ? "new" : nil) }, at: "after checkpoint 2")
    }
  }

  static func compareAndSet(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await run.open()
      try await run.apply(session) { $0.put(bytes("a"), bytes("1")) }
      let attempts: [(place: String, expect: (inout WriteBatch) -> Void)] = [
        ("expects another value", { $0.expect(bytes("a"), bytes("2")) }),
        ("expects an absent key that is there", { $0.expect(bytes("a"), nil) }),
        ("expects a value of a key that is absent", { $0.expect(bytes("b"), bytes("1")) }),
        (
          "one expectation of two does not hold",
          {
            $0.expect(bytes("a"), bytes("1"))
            $0.expect(bytes("b"), bytes("1"))
          }
        ),
      ]
      for (place, expect) in attempts {
        try await run.checkRefused(.diverged, session, at: place) { batch in
          batch.put(bytes("a"), bytes("3"))
          batch.put(bytes("c"), bytes("3"))
          expect(&batch)
        }
        try await run.checkHolds(session, [("a", "1"), ("b", nil), ("c", nil)], at: place)
      }
      try await run.apply(session) { batch in
        batch.put(bytes("a"), bytes("2"))
        batch.expect(bytes("a"), bytes("1"))
        batch.expect(bytes("b"), nil)
      }
      try await run.checkHolds(session, [("a", "2")], at: "all expectations hold")
    }
  }

  static func fencing(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let old = try await run.open()
      try await run.apply(old, checkpoint: 1) { $0.put(bytes("owner"), bytes("old")) }
      let new = try await run.open()
      trial.check(
        new.epoch > old.epoch, "the epoch of a later session is \(new.epoch), the earlier one's \(old.epoch)")
      trial.checkEqual(new.checkpoint, 1, "the checkpoint number that the later session finds")
      try await run.checkRefused(.fenced, old, checkpoint: 2, at: "the earlier session's next checkpoint") {
        $0.put(bytes("owner"), bytes("old again"))
      }
      try await run.checkRefused(.fenced, old, at: "the earlier session's write without a checkpoint") {
        $0.put(bytes("owner"), bytes("old again"))
      }
      try await run.checkHolds(new, [("owner", "old")], at: "after refused writes")
      try await run.apply(new, checkpoint: 2) { $0.put(bytes("owner"), bytes("new")) }
      try await run.checkHolds(new, [("owner", "new")], at: "after the later session's checkpoint")
    }
  }

  static func checkpointNumbers(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await run.open()
      trial.checkEqual(session.checkpoint, 0, "the checkpoint number of a scope without state")
      try await run.checkRefused(.diverged, session, checkpoint: 2, at: "2 as the first number") {
        $0.put(bytes("a"), bytes("2"))
      }
      try await run.apply(session, checkpoint: 1) { $0.put(bytes("a"), bytes("1")) }
      try await run.checkRefused(.diverged, session, checkpoint: 3, at: "3 behind 1") {
        $0.put(bytes("a"), bytes("3"))
      }
      try await run.checkHolds(session, [("a", "1")], at: "after refused checkpoints")
      try await run.apply(session, checkpoint: 2) { $0.put(bytes("a"), bytes("2")) }
      let next = try await run.open()
      trial.checkEqual(next.checkpoint, 2, "the checkpoint number that the next session finds")
    }
  }

  static func idempotentRepeat(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await run.open()
      try await run.apply(session, checkpoint: 1) { batch in
        batch.put(bytes("a"), bytes("first"))
        batch.expect(bytes("a"), nil)
      }
      // Its expectation does not hold any more: the repeat is known by its number alone.
      try await run.apply(session, checkpoint: 1) { batch in
        batch.put(bytes("a"), bytes("repeat"))
        batch.expect(bytes("a"), nil)
      }
      try await run.checkHolds(session, [("a", "first")], at: "after the repeat")
      try await run.apply(session, checkpoint: 2) { $0.put(bytes("a"), bytes("second")) }
      let next = try await run.open()
      try await run.checkRefused(.diverged, next, checkpoint: 2, at: "the same number in a later session") {
        $0.put(bytes("a"), bytes("other"))
      }
      try await run.checkHolds(next, [("a", "second")], at: "in a later session")
    }
  }

  static func emptyValue(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await run.open()
      try await run.apply(session) { $0.put(bytes("empty"), []) }
      try await run.checkHolds(session, [("empty", ""), ("absent", nil)], at: "read")
      try await run.apply(session) { batch in
        batch.expect(bytes("empty"), [])
        batch.put(bytes("seen"), bytes("1"))
      }
      try await run.checkRefused(.diverged, session, at: "an empty value that is expected to be absent") { batch in
        batch.expect(bytes("empty"), nil)
        batch.put(bytes("seen"), bytes("2"))
      }
      try await run.checkRefused(.diverged, session, at: "an absent value that is expected to be empty") { batch in
        batch.expect(bytes("absent"), [])
        batch.put(bytes("seen"), bytes("3"))
      }
    }
  }

  static func largeValues(_ state: StateUnderTest, _ trial: Trial) async throws {
    try await with(state, trial) { run in
      let session = try await run.open()
      let sizes = [65_535, 65_536, 1 << 20, state.largestValue].filter { $0 <= state.largestValue }
      let pattern = (0..<997).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      func value(_ size: Int) -> [UInt8] {
        var value: [UInt8] = []
        while value.count < size { value += pattern }
        return Array(value.prefix(size))
      }
      try await run.apply(session, checkpoint: 1) { batch in
        for size in sizes { batch.put(bytes("size-\(size)"), value(size)) }
      }
      let found = try await run.get(session, sizes.map { "size-\($0)" })
      for (size, found) in zip(sizes, found) {
        trial.check(
          found == value(size), "a value of \(size) bytes came back changed (\(found?.count ?? 0) bytes)",
          at: "size-\(size)")
      }
    }
  }
}
