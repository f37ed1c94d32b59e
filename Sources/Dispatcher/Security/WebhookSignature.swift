import DatabusCore

/// Signs deliveries and verifies them, as Standard Webhooks 1.0 says ("Signature scheme"): HMAC-SHA256 over `id.timestamp.body`.
///
/// It holds one secret, or several while one is replaced: a delivery is signed with each of them, and one that any of them has
/// signed is genuine. The keys are prepared once.
public struct WebhookSignature: Sendable {
  /// The header of the delivery's id, the same at every attempt.
  public static let idHeader = "webhook-id"
  /// The header of the attempt's time, in seconds since 1970.
  public static let timestampHeader = "webhook-timestamp"
  /// The header of the signatures, with spaces between them.
  public static let signatureHeader = "webhook-signature"
  /// What a signing secret begins with, so that it is known for one.
  static let secretPrefix = "whsec_"
  /// How far a timestamp may be from the receiver's clock.
  public static let tolerance = Duration.seconds(300)

  /// Why a text is no signing secret. Says nothing of its characters.
  public struct SecretProblem: Error, Sendable, Hashable, CustomStringConvertible {
    /// The place of the secret among those given, from 0.
    public var index: Int
    /// Goes on after the secret's name: "is not base64 ...".
    public var description: String
  }

  private let keys: [HMACSHA256]

  /// - Parameter secrets: each as base64 of 24 to 64 bytes, with or without `whsec_` in front.
  /// - Throws: `SecretProblem` for the first that is none.
  public init(secrets: [String]) throws(SecretProblem) {
    var keys: [HMACSHA256] = []
    for (index, secret) in secrets.enumerated() {
      switch WebhookSignature.key(secret) {
      case .success(let key): keys.append(HMACSHA256(key: key))
      case .failure(let problem): throw SecretProblem(index: index, description: problem.sentence)
      }
    }
    self.keys = keys
  }

  private struct KeyProblem: Error { var sentence: String }

  private static func key(_ secret: String) -> Result<[UInt8], KeyProblem> {
    let text = secret.hasPrefix(secretPrefix) ? String(secret.dropFirst(secretPrefix.count)) : secret
    let form = "a signing secret is \"whsec_\" and 24 to 64 random bytes as base64"
    guard let key = Base64.decode(text) else { return .failure(KeyProblem(sentence: "is not base64: \(form)")) }
    guard (24...64).contains(key.count) else {
      return .failure(KeyProblem(sentence: "has \(key.count) bytes: \(form)"))
    }
    return .success(key)
  }

  /// What is wrong with a signing secret, as the end of a sentence without its full stop; nil where nothing is. The secret is not
  /// repeated.
  public static func problem(with secret: String) -> String? {
    if case .failure(let problem) = key(secret) { return problem.sentence }
    return nil
  }

  /// The value of `webhook-signature`.
  ///
  /// - Parameters:
  ///   - id: must have no ".", which would let parts of it be taken for another field.
  ///   - timestamp: seconds since 1970.
  ///   - body: where in `bytes` the body stands.
  public func header(id: String, timestamp: Int64, bytes: [UInt8], body: Range<Int>) -> String {
    let head = "\(id).\(timestamp)."
    var text = ""
    for key in keys {
      if !text.isEmpty { text += " " }
      text += "v1,"
      text += Base64.encode(WebhookSignature.code(key, head, bytes, body))
    }
    return text
  }

  private static func code(_ key: HMACSHA256, _ head: String, _ bytes: [UInt8], _ body: Range<Int>) -> [UInt8] {
    var code = key
    code.update(head)
    code.update(bytes, body)
    return code.finish()
  }
}

extension WebhookSignature {
  /// Why a delivery is not taken for genuine.
  public enum VerificationProblem: Error, Sendable, Hashable, CustomStringConvertible {
    /// The header with this name is not there.
    case missing(String)
    case malformedTimestamp
    /// The timestamp is older than the tolerance, or so far ahead: by how many seconds, negative where it is ahead.
    case outsideTolerance(age: Int64)
    /// No signature is by one of the secrets.
    case noMatch

    public var description: String {
      switch self {
      case .missing(let header): "the header \(header) is missing"
      case .malformedTimestamp: "the header \(timestampHeader) is not a number of seconds since 1970"
      case .outsideTolerance(let age) where age < 0:
        "the timestamp is \(age.magnitude) s ahead of the receiver's clock: set the clocks"
      case .outsideTolerance(let age): "the timestamp is \(age) s old: a repeated request, or a clock that is wrong"
      case .noMatch: "no signature matches: the secret is another one, or the body was changed"
      }
    }
  }

  /// Verifies a delivery that was received.
  ///
  /// - Parameters:
  ///   - header: the value of the first header of a name, whatever its case.
  ///   - body: as it was received, byte for byte.
  ///   - now: seconds since 1970.
  ///   - tolerance: how far the timestamp may be from `now`.
  /// - Throws: `VerificationProblem`.
  public func verify(
    header: (String) -> String?, body: [UInt8], now: Int64, tolerance: Duration = WebhookSignature.tolerance
  ) throws(VerificationProblem) {
    guard let id = header(WebhookSignature.idHeader) else { throw .missing(WebhookSignature.idHeader) }
    guard let time = header(WebhookSignature.timestampHeader) else { throw .missing(WebhookSignature.timestampHeader) }
    guard let signatures = header(WebhookSignature.signatureHeader) else {
      throw .missing(WebhookSignature.signatureHeader)
    }
    // As `header` writes it, and so as it was signed: no sign, no leading zero.
    guard let timestamp = Int64(time), timestamp >= 0, String(timestamp) == time else { throw .malformedTimestamp }
    let (age, overflow) = now.subtractingReportingOverflow(timestamp)
    if overflow || age.magnitude > UInt64(max(0, tolerance.components.seconds)) { throw .outsideTolerance(age: age) }
    let head = "\(id).\(timestamp)."
    let expected = keys.map { WebhookSignature.code($0, head, body, 0..<body.count) }
    for signature in signatures.split(separator: " ") where signature.hasPrefix("v1,") {
      guard let code = Base64.decode(String(signature.dropFirst(3))) else { continue }
      if expected.contains(where: { HMACSHA256.areEqual($0, code) }) { return }
    }
    throw .noMatch
  }
}
