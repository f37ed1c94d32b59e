import CCurl
import CSystem
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The client's thread: everything that is asked of libcurl is asked here. Others leave requests in the mailbox and
/// wake it.
final class HTTPClientLoop: @unchecked Sendable {
  // Sendable: `mailbox` is guarded by itself; all other variables are touched by the thread only, from its start on.
  private struct Order {
    var requests: [HTTPClientRequest]
    var port: any HTTPClientPort
    var begin: ContinuousClock.Instant
  }

  private struct Mailbox {
    var orders: [Order] = []
    var isStopping = false
    var isOver = false
    /// The thread was woken for what lies here.
    var isWoken = false
    var stopped: [@Sendable () -> Void] = []
  }

  /// A request that has no transfer yet.
  private struct Waiting {
    var message: HTTPClientRequest
    var request: HTTPTransfer.Request
  }

  private let configuration: HTTPClient.Configuration
  private let mailbox = Mutex(Mailbox())
  private let wakeUp: Int32
  private let multi: UnsafeMutableRawPointer

  private var sockets: WatchedSockets
  private var destinations: DestinationCache
  private var idle: [HTTPTransfer] = []
  private var underWay: [HTTPTransfer] = []
  private var waiting: [Waiting] = []
  /// Those before it have been taken.
  private var firstWaiting = 0
  private var told: [(port: any HTTPClientPort, results: [HTTPClientResult])] = []
  private var now = ContinuousClock.now
  private var lastSweep = ContinuousClock.now
  private var isCleanedUp = false
  /// When libcurl wants to be asked.
  private var timer: ContinuousClock.Instant?

  /// How often deadlines are looked at.
  private static let sweepInterval = Duration.milliseconds(200)
  /// libcurl ends a request at its deadline and can say in which phase; one that is not over so much later is ended
  /// here.
  private static let patience = Duration.milliseconds(300)

  private static let rounds = 16

  private static let isLibraryReady = curl_global_init(databus_curl_global_all) == CURLE_OK

  init(_ configuration: HTTPClient.Configuration) throws(HTTPClientError) {
    guard HTTPClientLoop.isLibraryReady else { throw HTTPClientError("libcurl cannot be used: it does not start") }
    self.configuration = try configuration.checked()
    destinations = DestinationCache(configuration)
    guard let multi = curl_multi_init() else { throw HTTPClientError("an HTTP client cannot be made: no memory") }
    self.multi = multi
    wakeUp = databus_event_create()
    sockets = WatchedSockets(wakeUp)
    guard sockets.isReady else {
      throw HTTPClientError("an HTTP client cannot be made: \(String(cString: strerror(errno)))")
    }
    let connections = self.configuration.maximumConnections
    _ = databus_curl_multi_set_number(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, connections)
    _ = databus_curl_multi_set_number(multi, CURLMOPT_MAXCONNECTS, connections)
    _ = databus_curl_multi_set_number(
      multi, CURLMOPT_MAX_HOST_CONNECTIONS, self.configuration.maximumConnectionsPerHost)
    // A server's own limit, often 128, stands.
    _ = databus_curl_multi_set_number(multi, CURLMOPT_MAX_CONCURRENT_STREAMS, connections)
    _ = databus_curl_multi_set_callbacks(
      multi, Unmanaged.passUnretained(self).toOpaque(), HTTPClientLoop.watch, HTTPClientLoop.setTimer)
    // Made here so that what no handle would take is said before anything is sent.
    guard let transfer = HTTPTransfer(self.configuration, self) else {
      throw HTTPClientError(
        "an HTTP client cannot be made: libcurl does not take its settings; it has to be 7.88 or newer")
    }
    idle.append(transfer)
  }

  deinit {
    // The thread does it; without one no connection was opened, and nothing is called here.
    if !isCleanedUp { cleanUp() }
    sockets.close()
    if wakeUp >= 0 { Glibc.close(wakeUp) }
  }

  /// Closes all connections.
  private func cleanUp() {
    isCleanedUp = true
    // Handles before what they were used in.
    idle = []
    curl_multi_cleanup(multi)
  }

  // MARK: From other threads

  func send(_ requests: [HTTPClientRequest], _ port: any HTTPClientPort) {
    if requests.isEmpty { return }
    let order = Order(requests: requests, port: port, begin: ContinuousClock.now)
    let (isOver, wakes) = mailbox.withLock { mailbox in
      if mailbox.isOver { return (true, false) }
      mailbox.orders.append(order)
      defer { mailbox.isWoken = true }
      return (false, !mailbox.isWoken)
    }
    if wakes { databus_event_signal(wakeUp) }
    // Elsewhere: the caller may hold what the port needs.
    if isOver { Task.detached { port.end(requests.map { HTTPClientLoop.closed($0.number, .zero) }) } }
  }

  /// - Parameter done: called once the thread has ended.
  func stop(_ done: (@Sendable () -> Void)?) {
    let isOver = mailbox.withLock { mailbox in
      mailbox.isStopping = true
      mailbox.isWoken = true
      if let done, !mailbox.isOver { mailbox.stopped.append(done) }
      return mailbox.isOver
    }
    if isOver { done?() } else { databus_event_signal(wakeUp) }
  }

  private static func closed(_ number: UInt64, _ duration: Duration) -> HTTPClientResult {
    HTTPClientResult(
      number: number, .failure(HTTPClientFailure(.closed, "the HTTP client was closed", mayHaveArrived: true)),
      duration: duration)
  }

  // MARK: The thread

  func start() throws(HTTPClientError) {
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<HTTPClientLoop>.fromOpaque(argument).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    guard code == 0 else {
      Unmanaged.passUnretained(self).release()
      throw HTTPClientError("the system refuses another thread: \(String(cString: strerror(code)))")
    }
    pthread_detach(thread)
  }

  private func run() {
    databus_name_thread(configuration.name)
    // What writes to a connection that is gone, TLS libraries included, is told so and ends nothing.
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    var isStopping = false
    while !isStopping {
      sleep()
      isStopping = takeMail()
      startWaiting()
      work()
      sweep()
      tell()
    }
    endAll()
    tell()
    cleanUp()
    let (orders, stopped) = mailbox.withLock { mailbox in
      mailbox.isOver = true
      defer {
        mailbox.orders = []
        mailbox.stopped = []
      }
      return (mailbox.orders, mailbox.stopped)
    }
    for order in orders { order.port.end(order.requests.map { HTTPClientLoop.closed($0.number, .zero) }) }
    for done in stopped { done() }
  }

  /// Waits until there is something to do, and tells libcurl which sockets are ready.
  private func sleep() {
    let isBusy = !underWay.isEmpty || firstWaiting < waiting.count
    var limit = isBusy ? HTTPClientLoop.sweepInterval : nil
    if let timer { limit = min(limit ?? .seconds(3600), max(.zero, timer - now)) }
    // Rounded up: what is asked for too early is asked for again.
    let milliseconds = limit.map { Int32(clamping: Int64(($0 / .milliseconds(1)).rounded(.up))) } ?? -1
    let count = sockets.wait(milliseconds)
    now = ContinuousClock.now
    for index in 0..<count {
      guard let (descriptor, events) = sockets.ready(index) else { continue }
      var running: Int32 = 0
      curl_multi_socket_action(multi, descriptor, events, &running)
    }
  }

  /// Takes what others have left. True where the client is to end.
  private func takeMail() -> Bool {
    let (orders, isStopping) = mailbox.withLock { mailbox in
      defer {
        mailbox.orders = []
        mailbox.isWoken = false
      }
      return (mailbox.orders, mailbox.isStopping)
    }
    for order in orders {
      for message in order.requests { take(message, order) }
    }
    return isStopping
  }

  private func take(_ message: HTTPClientRequest, _ order: Order) {
    switch destinations.destination(message.url) {
    case .success(let destination):
      waiting.append(
        Waiting(
          message: message,
          request: HTTPTransfer.Request(
            number: message.number, port: order.port, destination: destination, timeout: message.timeout,
            begin: order.begin, deadline: order.begin + message.timeout)))
    case .failure(let failure):
      end(message.number, order.port, .failure(failure), since: order.begin)
    }
  }

  /// Gives transfers to as many as there may be.
  private func startWaiting() {
    while firstWaiting < waiting.count, underWay.count < configuration.maximumConnections {
      let next = waiting[firstWaiting]
      firstWaiting += 1
      do throws(HTTPClientFailure) { try start(next) } catch {
        end(next.request.number, next.request.port, .failure(error), since: next.request.begin)
      }
    }
    // Those that are taken are not moved each time.
    if firstWaiting == waiting.count {
      waiting.removeAll(keepingCapacity: waiting.count <= 4096)
      firstWaiting = 0
    } else if firstWaiting > 1024, firstWaiting > waiting.count / 2 {
      waiting.removeFirst(firstWaiting)
      firstWaiting = 0
    }
  }

  private func start(_ next: Waiting) throws(HTTPClientFailure) {
    let left = next.request.deadline - now
    guard left > .zero else { throw HTTPClientFailure.noConnection(next.request) }
    guard let transfer = idle.popLast() ?? HTTPTransfer(configuration, self) else {
      throw HTTPClientFailure(.connection, "the request cannot be sent: there is no memory")
    }
    do throws(HTTPClientFailure) { try transfer.take(next.request, next.message, left: left) } catch {
      idle.append(transfer)
      throw error
    }
    let code = curl_multi_add_handle(multi, transfer.easy)
    guard code == CURLM_OK else {
      transfer.end()
      idle.append(transfer)
      throw HTTPClientFailure(.connection, "the request cannot be sent: \(String(cString: curl_multi_strerror(code)))")
    }
    transfer.place = underWay.count
    underWay.append(transfer)
  }

  /// Lets libcurl do what is due, and collects what has ended.
  private func work() {
    // What goes on longer waits until sockets were looked at.
    for _ in 0..<HTTPClientLoop.rounds {
      if let timer, timer <= now {
        self.timer = nil
        var running: Int32 = 0
        curl_multi_socket_action(multi, databus_curl_timeout, 0, &running)
      }
      now = ContinuousClock.now
      var code = CURLE_OK
      while let easy = databus_curl_next_end(multi, &code) {
        guard let context = databus_curl_context(easy) else { continue }
        let transfer = Unmanaged<HTTPTransfer>.fromOpaque(context).takeUnretainedValue()
        end(transfer, transfer.outcome(code))
      }
      startWaiting()
      guard let timer, timer <= now else { return }
    }
  }

  /// Ends what libcurl has not ended in time.
  private func sweep() {
    guard now - lastSweep >= HTTPClientLoop.sweepInterval else { return }
    lastSweep = now
    let limit = now - HTTPClientLoop.patience
    // From behind: the last one takes the place of one that ends.
    for transfer in underWay.reversed() {
      guard let request = transfer.request, request.deadline <= limit else { continue }
      end(transfer, .failure(transfer.timeoutFailure(request)))
    }
    if firstWaiting < waiting.count {
      waiting = waiting[firstWaiting...].filter { next in
        guard next.request.deadline <= now else { return true }
        let failure = HTTPClientFailure.noConnection(next.request)
        end(next.request.number, next.request.port, .failure(failure), since: next.request.begin)
        return false
      }
      firstWaiting = 0
    }
    startWaiting()
  }

  private func endAll() {
    for transfer in underWay.reversed() {
      guard let request = transfer.request else { continue }
      end(transfer, HTTPClientLoop.closed(request.number, .zero).outcome)
    }
    for next in waiting[firstWaiting...] {
      let outcome = HTTPClientLoop.closed(next.request.number, .zero).outcome
      end(next.request.number, next.request.port, outcome, since: next.request.begin)
    }
    waiting = []
    firstWaiting = 0
  }

  // MARK: Ends

  private func end(_ transfer: HTTPTransfer, _ outcome: Result<HTTPClientResponse, HTTPClientFailure>) {
    // One in the middle of its way loses its connection.
    curl_multi_remove_handle(multi, transfer.easy)
    if let request = transfer.request { end(request.number, request.port, outcome, since: request.begin) }
    transfer.end()
    let last = underWay.removeLast()
    if last !== transfer {
      underWay[transfer.place] = last
      last.place = transfer.place
    }
    idle.append(transfer)
  }

  private func end(
    _ number: UInt64, _ port: any HTTPClientPort, _ outcome: Result<HTTPClientResponse, HTTPClientFailure>,
    since begin: ContinuousClock.Instant
  ) {
    let result = HTTPClientResult(number: number, outcome, duration: now - begin)
    if let index = told.lastIndex(where: { $0.port === port }) {
      told[index].results.append(result)
    } else {
      told.append((port, [result]))
    }
  }

  private func tell() {
    if told.isEmpty { return }
    for (port, results) in told { port.end(results) }
    told.removeAll(keepingCapacity: true)
  }

  // MARK: What libcurl calls, on the thread

  private static let watch:
    @convention(c) (
      UnsafeMutableRawPointer?, curl_socket_t, Int32, UnsafeMutableRawPointer?, UnsafeMutableRawPointer?
    ) -> Int32 = { _, descriptor, what, context, _ in
      guard let context else { return -1 }
      let loop = Unmanaged<HTTPClientLoop>.fromOpaque(context).takeUnretainedValue()
      return loop.sockets.watch(descriptor, what) ? 0 : -1
    }

  private static let setTimer: @convention(c) (UnsafeMutableRawPointer?, Int, UnsafeMutableRawPointer?) -> Int32 = {
    _, milliseconds, context in
    guard let context else { return -1 }
    let loop = Unmanaged<HTTPClientLoop>.fromOpaque(context).takeUnretainedValue()
    loop.timer = milliseconds < 0 ? nil : loop.now + .milliseconds(milliseconds)
    return 0
  }

  func opened(_ descriptor: Int32) { sockets.opened(descriptor) }

  static let closeSocket: curl_closesocket_callback = { context, descriptor in
    if let context { Unmanaged<HTTPClientLoop>.fromOpaque(context).takeUnretainedValue().sockets.closed(descriptor) }
    return Glibc.close(descriptor)
  }
}
