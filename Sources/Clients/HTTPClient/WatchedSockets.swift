import CCurl
import CSystem

#if canImport(Glibc)
  import Glibc
#endif

/// The sockets that libcurl wants to be told of, in an epoll.
///
/// Between two requests of a connection libcurl takes its interest back, and then wants the same again. A socket that
/// was opened by us, so that we hear of its end, stays watched meanwhile: two system calls less a request. Should
/// something happen on it, it is taken out.
struct WatchedSockets {
  private struct Watch {
    var wanted: UInt32 = 0
    /// What the epoll knows.
    var watched: UInt32 = 0
    var isOurs = false
  }

  private let epoll: Int32
  private let wakeUp: Int32
  /// By descriptor.
  private var watches: [Watch] = []
  private var events = [databus_epoll_event](repeating: databus_epoll_event(), count: 256)

  /// - Parameter wakeUp: an event's descriptor that ends `wait`.
  init(_ wakeUp: Int32) {
    self.wakeUp = wakeUp
    epoll = wakeUp < 0 ? -1 : databus_epoll_create()
    // Each signal is told once, so it need not be read.
    isReady = epoll >= 0 && databus_epoll_add(epoll, wakeUp, databus_epoll_in | databus_epoll_edge) == 0
  }

  /// False with `errno` where the system refuses.
  let isReady: Bool

  func close() {
    if epoll >= 0 { Glibc.close(epoll) }
  }

  // MARK: What libcurl wants

  /// - Parameter what: `CURL_POLL_IN` and the like. False where the system refuses.
  mutating func watch(_ descriptor: Int32, _ what: Int32) -> Bool {
    guard descriptor >= 0 else { return false }
    reserve(descriptor)
    let index = Int(descriptor)
    var wanted: UInt32 = 0
    if what == CURL_POLL_IN || what == CURL_POLL_INOUT { wanted |= databus_epoll_in }
    if what == CURL_POLL_OUT || what == CURL_POLL_INOUT { wanted |= databus_epoll_out }
    watches[index].wanted = wanted
    if wanted == 0 {
      if !watches[index].isOurs { forget(descriptor) }
      return true
    }
    let watched = watches[index].watched
    if watched == wanted { return true }
    watches[index].watched = wanted
    return
      (watched == 0
      ? databus_epoll_add(epoll, descriptor, wanted) : databus_epoll_change(epoll, descriptor, wanted)) == 0
  }

  mutating func opened(_ descriptor: Int32) {
    reserve(descriptor)
    watches[Int(descriptor)] = Watch(isOurs: true)
  }

  /// The system forgets a descriptor that is closed.
  mutating func closed(_ descriptor: Int32) {
    if watches.indices.contains(Int(descriptor)) { watches[Int(descriptor)] = Watch() }
  }

  private mutating func forget(_ descriptor: Int32) {
    if watches[Int(descriptor)].watched == 0 { return }
    watches[Int(descriptor)].watched = 0
    _ = databus_epoll_remove(epoll, descriptor)
  }

  private mutating func reserve(_ descriptor: Int32) {
    while watches.count <= Int(descriptor) { watches.append(Watch()) }
  }

  // MARK: What happens

  /// Waits for events, -1 for ever, and returns how many there are.
  mutating func wait(_ milliseconds: Int32) -> Int {
    max(0, Int(databus_epoll_wait(epoll, &events, Int32(events.count), milliseconds)))
  }

  /// What libcurl is to be told of an event; nil for nothing.
  mutating func ready(_ index: Int) -> (descriptor: Int32, events: Int32)? {
    let (descriptor, found) = (events[index].descriptor, events[index].events)
    if descriptor == wakeUp || !watches.indices.contains(Int(descriptor)) { return nil }
    if watches[Int(descriptor)].wanted == 0 {
      // A server closes a connection that nobody uses, for example: libcurl sees it when it looks at the connection
      // again.
      forget(descriptor)
      return nil
    }
    var told: Int32 = 0
    if found & databus_epoll_in != 0 { told |= CURL_CSELECT_IN }
    if found & databus_epoll_out != 0 { told |= CURL_CSELECT_OUT }
    if found & (databus_epoll_error | databus_epoll_hang_up) != 0 { told |= CURL_CSELECT_ERR }
    return (descriptor, told)
  }
}
