import Dispatcher

/// What is said of a request's signature.
enum SignatureVerdict: Sendable, Hashable {
  /// No secret is known.
  case unchecked
  case good
  case bad(WebhookSignature.VerificationProblem)

  /// For scripts.
  var name: StaticString {
    switch self {
    case .unchecked: "unchecked"
    case .good: "good"
    case .bad(.missing): "missing"
    case .bad(.malformedTimestamp): "malformed"
    case .bad(.outsideTolerance): "old"
    case .bad(.noMatch): "wrong"
    }
  }

  /// Why it is bad, for people; nil where it is not.
  var problem: String? {
    guard case .bad(let problem) = self else { return nil }
    return problem.description
  }
}
