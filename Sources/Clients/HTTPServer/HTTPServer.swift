/// A small HTTP/1.1 server over libmicrohttpd: one listening address, one thread, any number of connections up to a limit.
///
/// A request is read whole and handed to the handler, which answers at once or later, from any thread; while a client waits
/// for its answer it costs memory and no thread. What takes too long is ended: a request that does not arrive, an
/// answer that nobody gives, a client that does not read. A client that hangs up while it waits is let go.
public final class HTTPServer: Sendable {
  public struct Configuration: Sendable, Hashable {
    /// An IPv4 or IPv6 address of this machine; `0.0.0.0` or `::` for all of them.
    public var address: String
    /// 0 takes a free one.
    public var port: Int
    /// The thread's name, as the system's tools show it; the first 15 bytes count.
    public var name: String
    /// Connections at a time. Further ones wait until one ends.
    public var maximumConnections: Int
    /// The largest head of a request, in bytes: a larger one is answered with 431 or 414.
    public var maximumHeadBytes: Int
    /// The largest body of a request, in bytes: a larger one is answered with 413.
    public var maximumBodyBytes: Int
    /// From the start of a connection, or the end of the request before, until a request is there; and for a client to read
    /// its answer. The connection is closed then.
    public var transferTimeout: Duration
    /// From a request to its answer: then it is answered with 503.
    public var answerTimeout: Duration
    /// The headers that the handler looks at, so that the others of each request cost nothing: `HTTPRequest.headers` has the first of
    /// each of these names. nil: all.
    public var headerNames: [String]?

    public init(
      address: String = "127.0.0.1", port: Int = 0, name: String = "databus-http", maximumConnections: Int = 64,
      maximumHeadBytes: Int = 16 << 10, maximumBodyBytes: Int = 0, transferTimeout: Duration = .seconds(10),
      answerTimeout: Duration = .seconds(30), headerNames: [String]? = nil
    ) {
      self.address = address
      self.port = port
      self.name = name
      self.maximumConnections = maximumConnections
      self.maximumHeadBytes = maximumHeadBytes
      self.maximumBodyBytes = maximumBodyBytes
      self.transferTimeout = transferTimeout
      self.answerTimeout = answerTimeout
      self.headerNames = headerNames
    }
  }

  /// Takes a request. Called on the server's thread, so it must not block: what takes time is done elsewhere, and the responder
  /// used when it is done.
  public typealias Handler = @Sendable (HTTPRequest, HTTPResponder) -> Void

  /// The port that is listened on.
  public let port: Int
  private let loop: HTTPServerLoop

  /// Listens and starts to answer.
  ///
  /// - Throws: `HTTPServerError` where the address cannot be listened on.
  public init(_ configuration: Configuration, handler: @escaping Handler) throws(HTTPServerError) {
    let listener = try ListeningSocket(
      address: configuration.address, port: configuration.port, backlog: configuration.maximumConnections)
    port = listener.port
    loop = try HTTPServerLoop(configuration, listener, handler)
    try loop.start()
  }

  /// A server whose answers are at hand.
  ///
  /// - Throws: `HTTPServerError` where the address cannot be listened on.
  public convenience init(
    _ configuration: Configuration, respond: @escaping @Sendable (HTTPRequest) -> HTTPResponse
  ) throws(HTTPServerError) {
    try self.init(configuration, handler: { request, responder in responder.respond(respond(request)) })
  }

  deinit { loop.stop(nil) }

  /// Stops to listen, answers what waits with 503, lets answers be read for a second, and returns when the thread has ended. Can be called any number of times.
  public func stop() async {
    await withCheckedContinuation { continuation in
      loop.stop { continuation.resume() }
    }
  }
}

/// Why a server cannot listen: one sentence for people.
public struct HTTPServerError: Error, Sendable, Hashable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable {
    /// Another program listens on the address and port.
    case addressInUse
    /// The machine does not have the address.
    case addressUnknown
    /// The system does not permit it (ports below 1024).
    case notPermitted
    /// Anything else.
    case other
  }

  public var kind: Kind
  public var message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  public var description: String { message }
}
