import Synchronization

/// One request on its way: its parts as they arrive, then its answer.
final class HTTPExchange: @unchecked Sendable {
  // Sendable: the answer is guarded by `answer`; everything else is touched by the loop's thread only.
  enum Phase {
    case head
    case body
    /// The handler has it, or has answered.
    case answering
  }

  private struct Answer {
    var response: HTTPResponse?
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
  private let answer = Mutex(Answer())

  init(_ loop: HTTPServerLoop, target: String, connection: OpaquePointer?) {
    self.loop = loop
    self.target = target
    self.connection = connection
  }

  var request: HTTPRequest { HTTPRequest(method: method, target: target, headers: headers, body: body) }

  /// The answer, where it was given; otherwise notes that the connection sleeps until it is.
  func responseOrSuspend() -> HTTPResponse? {
    answer.withLock { answer in
      if answer.response == nil { answer.isSuspended = true }
      return answer.response
    }
  }

  /// The first answer counts.
  func respond(_ response: HTTPResponse) {
    let isSuspended = answer.withLock { answer in
      guard answer.response == nil else { return false }
      answer.response = response
      return answer.isSuspended
    }
    if isSuspended { loop.wake(for: self) }
  }
}

/// Answers one request, from any thread. Whoever drops it without an answer has answered with 500.
public final class HTTPResponder: Sendable {
  private let exchange: HTTPExchange

  init(_ exchange: HTTPExchange) { self.exchange = exchange }

  /// Answers. Only the first answer counts, and one to a client that has gone is dropped.
  public func respond(_ response: HTTPResponse) { exchange.respond(response) }

  deinit { exchange.respond(HTTPResponse(status: 500, text: "The request was given up without an answer.\n")) }
}
