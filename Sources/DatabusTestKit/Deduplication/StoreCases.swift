import DatabusCore
import Dispatcher

/// Calls, processes and marks.
extension DeduplicationSuite {
  static func order(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      func claim(_ id: DeliveryID, _ token: UInt64) -> DeduplicationRequest {
        .claim(.init(id: id, token: token, lease: long, retention: long))
      }
      func settle(
        _ id: DeliveryID, _ token: UInt64, _ state: DeduplicationRequest.Settlement.State
      ) -> DeduplicationRequest {
        .settle(.init(id: id, token: token, state: state, attempts: 1, retention: long))
      }
      let other = DeduplicationRun.id(2)
      let answers = try await run.process([
        settle(id, 1, .stored), claim(id, 1), claim(other, 5), claim(id, 2), settle(id, 1, .waiting(.zero)),
        claim(id, 2),
        settle(id, 1, .dead), settle(id, 2, .done), claim(id, 3), settle(other, 5, .dead), claim(other, 6),
      ])
      run.check(answers[0], .refused, "settled before it was claimed")
      run.checkGranted(answers[1], "the first claim")
      run.checkGranted(answers[2], "another delivery")
      run.checkBusy(answers[3], "the second claim")
      run.check(answers[4], .settled, "the first settlement")
      run.checkGranted(answers[5], attempts: 1, "the second claim again")
      run.check(answers[6], .refused, "the first attempt once more")
      run.check(answers[7], .settled, "the second settlement")
      run.check(answers[8], .done, "the third claim")
      run.check(answers[9], .settled, "the other delivery's settlement")
      run.check(answers[10], .dead, "the other delivery's claim")
      trial.checkEqual(try await run.process([]), [], "the answers to no requests")
    }
  }

  static func race(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      var stores = [run.store, run.store]
      if let openAnother = run.subject.openAnother {
        stores.append(try await trial.within("openAnother") { try await openAnother() })
        stores.append(stores[2])
      }
      let ids = (0..<40).map { DeduplicationRun.id($0) }
      let all = stores
      let granted = try await trial.within("claims at the same time") {
        try await withThrowingTaskGroup(of: [DeliveryID].self) { group in
          for (number, store) in all.enumerated() {
            group.addTask {
              var granted: [DeliveryID] = []
              // Each begins elsewhere.
              for index in ids.indices {
                let id = ids[(index + number * 10) % ids.count]
                let answer = try await store.process([
                  .claim(.init(id: id, token: UInt64(number), lease: long, retention: long))
                ])
                if case .granted = answer.first { granted.append(id) }
              }
              return granted
            }
          }
          return try await group.reduce(into: []) { $0 += $1 }
        }
      }
      trial.checkEqual(granted.count, ids.count, "the number of claims that were granted")
      trial.checkEqual(Set(granted), Set(ids), "the set of deliveries that were granted")
      if stores.count > 2 { await stores[2].close() }
    }
  }

  static func many(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let ids = (0..<10_000).map { DeduplicationRun.id($0) }
      func claims(_ token: UInt64) -> [DeduplicationRequest] {
        ids.map { .claim(.init(id: $0, token: token, lease: long, retention: long)) }
      }
      let first = try await run.process(claims(1))
      trial.check(
        first.allSatisfy { $0 == .granted(attempts: 0, isOutcomeUnknown: false) }, "not all were granted",
        at: "the first call")
      let settled = try await run.process(
        ids.enumerated().map { index, id in
          let state: DeduplicationRequest.Settlement.State = index % 2 == 0 ? .done : .dead
          return .settle(.init(id: id, token: 1, state: state, attempts: 1, retention: long))
        })
      trial.check(settled.allSatisfy { $0 == .settled }, "not all were settled", at: "the second call")
      let second = try await run.process(claims(2))
      trial.checkEqual(
        second, ids.indices.map { $0 % 2 == 0 ? DeduplicationAnswer.done : .dead }, "the list of answers",
        at: "the third call")
    }
  }

  static func bits(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let words: [UInt64] = [
        0, 1, 0xFF, .max, .max - 1, 1 << 63, (1 << 63) - 1, (1 << 53) + 1, 0x7B7D_7B7D_7B7D_7B7D, 0x0D0A_0D0A_0D0A_0D0A,
        0x3030_3030_3030_3030, 0x2424_2424_2424_2424,
      ]
      let ids = words.flatMap { high in words.map { DeliveryID(high: high, low: $0) } }
      let tokens = ids.indices.map { words[$0 % words.count] }
      for (id, token) in zip(ids, tokens) {
        run.checkGranted(try await run.claim(id, token), "id \(id), token \(token)")
      }
      for (id, token) in zip(ids, tokens) {
        // The nearest token is another one.
        run.check(try await run.settle(id, token ^ 1, .dead), .refused, "id \(id), token \(token ^ 1)")
        run.check(try await run.settle(id, token, .dead), .settled, "id \(id), token \(token)")
        run.check(try await run.claim(id, token), .dead, "id \(id)")
      }
      // Numbers that are out of reach are cut and not taken for others.
      let far = DeduplicationRun.id(1)
      run.checkGranted(
        try await run.claim(far, 1, attempts: .max, replays: .max), attempts: RememberedDelivery.largestCount,
        "numbers as large as there are")
      run.check(try await run.settle(far, 1, .done), .settled, "numbers as large as there are")
      run.check(try await run.claim(far, 2, replays: .max), .done, "numbers as large as there are")
      let never = DeduplicationRun.id(2)
      run.checkGranted(
        try await run.claim(
          never, 1, attempts: -1, replays: -1, lease: .seconds(Int64.max), retention: .seconds(Int64.max)),
        "durations as long as there are, and negative numbers")
      run.check(
        try await run.settle(never, 1, .waiting(.seconds(Int64.max)), retention: .seconds(Int64.max)), .settled,
        "durations as long as there are")
      if case .wait = try await run.claim(never, 2) {
      } else {
        trial.report("it is due", at: "durations as long as there are")
      }
    }
  }

  static func states(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let store = run.store
      let ids = (1...6).map { DeduplicationRun.id(UInt64($0)) }
      func check(_ expected: [DeduplicationState?], _ place: String) async throws {
        let found = try await trial.within("states") { try await store.states(of: ids) }
        trial.checkEqual(found, expected, "the states", at: place)
      }
      try await check([nil, nil, nil, nil, nil, nil], "before anything was claimed")
      for (replays, id) in ids.dropLast().enumerated() {
        run.checkGranted(try await run.claim(id, 1, replays: replays), "the first claim")
      }
      let ends: [DeduplicationRequest.Settlement.State] = [.waiting(long), .stored, .done, .dead]
      for (id, end) in zip(ids.dropFirst(), ends) {
        run.check(try await run.settle(id, 1, end), .settled, "the owner's settlement")
      }
      var states: [DeduplicationState?] = []
      for (replays, state) in [RememberedDelivery.State.claimed, .waiting, .stored, .done, .dead].enumerated() {
        states.append(DeduplicationState(state, replays: replays))
      }
      states.append(nil)
      try await check(states, "after each was settled")
      run.checkBusy(try await run.claim(ids[0], 2), "a claim of what was looked at")
      run.checkGranted(try await run.claim(ids[5], 2), "the first claim of what nobody knew")
      let none = try await trial.within("states of none") { try await store.states(of: []) }
      trial.checkEqual(none, [], "the states", at: "of no ids")
      run.check(try await run.settle(ids[4], 1, .dead, retention: run.subject.short), .settled, "a short memory")
      try await run.passShort()
      let last = ids[4]
      let forgotten = try await trial.within("states") { try await store.states(of: [last]) }
      trial.checkEqual(forgotten, [nil], "the state", at: "of what was forgotten")
    }
  }

  static func marks(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let store = run.store
      func set(_ mark: DispatchMark) async throws { try await trial.within("set") { try await store.set(mark) } }
      func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) async throws {
        try await trial.within("remove") { try await store.remove(subject, kind) }
      }
      try await run.checkMarks([], "at the start")
      let url = "https://example.com/a b?x={y}&z=é"
      var marks: [DispatchMark] = []
      for (number, kind) in DispatchMark.Kind.allCases.enumerated() {
        marks.append(DispatchMark(.destination(url), kind, at: Int64(number), detail: "it answered 410 to \(kind)"))
        // The name of a rule may be that of a destination.
        marks.append(DispatchMark(.rule(url), kind, at: .max - Int64(number)))
      }
      marks.append(DispatchMark(.rule(""), .paused, at: -1, detail: "two\nlines, and \u{0} é"))
      for mark in marks { try await set(mark) }
      try await run.checkMarks(marks, "after all were set")
      marks[0].at = 1_795_000_000_000
      marks[0].detail = ""
      try await set(marks[0])
      try await run.checkMarks(marks, "after one was replaced")
      try await remove(marks[1].subject, marks[1].kind)
      try await remove(marks[1].subject, marks[1].kind)
      try await remove(.rule("none"), .disabled)
      marks.remove(at: 1)
      try await run.checkMarks(marks, "after one was removed, twice")
      if let openAnother = run.subject.openAnother {
        var other = run
        other.store = try await trial.within("openAnother") { try await openAnother() }
        try await other.checkMarks(marks, "as another process sees them")
        await other.store.close()
      }
    }
  }

  static func reopen(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { original in
      var run = original
      let ids = (1...5).map { DeduplicationRun.id($0) }
      for id in ids { _ = try await run.claim(id, 1, attempts: 1) }
      _ = try await run.settle(ids[1], 1, .waiting(long), attempts: 2)
      _ = try await run.settle(ids[2], 1, .stored, attempts: 2)
      _ = try await run.settle(ids[3], 1, .done)
      _ = try await run.settle(ids[4], 1, .dead)
      let mark = DispatchMark(.rule("a"), .paused, at: 5, detail: "by hand")
      let before = run.store
      try await trial.within("set") { try await before.set(mark) }

      let reopen = run.subject.reopenAfterKill
      run.store = try await trial.within("reopenAfterKill") { try await reopen() }
      run.checkBusy(try await run.claim(ids[0], 2), "claimed")
      run.checkWait(try await run.claim(ids[1], 2), "waiting")
      run.check(try await run.claim(ids[2], 2, attempts: 1), .stale, "stored")
      run.check(try await run.claim(ids[3], 2), .done, "done")
      run.check(try await run.claim(ids[4], 2), .dead, "dead")
      try await run.checkMarks([mark], "after the kill")
      run.checkGranted(try await run.claim(ids[2], 2, attempts: 2), attempts: 2, "the stored copy")
      run.check(try await run.settle(ids[0], 1, .waiting(.zero), attempts: 2), .settled, "the owner of before the kill")
      await run.store.close()
    }
  }

  static func closed(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      let store = run.store
      await store.close()
      await store.close()
      func check(_ place: String, _ body: @escaping @Sendable () async throws -> Void) async throws {
        do {
          try await trial.within(place, body)
          trial.report("it did not throw", at: place)
        } catch let error as DeduplicationError {
          guard case .unusable = error else { return trial.report("it threw \(error)", at: place) }
        }
      }
      try await check("process") {
        _ = try await store.process([.claim(.init(id: id, token: 1, lease: long, retention: long))])
      }
      try await check("states") { _ = try await store.states(of: [id]) }
      try await check("marks") { _ = try await store.marks() }
      try await check("set") { try await store.set(DispatchMark(.rule("a"), .paused, at: 1)) }
      try await check("remove") { try await store.remove(.rule("a"), .paused) }
    }
  }
}
