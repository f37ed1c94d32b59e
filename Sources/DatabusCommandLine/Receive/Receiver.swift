import DatabusCore
import Dispatcher
import HTTPServer
import Synchronization

/// Answers webhooks as it is told to, counts them and shows them.
final class Receiver: Sendable {
  /// Why the receiver ends by itself.
  enum End: Sendable {
    /// As many requests as were wanted have been answered.
    case enough
    /// What was received cannot be shown.
    case output(any Error)
  }

  struct Parts: Sendable {
    var behavior: ReceiverBehavior
    /// nil: signatures are not checked.
    var signature: WebhookSignature?
    /// nil: nothing is shown.
    var format: ReceivedFormat?
    var output: Output
    var log: Logger
    /// Requests after which it ends.
    var limit: Int?
    /// Ids that are remembered, at least.
    var rememberedIDs = 1_000_000
    /// Called once. The server must not be stopped from inside.
    var end: @Sendable (End) -> Void
  }

  /// What has come so far. Requests for the sums themselves are not counted.
  struct Sums: Sendable, Hashable {
    var requests = 0
    /// Different `webhook-id`s.
    var deliveries = 0
    /// Requests whose `webhook-id` had come before.
    var repeats = 0
    /// Those of them that had been answered with 2xx before.
    var duplicates = 0
    /// Requests without a `webhook-id`.
    var withoutID = 0
    var badSignatures = 0

    var all: [(name: String, value: Int)] {
      [
        ("requests", requests), ("deliveries", deliveries), ("repeats", repeats), ("duplicates", duplicates),
        ("withoutID", withoutID), ("badSignatures", badSignatures),
      ]
    }
  }

  private struct State {
    var sums = Sums()
    var seen: SeenDeliveries
    var answered = 0
    var isForgettingTold = false
    var hasEnded = false
  }

  static let sumsPath = "/_stats"

  private let parts: Parts
  /// What most requests are answered.
  private let ordinary: ReceiverAnswer?
  private let clock = SystemClock()
  private let state: Mutex<State>

  init(_ parts: Parts) {
    self.parts = parts
    ordinary = parts.behavior.isOrdinary ? parts.behavior.answer(seen: 1, dice: 0) : nil
    state = Mutex(State(seen: SeenDeliveries(limit: parts.rememberedIDs)))
  }

  /// The headers that are looked at; nil: all.
  var headerNames: [String]? {
    if parts.format != nil { return nil }
    if parts.signature == nil { return [WebhookSignature.idHeader] }
    return [WebhookSignature.idHeader, WebhookSignature.timestampHeader, WebhookSignature.signatureHeader]
  }

  var sums: Sums { state.withLock { $0.sums } }

  // MARK: One request

  func take(_ request: HTTPRequest, _ responder: HTTPResponder) {
    if request.target.hasPrefix(Receiver.sumsPath), request.path == Receiver.sumsPath {
      return responder.respond(sumsResponse())
    }
    let id = request.header(WebhookSignature.idHeader)
    let verdict = verdict(request)
    guard let (answer, sighting) = note(request, id, verdict) else {
      return responder.respond(HTTPResponse(status: 503, text: "The receiver has taken all that it was to take.\n"))
    }
    if let format = parts.format {
      let received = ReceivedRequest(
        time: clock.wallMilliseconds(), request: request, id: id, sighting: sighting, verdict: verdict, answer: answer)
      do {
        try parts.output.write(format.text(received))
        try parts.output.flush()
      } catch {
        end(.output(error))
      }
    }
    give(answer, responder)
  }

  /// Counts a request and decides on its answer; nil where no more are taken.
  private func note(
    _ request: HTTPRequest, _ id: String?, _ verdict: SignatureVerdict
  ) -> (ReceiverAnswer, ReceivedRequest.Sighting)? {
    let (noted, isFirstForgotten) = state.withLock { state in
      if state.hasEnded || parts.limit.map({ state.sums.requests >= $0 }) ?? false {
        return (nil as (ReceiverAnswer, ReceivedRequest.Sighting)?, false)
      }
      state.sums.requests += 1
      if case .bad = verdict { state.sums.badSignatures += 1 }
      guard let id else {
        state.sums.withoutID += 1
        return ((answer(request, verdict, seen: 1), ReceivedRequest.Sighting()), false)
      }
      let noted = state.seen.note(id) { entry in
        let answer = answer(request, verdict, seen: Int(entry.count))
        let sighting = ReceivedRequest.Sighting(count: Int(entry.count), isDuplicate: entry.isAcknowledged)
        entry.isAcknowledged = entry.isAcknowledged || answer.isAcknowledgement
        return (answer, sighting)
      }
      if noted.1.count == 1 { state.sums.deliveries += 1 } else { state.sums.repeats += 1 }
      if noted.1.isDuplicate { state.sums.duplicates += 1 }
      let isFirstForgotten = state.seen.isForgetting && !state.isForgettingTold
      state.isForgettingTold = state.seen.isForgetting
      return (noted, isFirstForgotten)
    }
    if isFirstForgotten {
      parts.log.warning(
        "more ids have come than are remembered", at: Receiver.sumsPath,
        remedy: "an old one that comes again counts as a new delivery",
        [LogField("remembered", parts.rememberedIDs)])
    }
    return noted
  }

  private func answer(_ request: HTTPRequest, _ verdict: SignatureVerdict, seen: Int) -> ReceiverAnswer {
    if let problem = verdict.problem {
      return ReceiverAnswer(.response(HTTPResponse(status: 401, text: problem + "\n")))
    }
    if let ordinary, !request.target.utf8.contains(UInt8(ascii: "?")) { return ordinary }
    var behavior = parts.behavior
    do throws(ReceiverBehavior.Problem) {
      for item in request.queryItems {
        // What else stands there is the destination's own.
        guard let setting = ReceiverBehavior.Setting(rawValue: item.name) else { continue }
        try behavior.set(setting, item.value ?? "")
      }
    } catch {
      return ReceiverAnswer(.response(HTTPResponse(status: 400, text: "The URL's query: \(error.message)\n")))
    }
    return behavior.answer(seen: seen, dice: Int.random(in: 0..<100))
  }

  private func verdict(_ request: HTTPRequest) -> SignatureVerdict {
    guard let signature = parts.signature else { return .unchecked }
    do throws(WebhookSignature.VerificationProblem) {
      try signature.verify(
        header: { request.header($0) }, body: request.body, now: clock.wallMilliseconds() / 1000)
      return .good
    } catch {
      return .bad(error)
    }
  }

  private func give(_ answer: ReceiverAnswer, _ responder: HTTPResponder) {
    guard let delay = answer.delay else { return giveNow(answer, responder) }
    Task { [self] in
      // It is cancelled by nobody; the server answers what still waits when it stops.
      try? await Task.sleep(for: delay)
      giveNow(answer, responder)
    }
  }

  private func giveNow(_ answer: ReceiverAnswer, _ responder: HTTPResponder) {
    switch answer.kind {
    case .response(let response): responder.respond(response)
    case .close: responder.abort()
    }
    guard let limit = parts.limit else { return }
    let isEnough = state.withLock { state in
      state.answered += 1
      return state.answered == limit
    }
    if isEnough { end(.enough) }
  }

  private func end(_ end: End) {
    let isFirst = state.withLock { state in
      defer { state.hasEnded = true }
      return !state.hasEnded
    }
    if isFirst { parts.end(end) }
  }

  // MARK: Sums

  private func sumsResponse() -> HTTPResponse {
    let (sums, isForgetting) = state.withLock { ($0.sums, $0.seen.isForgetting) }
    let members = sums.all.map { "\"\($0.name)\":\($0.value)" } + ["\"forgetsIDs\":\(isForgetting)"]
    return HTTPResponse(
      status: 200, text: "{" + members.joined(separator: ",") + "}\n", type: "application/json",
      headers: [HTTPHeader("Cache-Control", "no-store")])
  }
}
