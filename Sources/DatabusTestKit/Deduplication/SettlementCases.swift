import DatabusCore
import Dispatcher

/// Who may end an attempt, and what is remembered then.
extension DeduplicationSuite {
  static func ownership(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      run.check(try await run.settle(id, 1, .waiting(.zero)), .refused, "of a delivery that nobody knows")
      run.checkGranted(try await run.claim(id, 1), "it left nothing behind")
      for state: DeduplicationRequest.Settlement.State in [.waiting(long), .stored, .dead] {
        run.check(try await run.settle(id, 2, state), .refused, "\(state) by another attempt")
      }
      run.checkBusy(try await run.claim(id, 2), "it is still claimed")

      let taken = DeduplicationRun.id(2)
      _ = try await run.claim(taken, 1, lease: run.short)
      try await run.passShort()
      _ = try await run.claim(taken, 2)
      for state: DeduplicationRequest.Settlement.State in [.waiting(long), .stored, .dead] {
        run.check(try await run.settle(taken, 1, state), .refused, "\(state) by an attempt that has lost its lease")
      }
      run.check(try await run.settle(taken, 2, .stored, attempts: 2), .settled, "the owner")
      run.check(try await run.settle(taken, 1, .dead), .refused, "of what another attempt has stored")
      _ = try await run.claim(taken, 3, attempts: 2)
      run.check(try await run.settle(taken, 3, .done), .settled, "done by the owner")
      run.check(try await run.settle(taken, 3, .waiting(.zero)), .refused, "of what is done, by its owner")
      run.check(try await run.settle(taken, 0, .dead), .refused, "of what is done, by another attempt")
      run.check(try await run.claim(taken, 4), .done, "it is still done")
    }
  }

  static func doneByAnyone(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      // The receiver has said yes, whoever owns the delivery by then.
      let ids = (1...5).map { DeduplicationRun.id($0) }
      for id in ids[1...] { _ = try await run.claim(id, 1) }
      _ = try await run.settle(ids[2], 1, .waiting(long))
      _ = try await run.settle(ids[3], 1, .stored)
      _ = try await run.settle(ids[4], 1, .dead)
      for (id, place) in zip(ids, ["unknown", "claimed", "waiting", "stored", "dead"]) {
        run.check(try await run.settle(id, 9, .done), .settled, place)
        run.check(try await run.claim(id, 2), .done, "\(place), afterwards")
      }
      run.check(try await run.settle(ids[1], 1, .stored), .refused, "the owner, whose claim is over")
    }
  }

  static func settledAgain(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let states: [DeduplicationRequest.Settlement.State] = [.waiting(long), .stored, .done, .dead]
      for (number, state) in states.enumerated() {
        let id = DeduplicationRun.id(UInt64(number))
        _ = try await run.claim(id, 1)
        for time in 1...3 {
          run.check(try await run.settle(id, 1, state, attempts: 2), .settled, "\(state), time \(time)")
        }
        let answer = try await run.claim(id, 2)
        switch state {
        case .waiting: run.checkWait(answer, "\(state), afterwards")
        case .stored: run.check(answer, .stale, "\(state), afterwards")
        case .done: run.check(answer, .done, "\(state), afterwards")
        case .dead: run.check(answer, .dead, "\(state), afterwards")
        }
      }
    }
  }

  static func settledAnew(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1)
      _ = try await run.settle(id, 1, .waiting(long), attempts: 1)
      // The queue is full: what waited is stored.
      run.check(try await run.settle(id, 1, .stored, attempts: 1), .settled, "waiting, then stored")
      run.check(try await run.claim(id, 2), .stale, "the record, afterwards")
      run.check(try await run.settle(id, 1, .dead, attempts: 1), .settled, "stored, then dead")
      run.check(try await run.claim(id, 2, attempts: 1), .dead, "the copy, afterwards")
    }
  }

  static func replays(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let ids = (1...5).map { DeduplicationRun.id($0) }
      for id in ids { _ = try await run.claim(id, 1, attempts: 4, lease: run.short) }
      try await run.passShort()
      let states: [DeduplicationRequest.Settlement.State] = [.waiting(long), .stored, .done, .dead]
      for (id, state) in zip(ids, states) { _ = try await run.settle(id, 1, state, attempts: 5) }
      for (id, place) in zip(ids, ["waiting", "stored", "done", "dead", "claimed and lost"]) {
        run.checkGranted(try await run.claim(id, 2, replays: 1), "the first replay of what is \(place)")
        run.checkGranted(try await run.claim(id, 2, replays: 1), "the replay asks again, \(place)")
        run.checkBusy(try await run.claim(id, 3, replays: 1), "the same replay's second copy, \(place)")
        run.checkBusy(try await run.claim(id, 3, replays: 2), "a second replay during the first, \(place)")
        run.checkBusy(try await run.claim(id, 3), "the record of before, \(place)")
        run.check(try await run.settle(id, 1, .dead), .refused, "the attempt of before, \(place)")
        _ = try await run.settle(id, 2, .done)
        run.check(try await run.claim(id, 3, replays: 1), .done, "the first replay once more, \(place)")
        run.check(try await run.claim(id, 3), .done, "the record of before, afterwards, \(place)")
        run.checkGranted(try await run.claim(id, 4, attempts: 2, replays: 3), attempts: 2, "a later replay, \(place)")
        _ = try await run.settle(id, 4, .dead)
        run.check(try await run.claim(id, 5, replays: 2), .dead, "a replay that comes too late, \(place)")
      }
    }
  }

  static func forgetting(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let ids = (1...5).map { DeduplicationRun.id($0) }
      for id in ids { _ = try await run.claim(id, 1, attempts: 4, lease: run.short, retention: run.short) }
      let states: [DeduplicationRequest.Settlement.State] = [.waiting(run.short), .stored, .done, .dead]
      for (id, state) in zip(ids, states) {
        // Where time is real the claim may be over already: done is taken all the same.
        _ = try await run.settle(id, 1, state, attempts: 5, retention: run.short)
      }
      let kept = (6...8).map { DeduplicationRun.id($0) }
      for id in kept { _ = try await run.claim(id, 1, attempts: 4, lease: run.short) }
      for (id, state) in zip(kept, [.waiting(.zero), .stored, .done] as [DeduplicationRequest.Settlement.State]) {
        _ = try await run.settle(id, 1, state, attempts: 5)
      }
      try await run.passShort()
      try await run.passShort()
      for (id, place) in zip(ids, ["waiting", "stored", "done", "dead", "claimed"]) {
        run.check(try await run.settle(id, 1, .stored), .refused, "the owner of what was \(place)")
        run.checkGranted(try await run.claim(id, 2), "what was \(place)")
      }
      run.checkGranted(try await run.claim(kept[0], 2), attempts: 5, "what waits, and is remembered for long")
      run.check(try await run.claim(kept[1], 2), .stale, "what is stored, and is remembered for long")
      run.check(try await run.claim(kept[2], 2), .done, "what is done, and is remembered for long")
    }
  }
}
