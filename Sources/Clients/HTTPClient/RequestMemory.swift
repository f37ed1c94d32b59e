import CCurl

#if canImport(Glibc)
  import Glibc
#endif

/// What libcurl reads while a request is sent: the lines of its head as a list, and its body. One block, used again and
/// again, so that a request costs no allocation.
struct RequestMemory: ~Copyable {
  // Owned: everything that is pointed to lies in it. libcurl reads it, and writes nothing.
  private var block: UnsafeMutableRawPointer?
  private var capacity = 0

  /// The list that the last `fill` made.
  private(set) var lines: UnsafeMutablePointer<curl_slist>?
  private(set) var body: UnsafeMutableRawPointer?
  private(set) var bodyCount = 0

  /// What is kept between requests.
  private static let keptBytes = 64 << 10
  /// Of all lines together, in bytes, and their number.
  static let maximumHeadBytes = 64 << 10
  static let maximumLines = 128

  /// The line of requests that have none of their own. As an option libcurl would put it together twice for each request.
  private let userAgent: String

  init(userAgent: String) { self.userAgent = "User-Agent: \(userAgent)" }

  deinit { free(block) }

  /// Copies a request. libcurl must not be reading the one before.
  ///
  /// - Throws: what is wrong with a line.
  mutating func fill(_ headers: [String], _ bytes: [UInt8], _ range: Range<Int>) throws(HTTPClientFailure) {
    var textBytes =
      userAgent.utf8.count + RequestMemory.noExpectation.utf8.count + RequestMemory.noContentType.utf8.count + 3
    for line in headers { textBytes += line.utf8.count + 1 }
    guard headers.count <= RequestMemory.maximumLines, textBytes <= RequestMemory.maximumHeadBytes else {
      throw HTTPClientFailure(
        .badURL,
        "the request cannot be sent: its head has more than \(RequestMemory.maximumLines) lines or "
          + "\(RequestMemory.maximumHeadBytes) bytes")
    }
    let range = range.clamped(to: bytes.indices)
    // Three lines of our own may be added.
    let listBytes = (headers.count + 3) * MemoryLayout<curl_slist>.stride
    let block = try reserve(listBytes + textBytes + range.count)
    let list = block.assumingMemoryBound(to: curl_slist.self)
    var text = block + listBytes
    var count = 0
    func add(_ line: String) throws(HTTPClientFailure) -> HeaderLine.Known {
      let bytes = UnsafeMutableRawBufferPointer(start: text, count: line.utf8.count + 1)
      HeaderLine.copy(line, to: bytes)
      let known = try HeaderLine.check(UnsafeMutableRawBufferPointer(rebasing: bytes.dropLast()))
      (list + count).initialize(to: curl_slist(data: text.assumingMemoryBound(to: CChar.self), next: nil))
      if count > 0 { list[count - 1].next = list + count }
      count += 1
      text += bytes.count
      return known
    }
    var hasContentType = false
    var hasUserAgent = false
    for line in headers {
      switch try add(line) {
      case .contentType: hasContentType = true
      case .userAgent: hasUserAgent = true
      case .other: break
      }
    }
    _ = try add(RequestMemory.noExpectation)
    if !hasContentType { _ = try add(RequestMemory.noContentType) }
    if !hasUserAgent { _ = try add(userAgent) }
    bytes.withUnsafeBytes { bytes in
      if let start = bytes.baseAddress { text.copyMemory(from: start + range.lowerBound, byteCount: range.count) }
    }
    lines = list
    body = text
    bodyCount = range.count
  }

  /// The request is over: memory of one that was unusually large is given back.
  mutating func trim() {
    guard capacity > RequestMemory.keptBytes else { return }
    free(block)
    block = nil
    capacity = 0
    lines = nil
    body = nil
  }

  // libcurl takes back what it would add of its own for a name without a value.
  private static let noExpectation = "Expect:"
  private static let noContentType = "Content-Type:"

  private mutating func reserve(_ count: Int) throws(HTTPClientFailure) -> UnsafeMutableRawPointer {
    if let block, count <= capacity { return block }
    free(block)
    let rounded = max(1024, count + count / 4)
    block = malloc(rounded)
    capacity = block == nil ? 0 : rounded
    guard let block else { throw HTTPClientFailure(.connection, "the request cannot be sent: there is no memory") }
    return block
  }
}

/// Lines of a request's head, as they lie in memory.
enum HeaderLine {
  enum Known {
    case contentType
    case userAgent
    case other
  }

  /// Copies a line, and a 0 behind it.
  static func copy(_ line: String, to bytes: UnsafeMutableRawBufferPointer) {
    let isCopied: Void? = line.utf8.withContiguousStorageIfAvailable {
      bytes.copyMemory(from: UnsafeRawBufferPointer($0))
    }
    if isCopied == nil { bytes.copyBytes(from: line.utf8) }
    bytes[bytes.count - 1] = 0
  }

  /// Refuses what would end the line early, hide it from libcurl or change how the request is framed. A line without a
  /// value is brought into the form that libcurl sends.
  static func check(_ bytes: UnsafeMutableRawBufferPointer) throws(HTTPClientFailure) -> Known {
    var colon = 0
    while colon < bytes.count, isTokenByte(bytes[colon]) { colon += 1 }
    guard colon > 0, colon < bytes.count, bytes[colon] == UInt8(ascii: ":") else {
      throw refusal("a line of its head does not begin with a name and a colon")
    }
    var isControl = false
    var hasValue = false
    // Indices, not a slice: every request passes here.
    for index in (colon + 1)..<bytes.count {
      switch bytes[index] {
      case 0x20, 0x09: continue
      case 0..<0x20, 0x7f: isControl = true
      default: hasValue = true
      }
    }
    let name = UnsafeRawBufferPointer(rebasing: bytes[..<colon])
    if isControl {
      throw refusal("the value of its header \(String(decoding: name, as: UTF8.self)) has a control character")
    }
    if isSame(name, "content-type") { return .contentType }
    if isSame(name, "expect"), !hasValue { return .other }
    for reserved in reserved where isSame(name, reserved) {
      throw refusal("its header \(String(decoding: name, as: UTF8.self)) is not for the sender to choose")
    }
    if !hasValue {
      bytes[colon] = UInt8(ascii: ";")
      if colon + 1 < bytes.count { bytes[colon + 1] = 0 }
    }
    return isSame(name, "user-agent") ? .userAgent : .other
  }

  /// Whether a method can be sent. CONNECT is for proxies.
  static func isMethod(_ method: String) -> Bool {
    (1...32).contains(method.utf8.count) && method.utf8.allSatisfy(isTokenByte) && method != "CONNECT"
  }

  private static let reserved: [StaticString] = [
    "host", "content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer", "keep-alive",
    "proxy-connection", "proxy-authorization", "http2-settings",
  ]

  static func isSame(_ name: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
    guard name.count == word.utf8CodeUnitCount else { return false }
    for index in 0..<name.count where lowercased(name[index]) != word.utf8Start[index] { return false }
    return true
  }

  private static func lowercased(_ byte: UInt8) -> UInt8 { (0x41...0x5a).contains(byte) ? byte | 0x20 : byte }

  /// RFC 9110, section 5.6.2.
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
    case UInt8(ascii: "!"), UInt8(ascii: "#")...UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
      UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^")...UInt8(ascii: "`"), UInt8(ascii: "|"),
      UInt8(ascii: "~"):
      true
    default: false
    }
  }

  private static func refusal(_ reason: String) -> HTTPClientFailure {
    HTTPClientFailure(.badURL, "the request cannot be sent: \(reason)")
  }
}
