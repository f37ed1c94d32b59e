/// One request of an `HTTPClient`.
public struct HTTPClientRequest: Sendable {
  /// Names the request at its `HTTPClientPort`.
  public var number: UInt64
  public var method: String
  /// `http` or `https`, with a host.
  public var url: String
  /// Lines of the head, in order, without line ends. `Host`, `Content-Length` and `User-Agent` are added.
  public var headers: [String]
  /// The bytes that hold the body.
  public var bytes: [UInt8]
  /// Where in `bytes` the body stands.
  public var body: Range<Int>
  /// From now to the last byte of the answer.
  public var timeout: Duration

  public init(
    number: UInt64, method: String = "POST", url: String, headers: [String] = [], bytes: [UInt8] = [],
    body: Range<Int>? = nil, timeout: Duration = .seconds(15)
  ) {
    self.number = number
    self.method = method
    self.url = url
    self.headers = headers
    self.bytes = bytes
    self.body = body ?? 0..<bytes.count
    self.timeout = timeout
  }
}

/// How a request ended.
public struct HTTPClientResult: Sendable {
  /// The request's.
  public var number: UInt64
  public var outcome: Result<HTTPClientResponse, HTTPClientFailure>
  public var duration: Duration

  public init(number: UInt64, _ outcome: Result<HTTPClientResponse, HTTPClientFailure>, duration: Duration) {
    self.number = number
    self.outcome = outcome
    self.duration = duration
  }
}

/// What a server answered.
public struct HTTPClientResponse: Sendable, Hashable {
  public var status: Int
  /// The header `Retry-After`, as it came.
  public var retryAfter: String?
  /// The beginning of the body, as far as it is kept.
  public var body: [UInt8]

  public init(status: Int, retryAfter: String? = nil, body: [UInt8] = []) {
    self.status = status
    self.retryAfter = retryAfter
    self.body = body
  }
}

/// Why there is no answer.
public struct HTTPClientFailure: Error, Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// The address may not be connected to; nothing was sent.
    case addressDenied
    /// The host's name leads nowhere.
    case resolution
    case connection
    /// The certificate is not accepted, or there is no common protocol.
    case tls
    case timeout
    /// Something came that is not HTTP.
    case notHTTP
    /// The URL cannot be used.
    case badURL
    /// The client was closed.
    case closed
  }

  public var kind: Kind
  /// A sentence for people, without the URL's path and query.
  public var message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }
}

/// Hears of the ends of requests, on the client's thread: short, and never blocking.
public protocol HTTPClientPort: AnyObject, Sendable {
  func end(_ results: [HTTPClientResult])
}
