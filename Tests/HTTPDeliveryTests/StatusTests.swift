import Dispatcher
import HTTPServer
import Testing

@testable import HTTPDelivery

struct StatusTests {
  private let never: Answer = { _ in nil }
  private static let retryWell = AttemptOutcome.Verdict.retry(isFault: false, after: nil)
  private static let retryIll = AttemptOutcome.Verdict.retry(isFault: true, after: nil)
  private static func rejected(_ reason: DispatchReason, ends: Bool = false) -> AttemptOutcome.Verdict {
    .rejected(reason, endsDestination: ends)
  }

  private static let verdicts: [(statuses: [Int], verdict: AttemptOutcome.Verdict)] = [
    ([200, 201, 202, 204, 299], .delivered),
    ([300, 301, 302, 304, 307, 308], rejected(.refused)),
    ([400, 403, 404, 411, 413, 422, 451, 499], rejected(.refused)),
    ([401], rejected(.authentication)),
    ([410], rejected(.gone, ends: true)),
    ([408, 409, 425, 429], retryWell),
    ([500, 501, 502, 503, 504, 599], retryIll),
  ]

  @Test(arguments: verdicts.flatMap(\.statuses))
  func everyStatusHasItsVerdict(_ status: Int) async throws {
    let verdict = Self.verdicts.first { $0.statuses.contains(status) }?.verdict
    try await withReceiver(answer: answering(status)) { receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url + "/x"))
      #expect(outcome.verdict == verdict)
      #expect(outcome.status == status)
      #expect(outcome.number == 7)
      #expect(outcome.detail.hasPrefix("HTTP \(status)"))
      #expect(receiver.requests.count == 1)
    }
  }

  @Test func aRedirectIsNeitherFollowedNorTold() async throws {
    try await withReceiver(answer: answering(301, [HTTPHeader("Location", "/elsewhere")])) {
      receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url + "/x"))
      #expect(outcome.verdict == Self.rejected(.refused))
      #expect(outcome.detail.contains("redirects are not followed"))
      #expect(!outcome.detail.contains("elsewhere"))
      #expect(receiver.requests.map(\.target) == ["/x"])
    }
  }

  @Test(arguments: [408, 409, 425, 429, 500, 503])
  func retryAfterIsHeardWithEveryStatusThatIsTriedAgain(_ status: Int) async throws {
    try await withReceiver(answer: answering(status, [HTTPHeader("Retry-After", "120")])) {
      receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url))
      #expect(outcome.verdict == .retry(isFault: status >= 500, after: .seconds(120)))
    }
  }

  private static let moments: [(String, Duration?)] = [
    ("Thu, 25 Feb 2021 15:03:10 GMT", .milliseconds(59_750)),
    ("Thursday, 25-Feb-21 15:03:10 GMT", .milliseconds(59_750)),
    ("Thu Feb 25 15:03:10 2021", .milliseconds(59_750)), ("Sun, 06 Nov 1994 08:49:37 GMT", .zero), ("0", .zero),
    ("99999999999999999999", RetryAfter.longest), ("soon", nil), ("-1", nil),
  ]

  @Test(arguments: moments)
  func retryAfterIsSecondsOrAMoment(_ text: String, _ after: Duration?) async throws {
    try await withReceiver(answer: answering(503, [HTTPHeader("Retry-After", text)])) {
      receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url))
      #expect(outcome.verdict == .retry(isFault: true, after: after))
    }
  }

  @Test func theBeginningOfTheAnswerIsKept() async throws {
    try await withReceiver(answer: answering(422, text: String(repeating: "no ", count: 5000))) {
      receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url))
      #expect(outcome.response == Array(String(repeating: "no ", count: 342).utf8.prefix(1024)))
    }
  }

  // MARK: No answer

  @Test func aReceiverThatDoesNotAnswerIsTriedAgain() async throws {
    try await withReceiver(answer: never) { receiver, sender async throws in
      let outcome = try await sender.deliver(sender.attempt(receiver.url, timeout: .milliseconds(200)))
      #expect(outcome.verdict == Self.retryIll)
      #expect(outcome.status == nil)
      #expect(!outcome.detail.isEmpty)
    }
  }

  @Test func whereNobodyListensOrTheNameLeadsNowhereOrThereIsNoTLSItIsTriedAgain() async throws {
    try await withReceiver { receiver, sender async throws in
      let closed = try Receiver()
      let port = closed.port
      await closed.stop()
      for url in [
        "http://127.0.0.1:\(port)/secret-path", "http://nowhere.invalid/secret-path",
        "https://127.0.0.1:\(receiver.port)/secret-path",
      ] {
        let outcome = try await sender.deliver(sender.attempt(url))
        #expect(outcome.verdict == Self.retryIll, "\(url)")
        #expect(outcome.status == nil)
        #expect(!outcome.detail.contains("secret-path"))
      }
      #expect(receiver.requests.isEmpty)
    }
  }

  @Test func whatIsUnderWayEndsWithTheChannelAndIsNoFaultOfTheReceivers() async throws {
    try await withReceiver(answer: never) { receiver, sender async throws in
      let outcomes = Outcomes()
      sender.channel.start([try sender.attempt(receiver.url)], outcomes)
      try await eventually("the request has arrived") { receiver.requests.count == 1 }
      await sender.channel.close()
      #expect(outcomes.all.map(\.verdict) == [Self.retryWell])
    }
  }

  @Test func attemptsOfOneCallEndOnceEachWhateverBecomesOfThem() async throws {
    try await withReceiver(maximumPayloadBytes: 20) { receiver, sender async throws in
      let outcomes = Outcomes()
      sender.channel.start(
        try (0..<200).map {
          try sender.attempt(
            receiver.url, $0 % 2 == 0 ? "1" : String(repeating: "2", count: 21), number: UInt64($0))
        }, outcomes)
      let ended = try await outcomes.first(200)
      #expect(ended.map(\.number).sorted() == Array(0..<200))
      #expect(ended.allSatisfy { ($0.number % 2 == 0) == ($0.verdict == .delivered) })
    }
  }
}
