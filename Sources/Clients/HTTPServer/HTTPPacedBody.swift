import CMicroHTTPD

#if canImport(Glibc)
  import Glibc
#endif

/// The body of one answer on its way out, piece by piece. The library asks for its bytes on the loop's thread, as the client takes
/// them.
final class HTTPPacedBody {
  enum Part {
    /// So many bytes were written.
    case bytes(Int)
    /// The next piece is not due yet.
    case pause(Duration)
    case end
    /// The connection is to be closed.
    case failed
  }

  private unowned let loop: HTTPServerLoop
  private let connection: OpaquePointer
  private let pace: HTTPPace
  private let bytes: [UInt8]
  /// Bytes whose pauses are over.
  private var granted: UInt64
  private var isCut = false

  /// A short body that repeats is copied so often, so that the library gets more than a few bytes at a time.
  private static let leastRepeatedBytes = 16 << 10
  private static let libraryBlockBytes = 16 << 10

  init(_ response: HTTPResponse, _ pace: HTTPPace, _ loop: HTTPServerLoop, _ connection: OpaquePointer) {
    self.loop = loop
    self.connection = connection
    self.pace = pace
    let copies = pace.repeats ? HTTPPacedBody.leastRepeatedBytes / max(response.body.count, 1) : 1
    bytes = copies > 1 ? Array(repeatElement(response.body, count: copies).joined()) : response.body
    granted = UInt64(pace.pieceBytes)
  }

  /// Lets the connection be closed instead of the next piece being sent.
  func cut() { isCut = true }

  /// The bytes at a position, as many as are due.
  func part(at position: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> Part {
    if isCut { return .failed }
    if bytes.isEmpty || !pace.repeats && position >= bytes.count { return .end }
    if position >= granted {
      granted = position + UInt64(pace.pieceBytes)
      if pace.pause > .zero { return .pause(pace.pause) }
    }
    let start = Int(position % UInt64(bytes.count))
    let count = min(bytes.count - start, buffer.count, Int(clamping: granted - position))
    bytes.withUnsafeBytes { buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count])) }
    return .bytes(count)
  }

  /// The answer as the library knows it; nil where there is no memory. The body lives as long as it does.
  func libraryResponse() -> OpaquePointer? {
    let body = Unmanaged.passRetained(self)
    let made = MHD_create_response_from_callback(
      pace.repeats && !bytes.isEmpty ? databus_mhd_no_length : UInt64(bytes.count),
      min(pace.pieceBytes, HTTPPacedBody.libraryBlockBytes), HTTPPacedBody.read, body.toOpaque(),
      { body in body.map { Unmanaged<HTTPPacedBody>.fromOpaque($0).release() } })
    if made == nil { body.release() }
    return made
  }

  private static let read: MHD_ContentReaderCallback = { body, position, bytes, count in
    guard let body, let bytes else { return databus_mhd_failed }
    let known = Unmanaged<HTTPPacedBody>.fromOpaque(body).takeUnretainedValue()
    switch known.part(at: position, into: UnsafeMutableRawBufferPointer(start: bytes, count: count)) {
    case .bytes(let count):
      known.loop.clientTakesMore(known.connection)
      return count
    case .pause(let pause):
      known.loop.pause(known.connection, known, for: pause)
      return 0
    case .end: return databus_mhd_end
    case .failed: return databus_mhd_failed
    }
  }
}
