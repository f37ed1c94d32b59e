import DatabusCore
import HTTPServer

/// What one request is answered.
struct ReceiverAnswer: Sendable {
  enum Kind: Sendable {
    case response(HTTPResponse)
    case close
  }

  var kind: Kind
  /// How long the answer waits.
  var delay: Duration?

  init(_ kind: Kind, after delay: Duration? = nil) {
    self.kind = kind
    self.delay = delay
  }

  /// nil where the connection is closed.
  var status: Int? {
    guard case .response(let response) = kind else { return nil }
    return response.status
  }

  /// The sender has 2xx in his hands at once: sent again, the delivery would be a duplicate.
  var isAcknowledgement: Bool {
    guard delay == nil, case .response(let response) = kind else { return false }
    return (200..<300).contains(response.status) && response.pace == nil
  }

  /// For people: "503, Retry-After 2", "200 after 30s".
  var description: String {
    var text: String
    switch kind {
    case .close: text = "closed without an answer"
    case .response(let response):
      text = "\(response.status)"
      for header in response.headers where header.name != "Content-Type" { text += ", \(header.name) \(header.value)" }
      if let pace = response.pace { text += pace.repeats ? " without end" : " in drips" }
    }
    if let delay { text += " after \(Quantity.text(delay))" }
    return text
  }
}

extension ReceiverBehavior {
  /// - Parameters:
  ///   - seen: how often this `webhook-id` has come, this time included; 1 where there is none.
  ///   - dice: a number below 100.
  func answer(seen: Int, dice: @autoclosure () -> Int) -> ReceiverAnswer {
    let fails =
      switch failing {
      case .all: true
      case .first(let count): seen <= count
      case .percent(let percent): dice() < percent
      }
    if !fails { return ReceiverAnswer(.response(response(200))) }
    if closes { return ReceiverAnswer(.close, after: hang) }
    var response = response(status ?? (failing == .all ? 200 : 503))
    if let retryAfter { response.headers.append(HTTPHeader("Retry-After", retryAfter)) }
    if let location { response.headers.append(HTTPHeader("Location", location)) }
    if isEndless || drip != nil {
      response.pace = HTTPPace(
        pieceBytes: drip == nil ? 16 << 10 : 1, pause: drip ?? .zero, repeats: isEndless && !response.body.isEmpty)
    }
    return ReceiverAnswer(.response(response), after: hang)
  }

  private func response(_ status: Int) -> HTTPResponse {
    // These two have no body (RFC 9110, sections 15.3.5 and 15.4.5).
    if status == 204 || status == 304 { return HTTPResponse(status: status) }
    return HTTPResponse(
      status: status, text: body ?? ((200..<300).contains(status) ? "received\n" : "told to answer \(status)\n"))
  }
}
