import Synchronization

/// One request on its way: its parts as they arrive, then its answer.
final class HTTPExchange: @unchecked Sendable {
  // Sendable: the answer is guarded by `state`; everything else is touched by the loop's thread only.
  enum Phase {
    case head
    case body
    /// The handler has it, or has answered.
    case answering
  }

  enum Answer {
    case response(HTTPResponse)
    /// None: the connection ends.
    case end
  }

  private struct State {
    var answer: Answer?
    var isSuspended = false
  }

  let target: String
  var phase = Phase.head
  var method = ""
  var headers: [HTTPHeader] = []
  var body: [UInt8] = []
  /// Bytes of the body, kept or not.
  var bodyCount = 0
  /// libmicrohttpd's; nil once the request has ended.
  var connection: OpaquePointer?

  private let loop: HTTPServerLoop
  private let state = Mutex(State())

  init(_ loop: HTTPServerLoop, target: String, connection: OpaquePointer?) {
    self.loop = loop
    self.target = target
    self.connection = connection
  }

  var request: HTTPRequest { HTTPRequest(method: method, target: target, headers: headers, body: body) }

  /// The answer, where it was given; otherwise notes that the connection sleeps until it is.
  func answerOrSuspend() -> Answer? {
    state.withLock { state in
      if state.answer == nil { state.isSuspended = true }
      return state.answer
    }
  }

  /// The first answer counts.
  func give(_ answer: Answer) {
    let isSuspended = state.withLock { state in
      guard state.answer == nil else { return false }
      state.answer = answer
      return state.isSuspended
    }
    if isSuspended { loop.wake(for: self) }
  }
}

/// Answers one request, from any thread. Whoever drops it without an answer has answered with 500.
public final class HTTPResponder: Sendable {
  private let exchange: HTTPExchange

  init(_ exchange: HTTPExchange) { self.exchange = exchange }

  /// Answers. Only the first answer counts, and one to a client that has gone is dropped.
  public func respond(_ response: HTTPResponse) { exchange.give(.response(response)) }

  /// Closes the connection without an answer, unless one was given.
  public func abort() { exchange.give(.end) }

  deinit { exchange.give(.response(HTTPResponder.givenUp)) }

  private static let givenUp = HTTPResponse(status: 500, text: "The request was given up without an answer.\n")
}
