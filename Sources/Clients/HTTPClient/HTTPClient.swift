/// Sends HTTP requests over libcurl: one thread with any number of connections, kept and used again.
///
/// A request is sent at most once: neither redirects nor lost connections make it go out again. It ends with a status,
/// or with a failure that says why there is none; by its timeout, or a second later.
///
/// One client has one `AddressPolicy` and connections of its own: nothing is sent over a connection that another policy
/// allowed.
public final class HTTPClient: Sendable {
  public struct Configuration: Sendable, Hashable {
    /// The thread's name, as the system's tools show it; the first 15 bytes count.
    public var name: String
    /// What may be connected to. With a proxy, only hosts that are written as addresses (and `localhost`) are looked
    /// at: the proxy resolves names, and has to decide about what they lead to.
    public var policy: AddressPolicy
    /// Requests under way at a time, and so connections too. Further ones wait; their time runs.
    public var maximumConnections: Int
    /// Connections to one host and port at a time. Further requests wait; their time runs.
    public var maximumConnectionsPerHost: Int
    /// For the host's address, the connection and the TLS handshake together. A request's own timeout may be shorter.
    public var connectTimeout: Duration
    /// The first bytes of an answer's body that are handed over.
    public var keptBodyBytes: Int
    /// The bytes of an answer's body that are read. Then the connection is closed, and the answer counts as it is.
    public var maximumBodyBytes: Int
    /// The largest head of an answer, in bytes, lines behind its body included. A larger one ends the request.
    public var maximumHeadBytes: Int
    public var userAgent: String
    /// A file with the certificates (PEM) of those who may have signed a server's; nil for the system's.
    public var authorityFile: String?
    /// `http://proxy.example:3128`, also with user and password, or `https://`. Nil for none: environment variables are
    /// never looked at.
    public var proxy: String?

    public init(
      name: String = "databus-send", policy: AddressPolicy = AddressPolicy(), maximumConnections: Int = 1024,
      maximumConnectionsPerHost: Int = 1024, connectTimeout: Duration = .seconds(10), keptBodyBytes: Int = 1 << 10,
      maximumBodyBytes: Int = 16 << 10, maximumHeadBytes: Int = 32 << 10, userAgent: String = "databus",
      authorityFile: String? = nil, proxy: String? = nil
    ) {
      self.name = name
      self.policy = policy
      self.maximumConnections = maximumConnections
      self.maximumConnectionsPerHost = maximumConnectionsPerHost
      self.connectTimeout = connectTimeout
      self.keptBodyBytes = keptBodyBytes
      self.maximumBodyBytes = maximumBodyBytes
      self.maximumHeadBytes = maximumHeadBytes
      self.userAgent = userAgent
      self.authorityFile = authorityFile
      self.proxy = proxy
    }
  }

  private let loop: HTTPClientLoop

  /// - Throws: where the configuration cannot be used, or the system gives no thread or descriptor.
  public init(_ configuration: Configuration) throws(HTTPClientError) {
    loop = try HTTPClientLoop(configuration)
    try loop.start()
  }

  deinit { loop.stop(nil) }

  /// Sends requests, from any thread, and never blocks. Each of them ends exactly once at `port`; after `close` from
  /// another thread than the client's.
  public func send(_ requests: [HTTPClientRequest], _ port: any HTTPClientPort) { loop.send(requests, port) }

  /// Ends everything that is under way as `.closed`, and returns when the thread has ended. Can be called any number of
  /// times.
  public func close() async {
    await withCheckedContinuation { continuation in
      loop.stop { continuation.resume() }
    }
  }
}
