import DatabusCore
import Dispatcher

/// What arrives, and what is said of it.
extension DeliverySuite {
  static func bytes(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let payloads: [[UInt8]] = [
        Array(#"{"type": "user:signup", "data": {"userId": 123, "name": "Zoë"}}"#.utf8), Array("12".utf8),
        Array("\"\\u0000 \r\n\"".utf8), Array(0...255), Array("\r\n.\r\n--boundary\r\n".utf8),
        [UInt8](repeating: UInt8(ascii: "x"), count: run.subject.payloadBytes),
      ]
      let attempts = try payloads.enumerated().map { try run.attempt(UInt64($0 + 1), payload: $1) }
      for (attempt, outcome) in zip(attempts, try await run.deliver(attempts)) {
        run.checkDelivered(outcome, at: "payload \(attempt.number)")
      }
      let received = try await run.received()
      for (attempt, payload) in zip(attempts, payloads) {
        let copies: [[UInt8]?] = received.filter { $0.id == attempt.id }.map(\.bytes)
        trial.checkEqual(copies, [payload], "what arrived under the id", at: "payload \(attempt.number)")
      }
      trial.checkEqual(received.count, payloads.count, "the number of deliveries that arrived")
    }
  }

  static func again(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let payload = Array("once more".utf8)
      for number in 1...3 as ClosedRange<UInt64> {
        let attempt = try run.attempt(number, id: DeliveryRun.id(1), attempts: Int(number) - 1, payload: payload)
        for outcome in try await run.deliver([attempt]) { run.checkDelivered(outcome, at: "attempt \(number)") }
      }
      let received = try await run.received()
      trial.checkEqual(
        Set(received), [ReceivedDelivery(id: DeliveryRun.id(1), bytes: payload)], "the set of what arrived")
    }
  }

  static func once(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      var attempts = try (1...20).map { try run.attempt($0) }
      if let away = run.subject.unreachable { attempts += try (21...30).map { try run.attempt($0, to: away) } }
      _ = try await run.deliver(attempts)
      // One that ends a second time does it soon.
      try await Task.sleep(for: .milliseconds(100))
      run.checkEnds(at: "while the channel is open")
    }
  }

  static func many(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let attempts = try (1...1000).map { try run.attempt($0, payload: Array("\"\($0)\"".utf8)) }
      let outcomes = try await run.deliver(attempts)
      let failed = outcomes.filter { $0.verdict != .delivered }
      trial.check(
        failed.isEmpty, "\(failed.count) attempts were not delivered: \(failed.first?.detail ?? "")", at: "the outcomes"
      )
      let received = try await run.received()
      let expected = Set(
        attempts.map { ReceivedDelivery(id: $0.id, bytes: Array($0.value[$0.payload])) })
      trial.checkEqual(received.count, expected.count, "the number of deliveries that arrived")
      trial.check(Set(received) == expected, "ids and bytes of deliveries are mixed up", at: "what arrived")
    }
  }

  static func threads(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for thread in 0..<4 as Range<UInt64> {
          group.addTask {
            for number in 1...50 as ClosedRange<UInt64> {
              try await run.start([try run.attempt(thread * 50 + number)])
            }
          }
        }
        try await group.waitForAll()
      }
      for outcome in try await run.wait(for: Array(1...200)) {
        run.checkDelivered(outcome, at: "attempt \(outcome.number)")
      }
      let received = try await run.received()
      trial.checkEqual(received.count, 200, "the number of deliveries that arrived")
      trial.checkEqual(Set(received.map(\.id)).count, 200, "the number of ids that arrived")
    }
  }

  static func outcome(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      var attempts = [try run.attempt(1)]
      if let away = run.subject.unreachable { attempts.append(try run.attempt(2, to: away)) }
      for outcome in try await run.deliver(attempts) {
        let place = "attempt \(outcome.number)"
        trial.check(!outcome.detail.isEmpty, "the outcome has no detail for people", at: place)
        trial.check(
          outcome.response.count <= 1024,
          "the outcome keeps \(outcome.response.count) bytes of the answer, above 1,024",
          at: place)
        trial.check(
          outcome.duration >= .zero && outcome.duration < trial.timeout, "the duration is \(outcome.duration)",
          at: place)
      }
    }
  }

  static func target(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      let target = try run.target(of: run.subject.destination)
      trial.checkEqual(try run.target(of: run.subject.destination), target, "the target")
      // What stands in a target is a destination as well, and the same.
      trial.checkEqual(try run.target(of: target.url), target, "the target of a target's URL", at: target.url)
      let scheme = run.subject.destination.prefix { $0 != ":" }.lowercased()
      trial.check(
        target.url.hasPrefix(scheme + ":"), "the target's URL does not begin with \(scheme): in lower case",
        at: target.url)
      trial.check(!target.server.isEmpty && !target.label.isEmpty, "the target has no server or no label")
      trial.check(!target.label.contains("?"), "the label has a query, which may be secret", at: target.label)
      if let away = run.subject.unreachable {
        let other = try run.target(of: away)
        trial.check(other.url != target.url, "two destinations have the same target", at: away)
      }
    }
  }

  static func refused(_ channel: ChannelUnderTest, _ trial: Trial) async throws {
    try await with(channel, trial) { run in
      trial.check(!run.subject.refused.isEmpty, "the subject names no URL that is refused")
      for url in run.subject.refused + [""] {
        switch run.subject.channel.target(of: url) {
        case .success: trial.report("it is taken for a destination", at: url)
        case .failure(let refusal): trial.check(!refusal.detail.isEmpty, "the refusal says nothing", at: url)
        }
      }
    }
  }
}
