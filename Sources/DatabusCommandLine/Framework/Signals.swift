import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// SIGINT and SIGTERM as a stream, for commands that end in order.
///
/// The first signal comes through `stream`; the next one ends the process as if nobody had asked for it, so that a drain
/// that hangs can be stopped by hand.
public final class Signals: Sendable {
  public let stream: AsyncStream<Int32>
  private let continuation: AsyncStream<Int32>.Continuation

  public init() {
    (stream, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingOldest(1))
  }

  /// Tells the stream of a signal: for the thread that waits for them, and for tests.
  public func send(_ signal: Int32) { continuation.yield(signal) }

  /// Keeps the two signals from ending the process. Must be called before any thread is made: threads inherit this.
  static func block() {
    var set = Signals.handled()
    pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Waits for signals on the calling thread, for ever.
  func wait() -> Never {
    var set = Signals.handled()
    var isFirst = true
    while true {
      var signal: Int32 = 0
      guard sigwait(&set, &signal) == 0 else { continue }
      if isFirst {
        isFirst = false
        send(signal)
        continue
      }
      // Unblocked here, it ends the process in the way that the shell can tell.
      Glibc.signal(signal, SIG_DFL)
      pthread_sigmask(SIG_UNBLOCK, &set, nil)
      raise(signal)
    }
  }

  private static func handled() -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    sigaddset(&set, SIGINT)
    sigaddset(&set, SIGTERM)
    return set
  }
}
