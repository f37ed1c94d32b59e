/// One request of an `HTTPClient`.
public struct HTTPClientRequest: Sendable {
  /// Names the request at its `HTTPClientPort`.
  public var number: UInt64
  /// A token (RFC 9110, section 9.1) of at most 32 bytes.
  public var method: String
  /// `http` or `https`, with a host: what `HTTPURL` takes.
  public var url: String
  /// Lines of the head (`name: value`), in order, without line ends. `Host`, `Content-Length` and `User-Agent` are
  /// added. What decides how the request is framed or where it goes (`Host`, `Connection`, `Transfer-Encoding` and the
  /// like) cannot stand here.
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
  /// The header `Retry-After`, as it came, at most 128 bytes.
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
    /// The address may not be connected to; no packet went there.
    case addressDenied
    /// The host's name leads nowhere.
    case resolution
    /// None came to be, or it was lost before the answer's end. Where it was lost, the request may have arrived.
    case connection
    /// The certificate is not accepted, or there is no common protocol.
    case tls
    /// The request may have arrived.
    case timeout
    /// Something came that is not HTTP.
    case notHTTP
    /// The URL, the method or a line of the head cannot be used.
    case badURL
    /// The client was closed.
    case closed
  }

  public var kind: Kind
  /// A sentence for people, without the URL's path and query.
  public var message: String
  /// The configured proxy failed, and not the host of the URL.
  public var isProxyFault: Bool
  /// Something of the request was written: nobody knows what became of it.
  public var mayHaveArrived: Bool

  public init(_ kind: Kind, _ message: String, isProxyFault: Bool = false, mayHaveArrived: Bool = false) {
    self.kind = kind
    self.message = message
    self.isProxyFault = isProxyFault
    self.mayHaveArrived = mayHaveArrived
  }
}

/// Why a client cannot be made as it is configured: one sentence for people.
public struct HTTPClientError: Error, Sendable, Hashable, CustomStringConvertible {
  public var message: String

  public init(_ message: String) { self.message = message }

  public var description: String { message }
}

/// Hears of the ends of requests, on the client's thread: short, and never blocking.
public protocol HTTPClientPort: AnyObject, Sendable {
  func end(_ results: [HTTPClientResult])
}
