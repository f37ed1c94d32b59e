// The library's header takes the system's along: what both have is found only by who imports both.
import CMicroHTTPD

#if canImport(Glibc)
  import Glibc
#endif

/// A socket that listens. Made here and not by the library, so that what goes wrong is told as it is.
struct ListeningSocket: Sendable {
  let descriptor: Int32
  let port: Int

  /// Connections that the system takes ahead of us, at least.
  private static let leastBacklog = 128

  /// - Parameters:
  ///   - address: numbers, not a name: nothing is looked up.
  ///   - port: 0 takes a free one.
  ///   - backlog: connections that the system takes ahead of us. It may take fewer (`net.core.somaxconn`).
  init(address: String, port: Int, backlog: Int) throws(HTTPServerError) {
    let place = address.utf8.contains(UInt8(ascii: ":")) ? "[\(address)]:\(port)" : "\(address):\(port)"
    guard let port = UInt16(exactly: port) else {
      throw HTTPServerError(.other, "\(place) cannot be listened on: a port is a number from 0 to 65535")
    }
    var hints = addrinfo()
    hints.ai_flags = AI_NUMERICHOST | AI_PASSIVE | AI_NUMERICSERV
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(address, String(port), &hints, &found)
    guard code == 0, let info = found?.pointee else {
      throw HTTPServerError(
        .addressUnknown, "\(place) cannot be listened on: \"\(address)\" is not an IPv4 or IPv6 address")
    }
    defer { freeaddrinfo(found) }
    let kind = info.ai_socktype | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
    let descriptor = socket(info.ai_family, kind, info.ai_protocol)
    guard descriptor >= 0 else { throw ListeningSocket.failure(place, errno) }
    do throws(HTTPServerError) {
      // A server that starts again does not wait for its last connections' end; two that listen are still refused.
      try ListeningSocket.set(descriptor, SOL_SOCKET, SO_REUSEADDR, 1, place)
      // All IPv6 addresses are all addresses.
      if info.ai_family == AF_INET6 { try ListeningSocket.set(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 0, place) }
      let backlog = Int32(clamping: max(backlog, ListeningSocket.leastBacklog))
      guard bind(descriptor, info.ai_addr, info.ai_addrlen) == 0, listen(descriptor, backlog) == 0
      else { throw ListeningSocket.failure(place, errno) }
      self.port = try ListeningSocket.port(of: descriptor, place)
    } catch {
      close(descriptor)
      throw error
    }
    self.descriptor = descriptor
  }

  private static func set(
    _ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32, _ place: String
  ) throws(HTTPServerError) {
    var value = value
    if setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size)) != 0 {
      throw failure(place, errno)
    }
  }

  private static func port(of descriptor: Int32, _ place: String) throws(HTTPServerError) -> Int {
    var address = sockaddr_storage()
    var count = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let code = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &count) }
    }
    if code != 0 { throw failure(place, errno) }
    // The port stands at the same place in both kinds of address, in network order.
    return withUnsafeBytes(of: &address) { Int(UInt16(bigEndian: $0.load(fromByteOffset: 2, as: UInt16.self))) }
  }

  private static func failure(_ place: String, _ code: Int32) -> HTTPServerError {
    switch code {
    case EADDRINUSE:
      HTTPServerError(.addressInUse, "\(place) cannot be listened on: another program listens there")
    case EADDRNOTAVAIL:
      HTTPServerError(.addressUnknown, "\(place) cannot be listened on: this machine does not have the address")
    case EACCES, EPERM:
      HTTPServerError(.notPermitted, "\(place) cannot be listened on: the system does not permit it")
    default:
      HTTPServerError(.other, "\(place) cannot be listened on: \(String(cString: strerror(code)))")
    }
  }
}
