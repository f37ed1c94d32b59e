/// A named line of a request's or an answer's head.
public struct HTTPHeader: Sendable, Hashable {
  public var name: String
  public var value: String

  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// A part of a query: `name=value`.
public struct HTTPQueryItem: Sendable, Hashable {
  public var name: String
  /// nil where there is no `=`.
  public var value: String?

  public init(_ name: String, _ value: String?) {
    self.name = name
    self.value = value
  }
}

/// What a client asks for, read whole.
public struct HTTPRequest: Sendable, Hashable {
  /// `GET`, as it was sent: methods are case-sensitive (RFC 9110, section 9.1).
  public var method: String
  /// As it was sent: `/a%20b?c=d`.
  public var target: String
  /// In the order in which they were sent.
  public var headers: [HTTPHeader]
  public var body: [UInt8]

  public init(method: String, target: String, headers: [HTTPHeader] = [], body: [UInt8] = []) {
    self.method = method
    self.target = target
    self.headers = headers
    self.body = body
  }

  /// The target up to its question mark, its escapes resolved; nil where they are not valid or do not make UTF-8.
  public var path: String? {
    HTTPRequest.unescape(target.utf8.prefix { $0 != UInt8(ascii: "?") })
  }

  /// The target behind its question mark, as it was sent; nil where there is none.
  public var query: String? {
    guard let mark = target.utf8.firstIndex(of: UInt8(ascii: "?")) else { return nil }
    return String(target[target.utf8.index(after: mark)...])
  }

  /// The parts of the query between its `&`, escapes resolved. What is no valid escape, or makes no UTF-8, stands as it was sent.
  public var queryItems: [HTTPQueryItem] {
    guard let query, !query.isEmpty else { return [] }
    return query.split(separator: "&").map { part in
      func text(_ part: Substring) -> String { HTTPRequest.unescape(part.utf8) ?? String(part) }
      guard let equals = part.firstIndex(of: "=") else { return HTTPQueryItem(text(part), nil) }
      return HTTPQueryItem(text(part[..<equals]), text(part[part.index(after: equals)...]))
    }
  }

  /// The value of the first header of this name, whatever its case.
  public func header(_ name: String) -> String? {
    headers.first { HTTPRequest.isSame($0.name, name) }?.value
  }

  private static func isSame(_ a: String, _ b: String) -> Bool {
    func lowercased(_ byte: UInt8) -> UInt8 { (0x41...0x5A).contains(byte) ? byte | 0x20 : byte }
    return a.utf8.elementsEqual(b.utf8) { lowercased($0) == lowercased($1) }
  }

  private static func unescape(_ text: some Sequence<UInt8>) -> String? {
    var bytes: [UInt8] = []
    var iterator = text.makeIterator()
    while let byte = iterator.next() {
      if byte != UInt8(ascii: "%") {
        bytes.append(byte)
        continue
      }
      guard let high = iterator.next().flatMap(digit), let low = iterator.next().flatMap(digit) else { return nil }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x37
    case 0x61...0x66: byte - 0x57
    default: nil
    }
  }
}

/// What a client is answered. The length and the date are added by the server; the answer to `HEAD` is sent without its body.
public struct HTTPResponse: Sendable, Hashable {
  public var status: Int
  public var headers: [HTTPHeader]
  public var body: [UInt8]
  /// nil: the body is sent as fast as the client takes it.
  public var pace: HTTPPace?

  public init(status: Int, headers: [HTTPHeader] = [], body: [UInt8] = [], pace: HTTPPace? = nil) {
    self.status = status
    self.headers = headers
    self.body = body
    self.pace = pace
  }

  /// Text as UTF-8.
  public init(status: Int, text: String, type: String = "text/plain; charset=utf-8", headers: [HTTPHeader] = []) {
    self.init(status: status, headers: [HTTPHeader("Content-Type", type)] + headers, body: Array(text.utf8))
  }
}

/// Sends a body in pieces over time, or without end.
public struct HTTPPace: Sendable, Hashable {
  /// Bytes that are sent at a time; at least 1.
  public var pieceBytes: Int
  /// Between two pieces.
  public var pause: Duration
  /// After its last byte the body begins anew, until the client goes. It has no length then.
  public var repeats: Bool

  public init(pieceBytes: Int = 16 << 10, pause: Duration = .zero, repeats: Bool = false) {
    self.pieceBytes = max(pieceBytes, 1)
    self.pause = pause
    self.repeats = repeats
  }
}
