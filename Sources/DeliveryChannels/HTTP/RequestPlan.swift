import DatabusCore
import Dispatcher
import HTTPClient

/// How requests are made for one destination under given settings: what is the same for all of them, worked out once.
struct RequestPlan: Sendable {
  private let format: DeliverySettings.Format
  /// The line of the content's type where the event does not give it.
  private let contentTypeLine: String
  private let signature: WebhookSignature?
  /// Lines behind the dispatcher's own.
  private let lines: [String]

  /// - Throws: why nothing can be sent by these settings. No secret's value is in it.
  init(_ settings: DeliverySettings, url: String, _ secrets: Secrets) throws(DeliveryRefusal) {
    if let problem = settings.problem {
      throw DeliveryRefusal(.poison, "the delivery's settings cannot be used: \(problem)")
    }
    format = settings.format
    signature = try RequestPlan.signature(settings.signingSecret, url, secrets)
    var lines: [String] = []
    if let authorization = try RequestPlan.authorization(settings.authentication, url, secrets) {
      lines.append("authorization: \(authorization)")
    }
    var contentType = "application/json"
    for header in settings.headers {
      if header.name.lowercased() == "content-type" {
        contentType = header.value
      } else {
        lines.append("\(header.name): \(header.value)")
      }
    }
    contentTypeLine = RequestPlan.contentTypeName + contentType
    self.lines = lines
  }

  private static func signature(
    _ name: String?, _ url: String, _ secrets: Secrets
  ) throws(DeliveryRefusal) -> WebhookSignature? {
    guard let name else { return nil }
    let values = try values(name, url, secrets)
    do throws(WebhookSignature.SecretProblem) {
      return try WebhookSignature(secrets: values)
    } catch {
      throw DeliveryRefusal(
        .authentication, "the secret \"\(name)\" cannot sign: its value number \(error.index + 1) \(error.description)")
    }
  }

  private static func authorization(
    _ authentication: DeliverySettings.Authentication, _ url: String, _ secrets: Secrets
  ) throws(DeliveryRefusal) -> String? {
    let name: String
    switch authentication {
    case .none: return nil
    case .basic(_, let secret), .bearer(let secret): name = secret
    }
    // The current one.
    let value = try values(name, url, secrets)[0]
    if case .basic(let username, _) = authentication {
      return "Basic " + Base64.encode(Array("\(username):\(value)".utf8))
    }
    guard !value.isEmpty, value.isVisibleASCII else {
      throw DeliveryRefusal(
        .authentication,
        "the secret \"\(name)\" cannot be a bearer token: it is empty or has a space or a character that is not printable ASCII"
      )
    }
    return "Bearer " + value
  }

  /// - Returns: one at least.
  private static func values(_ name: String, _ url: String, _ secrets: Secrets) throws(DeliveryRefusal) -> [String] {
    let values = try secrets.secret(name, for: url).get().values
    if values.isEmpty {
      throw DeliveryRefusal(
        .authentication, "the secret \"\(name)\" has no value: give it one in \"dispatcher.secrets\"")
    }
    return values
  }

  private static let contentTypeName = "content-type: "
  private static let idName = WebhookSignature.idHeader + ": "
  private static let signatureName = WebhookSignature.signatureHeader + ": "

  /// A moment as it stands in a request, the same for all attempts that begin together.
  struct Timestamp {
    /// Since 1970.
    let seconds: Int64
    let line: String

    init(milliseconds: Int64) {
      seconds = milliseconds / 1000
      line = "\(WebhookSignature.timestampHeader): \(seconds)"
    }
  }

  /// The request of one attempt.
  ///
  /// - Parameter timestamp: the moment of the attempt.
  /// - Throws: why it can never be sent.
  func request(
    _ attempt: DeliveryAttempt, timestamp: Timestamp, _ bind: (DeliveryAttempt, Bool) -> CloudEventBinding.Outcome
  ) throws(DeliveryRefusal) -> HTTPClientRequest {
    // In the head and in what is signed: with a ".", parts of it could be taken for the timestamp.
    guard (1...256).contains(attempt.id.utf8.count), attempt.id.isVisibleASCII(butNot: UInt8(ascii: "."))
    else {
      throw DeliveryRefusal(
        .poison, "the delivery's id has no character, more than 256, or one that is not printable ASCII or is a \".\"")
    }
    var typeLine: String? = contentTypeLine
    var eventLines: [String] = []
    var bytes = attempt.value
    var body = attempt.payload
    if format != .payload {
      switch bind(attempt, format == .binary) {
      case .message(let message):
        typeLine = message.contentType.map { RequestPlan.contentTypeName + $0 }
        eventLines = message.headers
        bytes = message.bytes
        body = message.body
      // What is no CloudEvent is sent as it is: no event is lost because of a format.
      case .notCloudEvent: break
      case .tooLarge(let count):
        throw DeliveryRefusal(
          .tooLarge,
          "the event's attributes make \(count) bytes of headers; at most \(CloudEventBinding.maximumHeaderBytes) are sent"
        )
      }
    }
    var headers: [String] = []
    headers.reserveCapacity(4 + eventLines.count + lines.count)
    if let typeLine { headers.append(typeLine) }
    headers.append(RequestPlan.idName + attempt.id)
    headers.append(timestamp.line)
    if let signature {
      let value = signature.header(id: attempt.id, timestamp: timestamp.seconds, bytes: bytes, body: body)
      headers.append(RequestPlan.signatureName + value)
    }
    headers += eventLines
    headers += lines
    return HTTPClientRequest(
      number: attempt.number, url: attempt.target.url, headers: headers, bytes: bytes, body: body,
      timeout: attempt.timeout)
  }
}
