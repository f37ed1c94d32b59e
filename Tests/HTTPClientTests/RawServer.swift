import Foundation

#if canImport(Glibc)
  import Glibc
#endif

/// A server that behaves as a test says, well or badly: each connection is served by a closure on a thread of its own.
final class RawServer: Sendable {
  let port: Int
  private let listener: Int32
  private let state = State()

  // Sendable: all of it is touched under `lock` only. (A contended `Mutex` is invisible to ThreadSanitizer.)
  private final class State: @unchecked Sendable {
    private let lock = NSLock()
    private var counted = 0
    private var open: Set<Int32> = []

    var connections: Int { lock.withLock { counted } }

    func begin(_ descriptor: Int32) {
      lock.withLock {
        counted += 1
        open.insert(descriptor)
      }
    }

    func end(_ descriptor: Int32) {
      lock.withLock { _ = open.remove(descriptor) }
      Glibc.close(descriptor)
    }

    func endAll() {
      lock.withLock { for descriptor in open { shutdown(descriptor, Int32(SHUT_RDWR)) } }
    }
  }

  struct Failure: Error { var what: String }

  /// - Parameter serve: nil: connections are left where they are, unaccepted.
  init(_ serve: (@Sendable (RawConnection) -> Void)?) throws {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr)
    var count = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = listener
    let code = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, count) == 0 && listen(listener, 1024) == 0 ? getsockname(listener, $0, &count) : -1
      }
    }
    guard code == 0 else { throw Failure(what: String(cString: strerror(errno))) }
    port = Int(UInt16(bigEndian: address.sin_port))
    guard let serve else { return }
    let state = state
    Thread.detachNewThread {
      while true {
        let descriptor = accept(listener, nil, nil)
        if descriptor < 0 { return }
        state.begin(descriptor)
        Thread.detachNewThread {
          serve(RawConnection(descriptor: descriptor))
          state.end(descriptor)
        }
      }
    }
  }

  /// Connections that came.
  var connections: Int { state.connections }

  /// Whether a connection waits that nobody has accepted.
  var hasCaller: Bool {
    var descriptor = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
    return poll(&descriptor, 1, 0) > 0
  }

  /// Ends all connections too, and with them the threads that serve them.
  func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    state.endAll()
  }

  deinit { Glibc.close(listener) }

  /// A port that nobody listens on.
  static func freePort() throws -> Int { try RawServer(nil).port }
}

/// A connection of a `RawServer`. Its calls block.
struct RawConnection: Sendable {
  let descriptor: Int32

  /// False once the client is gone.
  @discardableResult
  func send(_ text: String) -> Bool {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      if count <= 0 { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }

  /// Reads one request, whose body has a length. Nil once the client is gone.
  func readRequest() -> String? {
    var bytes: [UInt8] = []
    var wanted: Int?
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let text = String(decoding: bytes, as: UTF8.self)
      if wanted == nil, let end = text.range(of: "\r\n\r\n") {
        let length = text.lowercased().range(of: "content-length: ").map {
          text[$0.upperBound...].prefix { $0.isNumber }
        }
        wanted = text[..<end.upperBound].utf8.count + (length.flatMap { Int($0) } ?? 0)
      }
      if let wanted, bytes.count >= wanted { return text }
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count <= 0 { return nil }
      bytes += buffer[..<count]
    }
  }

  /// Waits until the client is gone.
  func waitForEnd() {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while recv(descriptor, &buffer, buffer.count, 0) > 0 {}
  }
}
