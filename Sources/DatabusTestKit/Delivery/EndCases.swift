import DatabusCore
import Dispatcher

/// When attempts end that nothing comes of, and when the channel ends.
extension DeliverySuite {
  static func unreachable(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let away = try trial.require(run.subject.unreachable, "no destination is away")
      for outcome in try await run.deliver([try run.attempt(1, to: away), try run.attempt(2, to: away)]) {
        if case .retry(isFault: true, _) = outcome.verdict { continue }
        trial.report(
          "the verdict is \(outcome.verdict), not a retry for the destination's fault", at: "attempt \(outcome.number)")
      }
      for outcome in try await run.deliver([try run.attempt(3)]) { run.checkDelivered(outcome, at: "another one") }
    }
  }

  static func hasty(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let times: [Duration] = [.nanoseconds(1), .microseconds(1), .milliseconds(1), .milliseconds(5)]
      let attempts = try times.enumerated().map { try run.attempt(UInt64($0 + 1), timeout: $1) }
      for (attempt, outcome) in zip(attempts, try await run.deliver(attempts)) {
        let isRejected = if case .rejected = outcome.verdict { true } else { false }
        trial.check(!isRejected, "want of time is for ever: \(outcome.verdict)", at: "\(attempt.timeout)")
        checkTime(run, attempt)
      }
    }
  }

  static func deadline(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let hanging = try trial.require(run.subject.hanging, "nothing can hang")
      let times: [Duration] = [.milliseconds(100), .milliseconds(300), .milliseconds(100)]
      let attempts = try times.enumerated().map { try run.attempt(UInt64($0 + 1), to: hanging, timeout: $1) }
      for (attempt, outcome) in zip(attempts, try await run.deliver(attempts)) {
        if case .retry(isFault: true, _) = outcome.verdict {
        } else {
          trial.report("the verdict is \(outcome.verdict), not a retry for the destination's fault")
        }
        // Who sends at most once must not send it again.
        trial.check(
          outcome.mayHaveArrived, "it does not say that the delivery may have arrived", at: "attempt \(attempt.number)")
        checkTime(run, attempt)
      }
    }
  }

  private static func checkTime(_ run: DeliveryRun, _ attempt: DeliveryAttempt) {
    guard let time = run.outcomes.time(attempt.number) else { return }
    run.trial.check(
      time <= attempt.timeout + DeliveryRun.grace, "it ended after \(time), not by \(attempt.timeout) and a second",
      at: "attempt \(attempt.number)")
  }

  static func hanging(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let hanging = try trial.require(run.subject.hanging, "nothing can hang")
      let kept = try (1...16).map { try run.attempt($0, to: hanging) }
      try await run.start(kept)
      for outcome in try await run.deliver(try (101...120).map { try run.attempt($0) }) {
        run.checkDelivered(outcome, at: "attempt \(outcome.number)")
      }
      for attempt in kept {
        trial.check(
          run.outcomes.first(attempt.number) == nil, "it has ended", at: "attempt \(attempt.number), which hangs")
      }
    }
  }

  static func closing(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      var attempts = try (1...200).map { try run.attempt($0) }
      if let hanging = run.subject.hanging { attempts += try (201...210).map { try run.attempt($0, to: hanging) } }
      try await run.start(attempts)
      try await run.close()
      let arrived = Set(try await run.received().map(\.id))
      for attempt in attempts {
        guard let outcome = run.outcomes.first(attempt.number) else { continue }
        switch outcome.verdict {
        case .delivered:
          trial.check(arrived.contains(attempt.id), "it did not arrive", at: "attempt \(attempt.number), delivered")
        case .retry: break
        case .rejected:
          trial.report("the end of the channel is the delivery's: \(outcome.verdict)", at: "attempt \(attempt.number)")
        }
      }
    }
  }

  static func closed(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      var attempts = try (1...20).map { try run.attempt($0) }
      if let hanging = run.subject.hanging {
        attempts += try (21...25).map { try run.attempt($0, to: hanging, timeout: .milliseconds(100)) }
      }
      try await run.start(attempts)
      try await run.close()
      let before = run.outcomes.counts.ends
      try await Task.sleep(for: .milliseconds(300))
      trial.check(run.outcomes.counts.ends == before, "attempts have ended after the channel", at: "300 ms later")
      // A second time it does nothing.
      try await run.close()
    }
  }
}
