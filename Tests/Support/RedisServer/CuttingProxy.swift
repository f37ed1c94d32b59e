import Foundation
import Synchronization

/// Stands between a client and a server's unix socket, and cuts connections at the worst moment: the request has reached the
/// server and was done, its answer never comes back.
public final class CuttingProxy: Sendable {
  /// Where clients connect to.
  public let url: String
  private let listener: Int32
  private let server: String
  private let path: String
  /// Requests whose answers are still to be lost.
  private let cuts = Mutex(0)
  private let trips = Mutex(0)

  public init(_ server: RedisServer) throws {
    self.server = server.socket
    path = server.folder.appendingPathComponent("proxy-\(UInt32.random(in: 0 ... .max))").path
    url = "unix://\(path)"
    listener = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    guard CuttingProxy.withAddress(path, { bind(listener, $0, $1) }) == 0, listen(listener, 16) == 0 else {
      throw RedisServer.Failure(description: "the proxy cannot listen at \(path)")
    }
    let thread = Thread { [listener, weak self] in
      while true {
        let client = accept(listener, nil, nil)
        if client < 0 { return }
        guard let self else {
          close(client)
          return
        }
        Thread { self.serve(client) }.start()
      }
    }
    thread.start()
  }

  deinit { stop() }

  /// Takes no more connections.
  public func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    unlink(path)
  }

  /// The next `count` requests are passed on, and their connections end once the server has answered.
  public func loseAnswers(_ count: Int) { cuts.withLock { $0 = count } }

  /// How often something was asked after an answer, or for the first time: a request may come in several pieces.
  public var roundTrips: Int { trips.withLock { $0 } }

  private func serve(_ client: Int32) {
    let server = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer {
      close(client)
      close(server)
    }
    guard CuttingProxy.withAddress(self.server, { connect(server, $0, $1) }) == 0 else { return }
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    var isAnswered = true
    while true {
      var both = [
        pollfd(fd: client, events: Int16(POLLIN), revents: 0), pollfd(fd: server, events: Int16(POLLIN), revents: 0),
      ]
      if poll(&both, 2, -1) < 0 { return }
      if both[1].revents != 0 {
        let count = read(server, &buffer, buffer.count)
        if count <= 0 { return }
        let isLost = cuts.withLock { cuts in
          defer { cuts = max(0, cuts - 1) }
          return cuts > 0
        }
        if isLost { return }
        isAnswered = true
        if !CuttingProxy.send(buffer, count, to: client) { return }
      } else if both[0].revents != 0 {
        let count = read(client, &buffer, buffer.count)
        if count <= 0 { return }
        if isAnswered { trips.withLock { $0 += 1 } }
        isAnswered = false
        if !CuttingProxy.send(buffer, count, to: server) { return }
      }
    }
  }

  private static func send(_ bytes: [UInt8], _ count: Int, to descriptor: Int32) -> Bool {
    var sent = 0
    while sent < count {
      let written = bytes.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress! + sent, count - sent, Int32(MSG_NOSIGNAL))
      }
      if written <= 0 { return false }
      sent += written
    }
    return true
  }

  private static func withAddress<R>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }
}
