import Foundation

#if canImport(Glibc)
  import Glibc
#endif

/// A client that sends bytes as they are told, well-formed or not, and reads what comes. Its calls block: they run on threads of
/// their own.
public final class RawClient: Sendable {
  private let descriptor: Int32

  public struct Failure: Error { var what: String }

  public init(port: Int, address: String = "127.0.0.1") throws {
    let isSix = address.contains(":")
    descriptor = socket(isSix ? AF_INET6 : AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw Failure(what: "socket") }
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    let code: Int32
    if isSix {
      var place = sockaddr_in6()
      place.sin6_family = sa_family_t(AF_INET6)
      place.sin6_port = in_port_t(port).bigEndian
      inet_pton(AF_INET6, address, &place.sin6_addr)
      code = withUnsafePointer(to: &place) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
        }
      }
    } else {
      var place = sockaddr_in()
      place.sin_family = sa_family_t(AF_INET)
      place.sin_port = in_port_t(port).bigEndian
      inet_pton(AF_INET, address, &place.sin_addr)
      code = withUnsafePointer(to: &place) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
    }
    guard code == 0 else {
      Glibc.close(descriptor)
      throw Failure(what: "connect: \(String(cString: strerror(errno)))")
    }
  }

  deinit { Glibc.close(descriptor) }

  public func send(_ text: String) throws { try send(bytes: Array(text.utf8)) }

  public func send(bytes: [UInt8]) throws {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      if count <= 0 { throw Failure(what: "send: \(String(cString: strerror(errno)))") }
      rest = rest.dropFirst(count)
    }
  }

  /// Sends no more, and still reads.
  public func finish() throws {
    if shutdown(descriptor, Int32(SHUT_WR)) != 0 {
      throw Failure(what: "shutdown: \(String(cString: strerror(errno)))")
    }
  }

  private func onThread<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
  }

  /// Reads until the server closes the connection, or until `isEnough`.
  public func read(
    until isEnough: @escaping @Sendable (String) -> Bool = { _ in false }
  ) async throws -> String {
    try await onThread { [self] in
      var bytes: [UInt8] = []
      var buffer = [UInt8](repeating: 0, count: 65_536)
      while true {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count < 0 {
          if errno == ECONNRESET { break }
          throw Failure(what: "nothing came: \(String(cString: strerror(errno)))")
        }
        if count == 0 { break }
        bytes += buffer[..<count]
        if isEnough(String(decoding: bytes, as: UTF8.self)) { break }
      }
      return String(decoding: bytes, as: UTF8.self)
    }
  }

  /// One request on a connection of its own, and the whole answer.
  public static func ask(_ port: Int, _ text: String, address: String = "127.0.0.1") async throws -> String {
    let client = try RawClient(port: port, address: address)
    try client.send(text)
    return try await client.read()
  }
}

extension String {
  /// The number in an answer's first line; 0 where there is none.
  public var status: Int { Int(split(separator: " ").dropFirst().first ?? "") ?? 0 }

  public var body: String { range(of: "\r\n\r\n").map { String(self[$0.upperBound...]) } ?? "" }
}
