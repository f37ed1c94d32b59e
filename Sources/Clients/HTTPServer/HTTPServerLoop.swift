import CMicroHTTPD
import CSystem
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The server's thread: everything that is asked of libmicrohttpd is asked here. Others leave word in the mailbox and wake it.
final class HTTPServerLoop: @unchecked Sendable {
  // Sendable: `mailbox` is guarded by itself; all other variables are touched by the thread only, from its start on.
  private struct Mailbox {
    /// Requests that sleep and were answered.
    var answered: [HTTPExchange] = []
    var isStopping = false
    var isOver = false
    var stopped: [@Sendable () -> Void] = []
  }

  let configuration: HTTPServer.Configuration
  private let handler: HTTPServer.Handler
  private let listener: ListeningSocket
  private let mailbox = Mutex(Mailbox())
  private let wakeEnd: Int32
  private let sleepEnd: Int32

  private var daemon: OpaquePointer?
  var watches: [OpaquePointer: Watch] = [:]
  /// When the first of the pieces that wait is due.
  var nextPiece: ContinuousClock.Instant?
  private var responses = HTTPLibraryResponses()
  private var exchangeCount = 0
  var lastSweep = ContinuousClock.now

  /// How long answers may take to be read once the server stops.
  private static let stopTimeout = Duration.seconds(1)
  /// So much of a body that is too large is read and dropped, so that its sender is told; then the connection is closed.
  private static let droppedBodyBytes = 1 << 20

  init(
    _ configuration: HTTPServer.Configuration, _ listener: ListeningSocket, _ handler: @escaping HTTPServer.Handler
  ) throws(HTTPServerError) {
    self.configuration = configuration
    self.listener = listener
    self.handler = handler
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      let reason = String(cString: strerror(errno))
      close(listener.descriptor)
      throw HTTPServerError(.other, "an HTTP server cannot be made: \(reason)")
    }
    sleepEnd = ends[0]
    wakeEnd = ends[1]
  }

  deinit {
    close(sleepEnd)
    close(wakeEnd)
  }

  // MARK: From other threads

  /// A request that sleeps was answered.
  func wake(for exchange: HTTPExchange) {
    let isOver = mailbox.withLock { mailbox in
      if !mailbox.isOver { mailbox.answered.append(exchange) }
      return mailbox.isOver
    }
    if !isOver { wake() }
  }

  /// - Parameter done: called once the thread has ended.
  func stop(_ done: (@Sendable () -> Void)?) {
    let isOver = mailbox.withLock { mailbox in
      mailbox.isStopping = true
      if let done, !mailbox.isOver { mailbox.stopped.append(done) }
      return mailbox.isOver
    }
    if isOver { done?() } else { wake() }
  }

  private func wake() {
    var byte: UInt8 = 0
    // A pair that is full wakes as well.
    _ = write(wakeEnd, &byte, 1)
  }

  // MARK: The thread

  func start() throws(HTTPServerError) {
    let context = Unmanaged.passUnretained(self).toOpaque()
    daemon = databus_mhd_start(
      listener.descriptor, UInt32(clamping: configuration.maximumConnections),
      // Half of it is what a head may fill.
      max(configuration.maximumHeadBytes * 2, 4096),
      databus_mhd_callbacks(
        context: context, begin: HTTPServerLoop.begin, handle: HTTPServerLoop.handle,
        completed: HTTPServerLoop.completed, connection: HTTPServerLoop.connectionChanged))
    guard daemon != nil else { throw HTTPServerError(.other, "libmicrohttpd cannot start an HTTP server") }
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<HTTPServerLoop>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    guard code == 0 else {
      Unmanaged.passUnretained(self).release()
      MHD_stop_daemon(daemon)
      throw HTTPServerError(.other, "the system refuses another thread: \(String(cString: strerror(code)))")
    }
    pthread_detach(thread)
  }

  private func run() {
    databus_name_thread(configuration.name)
    var stopDeadline: ContinuousClock.Instant?
    while true {
      sleep()
      let isStopping = takeMail()
      resumePieces()
      sweep(isStopping: isStopping)
      work()
      guard isStopping else { continue }
      let deadline = stopDeadline ?? ContinuousClock.now + HTTPServerLoop.stopTimeout
      if stopDeadline == nil { MHD_quiesce_daemon(daemon) }
      stopDeadline = deadline
      if exchangeCount == 0 || ContinuousClock.now >= deadline { break }
    }
    endWaits()
    MHD_stop_daemon(daemon)
    responses.removeAll()
    // Of a daemon that was quiesced the listener is ours.
    close(listener.descriptor)
    daemon = nil
    let stopped = mailbox.withLock { mailbox in
      mailbox.isOver = true
      mailbox.answered = []
      defer { mailbox.stopped = [] }
      return mailbox.stopped
    }
    for done in stopped { done() }
  }

  private func work() {
    var connections: Int
    repeat {
      connections = watches.count
      MHD_run(daemon)
      // At its limit the library does not listen, and only its next turn after an end does again: nothing else would wake us.
    } while watches.count < connections
  }

  /// Waits until there is something to do.
  private func sleep() {
    var descriptors = [
      pollfd(fd: databus_mhd_epoll_descriptor(daemon), events: Int16(POLLIN), revents: 0),
      pollfd(fd: sleepEnd, events: Int16(POLLIN), revents: 0),
    ]
    var timeout: Int32 = watches.isEmpty ? -1 : Int32(HTTPServerLoop.sweepInterval / .milliseconds(1))
    if let nextPiece, timeout > 0 {
      // Rounded up: woken before its time it would look again and again.
      let rest = (max(nextPiece - .now, .zero) / .milliseconds(1)).rounded(.up)
      timeout = Int32(min(rest, Double(timeout)))
    }
    var wanted: UInt64 = 0
    if MHD_get_timeout(daemon, &wanted) == databus_mhd_yes {
      timeout = timeout < 0 ? Int32(clamping: wanted) : min(timeout, Int32(clamping: wanted))
    }
    _ = poll(&descriptors, nfds_t(descriptors.count), timeout)
    if descriptors[1].revents != 0 {
      withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
        while read(sleepEnd, buffer.baseAddress, buffer.count) > 0 {}
      }
    }
  }

  /// Wakes the connections whose answer has come. True where the server is to end.
  private func takeMail() -> Bool {
    let (answered, isStopping) = mailbox.withLock { mailbox in
      defer { mailbox.answered = [] }
      return (mailbox.answered, mailbox.isStopping)
    }
    for exchange in answered {
      guard let connection = exchange.connection, case .answer(let waiting)? = watches[connection]?.wait,
        waiting === exchange
      else { continue }
      resume(connection)
    }
    return isStopping
  }

  // MARK: What the library calls, on the thread

  private static let begin:
    @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?, OpaquePointer?) -> UnsafeMutableRawPointer? = {
      context, target, connection in
      guard let context else { return nil }
      let loop = Unmanaged<HTTPServerLoop>.fromOpaque(context).takeUnretainedValue()
      loop.exchangeCount += 1
      let exchange = HTTPExchange(loop, target: target.map { String(cString: $0) } ?? "", connection: connection)
      return Unmanaged.passRetained(exchange).toOpaque()
    }

  private static let handle: MHD_AccessHandlerCallback = {
    context, connection, _, method, _, bytes, count, exchange in
    guard let context, let connection, let exchange = exchange?.pointee, let count else { return databus_mhd_no }
    let loop = Unmanaged<HTTPServerLoop>.fromOpaque(context).takeUnretainedValue()
    let known = Unmanaged<HTTPExchange>.fromOpaque(exchange).takeUnretainedValue()
    if known.phase == .head { known.method = method.map { String(cString: $0) } ?? "" }
    let part = UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : count.pointee)
    count.pointee = 0
    return loop.take(known, connection, part)
  }

  private static let completed: MHD_RequestCompletedCallback = { context, connection, exchange, _ in
    guard let context, let connection, let pointer = exchange?.pointee else { return }
    let loop = Unmanaged<HTTPServerLoop>.fromOpaque(context).takeUnretainedValue()
    exchange?.pointee = nil
    Unmanaged<HTTPExchange>.fromOpaque(pointer).takeRetainedValue().connection = nil
    loop.exchangeCount -= 1
    if loop.watches[connection] != nil { loop.watch(connection) }
  }

  private static let connectionChanged: MHD_NotifyConnectionCallback = { context, connection, _, change in
    guard let context, let connection else { return }
    let loop = Unmanaged<HTTPServerLoop>.fromOpaque(context).takeUnretainedValue()
    if databus_mhd_is_start(change) != 0 { loop.watch(connection) } else { loop.watches[connection] = nil }
  }

  /// The next part of a request: its head, pieces of its body, its end; and once more when it was answered.
  private func take(
    _ exchange: HTTPExchange, _ connection: OpaquePointer, _ part: UnsafeRawBufferPointer
  ) -> MHD_Result {
    switch exchange.phase {
    case .head:
      exchange.phase = .body
      exchange.headers = headers(of: connection)
      if let length = databus_mhd_header(connection, "Content-Length").flatMap({ UInt64(String(cString: $0)) }),
        length > configuration.maximumBodyBytes
      {
        // Answered before the body has come, the library reads none of it and closes the connection.
        return send(tooLarge, connection)
      }
      return databus_mhd_yes
    case .body where !part.isEmpty:
      exchange.bodyCount += part.count
      if exchange.bodyCount <= configuration.maximumBodyBytes {
        exchange.body += part
      } else {
        exchange.body = []
        if exchange.bodyCount - configuration.maximumBodyBytes > HTTPServerLoop.droppedBodyBytes {
          return databus_mhd_no
        }
      }
      return databus_mhd_yes
    case .body:
      exchange.phase = .answering
      if exchange.bodyCount > configuration.maximumBodyBytes { return send(tooLarge, connection) }
      handler(exchange.request, HTTPResponder(exchange))
      exchange.body = []
      return answer(exchange, connection)
    case .answering: return answer(exchange, connection)
    }
  }

  private func answer(_ exchange: HTTPExchange, _ connection: OpaquePointer) -> MHD_Result {
    switch exchange.answerOrSuspend() {
    case .response(let response): return send(response, connection)
    case .end: return databus_mhd_no
    case nil:
      watches[connection] = Watch(
        deadline: ContinuousClock.now + configuration.answerTimeout, wait: .answer(exchange))
      MHD_suspend_connection(connection)
      return databus_mhd_yes
    }
  }

  private var tooLarge: HTTPResponse {
    let limit = configuration.maximumBodyBytes
    return HTTPResponse(
      status: 413, text: limit == 0 ? "No body is taken here.\n" : "The body has more than \(limit) bytes.\n")
  }

  private func headers(of connection: OpaquePointer) -> [HTTPHeader] {
    if let names = configuration.headerNames {
      return names.compactMap { name in
        databus_mhd_header(connection, name).map { HTTPHeader(name, String(cString: $0)) }
      }
    }
    var found: [HTTPHeader] = []
    withUnsafeMutablePointer(to: &found) { pointer in
      databus_mhd_headers(connection, pointer) { context, _, name, value in
        guard let context, let name else { return databus_mhd_no }
        let headers = context.assumingMemoryBound(to: [HTTPHeader].self)
        headers.pointee.append(HTTPHeader(String(cString: name), value.map { String(cString: $0) } ?? ""))
        return databus_mhd_yes
      }
    }
    return found
  }

  private func send(_ response: HTTPResponse, _ connection: OpaquePointer) -> MHD_Result {
    responses.send(response, connection, self)
  }
}
