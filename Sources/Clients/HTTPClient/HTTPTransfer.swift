import CCurl

#if canImport(Glibc)
  import Glibc
#endif

/// A handle of libcurl, with what it needs while it carries a request. Used again for one request after another;
/// touched by the client's thread only.
final class HTTPTransfer {
  /// What requests to one URL have in common.
  final class Destination {
    let url: HTTPURL
    let place: String
    /// Its name may lead to any address.
    let isAllowed: Bool
    /// The URL as libcurl has parsed it: parsed for each request it would be a sixth of what that costs libcurl.
    let parsed = ParsedURL()

    init(_ url: HTTPURL, isAllowed: Bool) throws(HTTPClientFailure) {
      self.url = url
      self.isAllowed = isAllowed
      place = url.place
      try parsed.set(CURLUPART_URL, url.text)
    }
  }

  /// A request that is under way.
  struct Request {
    var number: UInt64
    var port: any HTTPClientPort
    var destination: Destination
    var timeout: Duration
    var begin: ContinuousClock.Instant
    /// When it has to be over.
    var deadline: ContinuousClock.Instant
  }

  // Owned: cleaned up by `deinit`, and given to libcurl's multi handle only by the loop, which takes it out before.
  let easy: UnsafeMutableRawPointer
  private(set) var request: Request?
  /// Where the loop has it among those that are under way.
  var place = 0

  private let configuration: HTTPClient.Configuration
  private let errorText: UnsafeMutablePointer<CChar>
  private var memory: RequestMemory

  // What the handle was last told, so that only what changes is told again.
  private var destination: Destination?
  private var isSecure: Bool?
  private var shape: Shape?
  private var lines: UnsafeMutablePointer<curl_slist>?

  // What has come of the answer, and of the way to it.
  private(set) var keptBody: [UInt8] = []
  private(set) var bodyCount = 0
  private(set) var headCount = 0
  private(set) var retryAfter: String?
  private(set) var denial: AddressPolicy.Denial?
  private(set) var openedSockets = 0
  private(set) var socketError: Int32 = 0
  private(set) var sendCount = 0

  private struct Shape: Equatable {
    var method: String
    var hasBody: Bool
  }

  private static let keptRetryAfterBytes = 128

  /// - Parameter sockets: goes to `close` with each descriptor that is to be closed, and is told of each that is
  ///   opened.
  init?(_ configuration: HTTPClient.Configuration, _ sockets: HTTPClientLoop) {
    guard let easy = curl_easy_init() else { return nil }
    self.easy = easy
    self.configuration = configuration
    memory = RequestMemory(userAgent: configuration.userAgent)
    proxyPlace = configuration.proxy.map { (try? HTTPClient.Configuration.proxyPlace($0)) ?? "" }
    errorText = .allocate(capacity: Int(CURL_ERROR_SIZE))
    errorText.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    self.sockets = sockets
    if setUp() != CURLE_OK { return nil }
  }

  private unowned let sockets: HTTPClientLoop

  deinit {
    curl_easy_cleanup(easy)
    errorText.deallocate()
  }

  // MARK: Options

  /// What never changes.
  private func setUp() -> CURLcode {
    let numbers: [(CURLoption, Int)] = [
      (CURLOPT_NOSIGNAL, 1), (CURLOPT_FOLLOWLOCATION, 0), (CURLOPT_TCP_NODELAY, 1), (CURLOPT_SSL_VERIFYPEER, 1),
      (CURLOPT_SSL_VERIFYHOST, 2), (CURLOPT_SSLVERSION, databus_curl_tls_1_2), (CURLOPT_NETRC, 0),
      (CURLOPT_HTTP09_ALLOWED, 0), (CURLOPT_DISALLOW_USERNAME_IN_URL, 1), (CURLOPT_PATH_AS_IS, 1),
      (CURLOPT_SUPPRESS_CONNECT_HEADERS, 1),
      // Answers are small, and what is sent fits into one buffer or does not hurry.
      (CURLOPT_BUFFERSIZE, 4 << 10), (CURLOPT_UPLOAD_BUFFERSIZE, 16 << 10),
      // A name server that does not answer must not hold the thread when its request has ended.
      (CURLOPT_QUICK_EXIT, 1),
      (CURLOPT_CONNECTTIMEOUT_MS, HTTPTransfer.milliseconds(configuration.connectTimeout)),
    ]
    for (option, value) in numbers {
      let code = databus_curl_set_number(easy, option, value)
      if code != CURLE_OK { return code }
    }
    var texts = [
      (CURLOPT_PROTOCOLS_STR, "http,https"),
      // An empty text: none, and none from the environment.
      (CURLOPT_PROXY, configuration.proxy ?? ""), (CURLOPT_NOPROXY, ""),
    ]
    // Requests have a line of their own; this one is for the proxy.
    if configuration.proxy != nil { texts.append((CURLOPT_USERAGENT, configuration.userAgent)) }
    if let file = configuration.authorityFile { texts += [(CURLOPT_CAINFO, file), (CURLOPT_PROXY_CAINFO, file)] }
    for (option, value) in texts {
      let code = databus_curl_set_text(easy, option, value)
      if code != CURLE_OK { return code }
    }
    let code = databus_curl_set_pointer(easy, CURLOPT_ERRORBUFFER, errorText)
    if code != CURLE_OK { return code }
    return databus_curl_set_callbacks(
      easy,
      databus_curl_callbacks(
        context: Unmanaged.passUnretained(self).toOpaque(), head: HTTPTransfer.takeHead, body: HTTPTransfer.takeBody,
        open: HTTPTransfer.open, begin: HTTPTransfer.begin, sockets: Unmanaged.passUnretained(sockets).toOpaque(),
        close: HTTPClientLoop.closeSocket))
  }

  /// libcurl's limit is that of an `Int32`; 0 would be none.
  private static func milliseconds(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    let bounded = max(0, min(seconds, 2_000_000))
    return max(1, Int(bounded) * 1000 + Int(attoseconds / 1_000_000_000_000_000))
  }

  /// Takes a request on.
  ///
  /// - Parameter left: of its timeout.
  /// - Throws: where it cannot be sent.
  func take(_ request: Request, _ message: HTTPClientRequest, left: Duration) throws(HTTPClientFailure) {
    guard HTTPTransfer.isMethod(message.method) else {
      throw HTTPClientFailure(.badURL, "the request cannot be sent: its method is not a token of at most 32 bytes")
    }
    try memory.fill(message.headers, message.bytes, message.body)
    let code = setUp(request.destination, message.method, left)
    if code != CURLE_OK {
      forget()
      throw HTTPClientFailure(
        .connection, "the request cannot be sent: \(String(cString: curl_easy_strerror(code)))")
    }
    self.request = request
    keptBody = []
    bodyCount = 0
    headCount = 0
    retryAfter = nil
    denial = nil
    openedSockets = 0
    socketError = 0
    sendCount = 0
    errorText[0] = 0
  }

  private static func isMethod(_ method: String) -> Bool { method == "POST" || HeaderLine.isMethod(method) }

  private func setUp(_ destination: Destination, _ method: String, _ left: Duration) -> CURLcode {
    var code = CURLE_OK
    if destination !== self.destination {
      code = databus_curl_set_url(easy, destination.parsed.handle)
      self.destination = destination
    }
    if code == CURLE_OK, destination.url.isSecure != isSecure {
      // Without TLS there is no HTTP/2, and nothing that a second request to a host would have to wait for.
      let isSecure = destination.url.isSecure
      code = databus_curl_set_number(
        easy, CURLOPT_HTTP_VERSION, isSecure ? databus_curl_http_2_over_tls : databus_curl_http_1_1)
      if code == CURLE_OK { code = databus_curl_set_number(easy, CURLOPT_PIPEWAIT, isSecure ? 1 : 0) }
      self.isSecure = isSecure
    }
    if code == CURLE_OK { code = setShape(method) }
    if code == CURLE_OK, memory.lines != lines {
      lines = memory.lines
      code = databus_curl_set_pointer(easy, CURLOPT_HTTPHEADER, lines)
    }
    if code == CURLE_OK, shape?.hasBody == true {
      code = databus_curl_set_pointer(easy, CURLOPT_POSTFIELDS, memory.body)
      if code == CURLE_OK {
        code = databus_curl_set_size(easy, CURLOPT_POSTFIELDSIZE_LARGE, curl_off_t(memory.bodyCount))
      }
    }
    if code == CURLE_OK {
      code = databus_curl_set_number(easy, CURLOPT_TIMEOUT_MS, HTTPTransfer.milliseconds(left))
    }
    return code
  }

  /// The method. One that usually has a body says that it is empty where it is.
  private func setShape(_ method: String) -> CURLcode {
    let hasBody = memory.bodyCount > 0 || ["POST", "PUT", "PATCH"].contains(method)
    if let shape, shape.hasBody == hasBody, shape.method == method { return CURLE_OK }
    shape = Shape(method: method, hasBody: hasBody)
    let isHead = method == "HEAD" && !hasBody
    var code = databus_curl_set_number(easy, CURLOPT_NOBODY, isHead ? 1 : 0)
    if code == CURLE_OK, !isHead {
      code = databus_curl_set_number(easy, hasBody ? CURLOPT_POST : CURLOPT_HTTPGET, 1)
    }
    let isUsual = isHead || method == (hasBody ? "POST" : "GET")
    if code == CURLE_OK { code = databus_curl_set_text(easy, CURLOPT_CUSTOMREQUEST, isUsual ? nil : method) }
    return code
  }

  /// The request is over, and libcurl does not touch it any more.
  func end() {
    request = nil
    keptBody = []
    memory.trim()
    if memory.lines == nil { forgetLines() }
  }

  /// Everything is told anew next time.
  private func forget() {
    _ = databus_curl_set_url(easy, nil)
    destination = nil
    isSecure = nil
    shape = nil
    forgetLines()
  }

  private func forgetLines() {
    lines = nil
    // Unset, so that nothing points to memory that is gone.
    _ = databus_curl_set_pointer(easy, CURLOPT_HTTPHEADER, nil)
  }

  /// libcurl's own words about an error.
  var detail: String { String(cString: errorText) }

  /// The proxy's host and port; nil without one.
  let proxyPlace: String?
  var connectTimeout: Duration { configuration.connectTimeout }

  /// Whether the body was cut off at its limit: the answer counts.
  var isCutOff: Bool { bodyCount > configuration.maximumBodyBytes }

  var isHeadTooLarge: Bool { headCount > configuration.maximumHeadBytes }

  // MARK: What libcurl calls

  private static func transfer(_ context: UnsafeMutableRawPointer) -> HTTPTransfer {
    Unmanaged<HTTPTransfer>.fromOpaque(context).takeUnretainedValue()
  }

  private static let takeHead: curl_write_callback = { bytes, size, count, context in
    guard let bytes, let context else { return 0 }
    let transfer = transfer(context)
    let line = UnsafeRawBufferPointer(start: bytes, count: size * count)
    transfer.headCount += line.count
    if transfer.isHeadTooLarge { return 0 }
    transfer.noteRetryAfter(line)
    return line.count
  }

  private func noteRetryAfter(_ line: UnsafeRawBufferPointer) {
    let name: StaticString = "retry-after"
    let count = name.utf8CodeUnitCount
    guard line.count > count, line[0] | 0x20 == UInt8(ascii: "r"), line[count] == UInt8(ascii: ":"),
      HeaderLine.isSame(UnsafeRawBufferPointer(rebasing: line[..<count]), name)
    else { return }
    func isSpace(_ byte: UInt8) -> Bool { byte <= 0x20 }
    let value = line[(count + 1)...].drop(while: isSpace).prefix(HTTPTransfer.keptRetryAfterBytes)
    let end = value.lastIndex { !isSpace($0) } ?? value.startIndex - 1
    retryAfter = String(decoding: value[...end], as: UTF8.self)
  }

  private static let takeBody: curl_write_callback = { bytes, size, count, context in
    guard let bytes, let context else { return 0 }
    let transfer = transfer(context)
    let part = UnsafeRawBufferPointer(start: bytes, count: size * count)
    let wanted = transfer.configuration.keptBodyBytes - transfer.keptBody.count
    if wanted > 0 { transfer.keptBody += part.prefix(wanted) }
    transfer.bodyCount += part.count
    return transfer.isCutOff ? 0 : part.count
  }

  /// Called each time before the request is sent. libcurl would send it again where a kept connection is lost before an
  /// answer: whether the first was taken, nobody knows.
  private static let begin: curl_prereq_callback = { context, _, _, _, _ in
    guard let context else { return databus_curl_abort }
    let transfer = transfer(context)
    transfer.sendCount += 1
    return transfer.sendCount > 1 ? databus_curl_abort : databus_curl_continue
  }

  private static let open: curl_opensocket_callback = { context, _, address in
    guard let context, let address else { return databus_curl_no_socket }
    return transfer(context).open(address)
  }

  /// The place where it is decided what may be connected to: nothing lies between this and `connect`.
  private func open(_ address: UnsafeMutablePointer<curl_sockaddr>) -> curl_socket_t {
    let count = Int(address.pointee.addrlen)
    let found = UnsafeMutableRawPointer(address)
      .advanced(by: MemoryLayout<curl_sockaddr>.offset(of: \.addr) ?? 0).assumingMemoryBound(to: sockaddr.self)
    // The proxy's address is the configuration's own.
    if configuration.proxy == nil, request?.destination.isAllowed != true {
      let refused = IPAddress(found, count: count).map { configuration.policy.denial(of: $0) } ?? .other
      if let refused {
        denial = refused
        return databus_curl_no_socket
      }
    }
    let kind = address.pointee.socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
    let descriptor = socket(address.pointee.family, kind, address.pointee.protocol)
    if descriptor < 0 {
      socketError = errno
    } else {
      openedSockets += 1
      sockets.opened(descriptor)
    }
    return descriptor
  }
}
