import DatabusCore
import Dispatcher
import HTTPClient

extension AttemptOutcome {
  /// Bytes of an answer's body that an outcome keeps.
  static let maximumResponseBytes = 1 << 10

  /// What follows from the end of a request.
  ///
  /// - Parameter now: milliseconds since 1970.
  init(_ result: HTTPClientResult, now: Int64) {
    switch result.outcome {
    case .success(let response):
      self.init(
        number: result.number, Verdict(response, now: now), status: response.status,
        detail: AttemptOutcome.detail(response.status),
        response: Array(response.body.prefix(AttemptOutcome.maximumResponseBytes)), duration: result.duration)
    case .failure(let failure):
      self.init(
        number: result.number, Verdict(failure), detail: failure.message, duration: result.duration,
        mayHaveArrived: failure.mayHaveArrived)
    }
  }

  private static func detail(_ status: Int) -> String {
    switch status {
    case 300..<400:
      // Where it points is not followed and not told: it is the receiver's text.
      "HTTP \(status): redirects are not followed; the rule's destinationUrl must be the address itself"
    case 401: "HTTP 401: the credentials of this delivery were not accepted"
    case 410: "HTTP 410: the receiver wants no more deliveries at this address"
    case 100..<200, 600...: "HTTP \(status): no status that an answer can have"
    default: "HTTP \(status)"
    }
  }
}

extension AttemptOutcome.Verdict {
  /// - Parameter now: milliseconds since 1970.
  init(_ response: HTTPClientResponse, now: Int64) {
    func retry(isFault: Bool) -> Self {
      .retry(isFault: isFault, after: response.retryAfter.flatMap { RetryAfter.parse($0, now: now) })
    }
    switch response.status {
    case 200..<300: self = .delivered
    // The receiver is well and asks for patience: 408 and 425 are of this request, 409 of another one that is under way.
    case 408, 409, 425, 429: self = retry(isFault: false)
    // There is no token that could be asked for anew: OAuth 2 is not built yet.
    case 401: self = .rejected(.authentication, endsDestination: false)
    case 410: self = .rejected(.gone, endsDestination: true)
    case 300..<500: self = .rejected(.refused, endsDestination: false)
    // 500 to 599, and what is no final status at all.
    default: self = retry(isFault: true)
    }
  }

  init(_ failure: HTTPClientFailure) {
    switch failure.kind {
    case .addressDenied: self = .rejected(.addressDenied, endsDestination: false)
    case .badURL: self = .rejected(.badURL, endsDestination: false)
    // A forward proxy's faults are not the destination's.
    case .resolution, .connection, .tls, .timeout, .notHTTP:
      self = .retry(isFault: !failure.isProxyFault, after: nil)
    // The dispatcher ends; the destination did nothing.
    case .closed: self = .retry(isFault: false, after: nil)
    }
  }
}
