import DatabusCore
import Dispatcher

/// Who may make an attempt.
extension DeduplicationSuite {
  static func unknown(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      run.checkGranted(try await run.claim(id, 1), "the first claim")
      run.checkGranted(
        try await run.claim(DeduplicationRun.id(2), 1, attempts: 7), attempts: 7, "a record with 7 attempts")
    }
  }

  static func lostAnswer(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1, attempts: 3)
      for time in 1...2 {
        run.checkGranted(try await run.claim(id, 1, attempts: 3), attempts: 3, "asked again, time \(time)")
      }
      // It is one attempt, however often it asked.
      _ = try await run.settle(id, 1, .waiting(.zero), attempts: 4)
      run.checkGranted(try await run.claim(id, 2, attempts: 3), attempts: 4, "the next attempt")

      // Nothing was sent before it had its answer: also where its lease has ended.
      let late = DeduplicationRun.id(2)
      _ = try await run.claim(late, 1, lease: run.short)
      try await run.passShort()
      run.checkGranted(try await run.claim(late, 1), "asked again after its lease")
      run.checkBusy(try await run.claim(late, 2), "another attempt: the lease was prolonged")
    }
  }

  static func lease(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1)
      run.checkBusy(try await run.claim(id, 2), "another attempt")
      run.checkBusy(try await run.claim(id, 2, attempts: 9), "one that has come further")
      run.checkGranted(try await run.claim(id, 1), "the owner")
      run.checkGranted(try await run.claim(DeduplicationRun.id(2), 2), "another delivery")
    }
  }

  static func lapsedLease(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1, lease: run.short)
      try await run.passShort()
      run.checkGranted(
        try await run.claim(id, 2), attempts: 1, isOutcomeUnknown: true, "the claim after a lease that ran out")
      run.checkBusy(try await run.claim(id, 3), "a third attempt")
      // What is settled is known again.
      _ = try await run.settle(id, 2, .waiting(.zero), attempts: 2)
      run.checkGranted(try await run.claim(id, 3), attempts: 2, "after the settlement")

      // Nobody has come since: the attempt is still the owner's.
      let late = DeduplicationRun.id(2)
      _ = try await run.claim(late, 1, lease: run.short)
      try await run.passShort()
      run.check(try await run.settle(late, 1, .waiting(.zero)), .settled, "the owner, after its lease")
      run.checkGranted(try await run.claim(late, 2), attempts: 1, "after the owner's late settlement")
    }
  }

  static func unknownOutcomeAgain(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1, lease: run.short)
      try await run.passShort()
      _ = try await run.claim(id, 2)
      // Its answer was lost: whoever sends at most once must still be told.
      run.checkGranted(try await run.claim(id, 2), attempts: 1, isOutcomeUnknown: true, "asked again")
    }
  }

  static func waiting(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1)
      _ = try await run.settle(id, 1, .waiting(long))
      run.checkWait(try await run.claim(id, 2), "another attempt before it is due")
      run.checkWait(try await run.claim(id, 1), "the same attempt before it is due")
      run.checkWait(try await run.claim(id, 2, attempts: 5), "a record that has come further, before it is due")

      let due = DeduplicationRun.id(2)
      _ = try await run.claim(due, 1)
      _ = try await run.settle(due, 1, .waiting(run.short))
      try await run.passShort()
      run.checkGranted(try await run.claim(due, 2), attempts: 1, "once it is due")
      run.checkBusy(try await run.claim(due, 3), "once it was claimed")
    }
  }

  static func stored(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1)
      _ = try await run.settle(id, 1, .stored, attempts: 3)
      run.check(try await run.claim(id, 2), .stale, "the record that was stored")
      run.check(try await run.claim(id, 2, attempts: 2), .stale, "a copy that has come less far")
      run.check(try await run.claim(id, 1), .stale, "the attempt that stored it")
      run.checkGranted(try await run.claim(id, 3, attempts: 3), attempts: 3, "the copy")
      run.checkBusy(try await run.claim(id, 4, attempts: 3), "a second copy")
      _ = try await run.settle(id, 3, .stored, attempts: 4)
      run.check(try await run.claim(id, 4, attempts: 3), .stale, "the second copy, later")
      run.checkGranted(try await run.claim(id, 5, attempts: 8), attempts: 8, "a copy that has come further")
    }
  }

  static func done(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1)
      run.check(try await run.settle(id, 1, .done), .settled, "the settlement")
      run.check(try await run.claim(id, 2), .done, "another attempt")
      run.check(try await run.claim(id, 1), .done, "the same attempt")
      run.check(try await run.claim(id, 3, attempts: 9), .done, "a copy that has come further")
      run.checkGranted(try await run.claim(DeduplicationRun.id(2), 1), "another delivery")
    }
  }

  static func dead(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      _ = try await run.claim(id, 1)
      run.check(try await run.settle(id, 1, .dead), .settled, "the settlement")
      run.check(try await run.claim(id, 2), .dead, "another attempt")
      run.check(try await run.claim(id, 1), .dead, "the same attempt")
      run.check(try await run.claim(id, 3, attempts: 9), .dead, "a copy that has come further")
    }
  }

  static func attempts(_ store: DeduplicationUnderTest, _ trial: Trial) async throws {
    try await with(store, trial) { run in
      // Of the two numbers the larger counts; the attempt itself is not in it.
      run.checkGranted(try await run.claim(id, 1, attempts: 2), attempts: 2, "the record's number")
      _ = try await run.settle(id, 1, .waiting(.zero), attempts: 3)
      run.checkGranted(try await run.claim(id, 2, attempts: 2), attempts: 3, "the stored number")
      _ = try await run.settle(id, 2, .waiting(.zero), attempts: 4)
      run.checkGranted(try await run.claim(id, 3, attempts: 10), attempts: 10, "the record's larger number")
      // A spill is no attempt: the settlement says so.
      _ = try await run.settle(id, 3, .waiting(.zero), attempts: 10)
      run.checkGranted(try await run.claim(id, 4), attempts: 10, "after a settlement that counts no attempt")

      let lost = DeduplicationRun.id(2)
      for token: UInt64 in 1...3 {
        _ = try await run.claim(lost, token, attempts: 5, lease: run.short)
        try await run.passShort()
      }
      run.checkGranted(
        try await run.claim(lost, 4, attempts: 5), attempts: 8, isOutcomeUnknown: true, "three attempts that were lost")
      run.check(try await run.settle(lost, 4, .stored, attempts: 9), .settled, "the fourth one's settlement")
      run.checkGranted(try await run.claim(lost, 5, attempts: 9), attempts: 9, "its copy")
    }
  }
}
