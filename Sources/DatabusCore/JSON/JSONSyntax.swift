/// A place in a text, as people count: from 1, columns in bytes.
public struct SourcePlace: Hashable, Sendable, CustomStringConvertible {
  public var line: Int
  public var column: Int

  /// The place of a byte offset.
  public init(offset: Int, in bytes: [UInt8]) {
    var line = 1
    var start = 0
    for index in 0..<min(offset, bytes.count) where bytes[index] == 0x0A {
      line += 1
      start = index + 1
    }
    self.line = line
    // Editors do not count a byte order mark.
    if line == 1, offset >= 3, bytes.starts(with: [0xEF, 0xBB, 0xBF]) { start = 3 }
    column = max(0, offset - start) + 1
  }

  public var description: String { "\(line):\(column)" }
}

/// Says where and why a text is not JSON. simdjson names no place, so this strict scanner (RFC 8259) runs after a failure, and
/// only then.
public struct JSONSyntax {
  private let bytes: [UInt8]
  private var place = 0
  private var depth = 0
  private let maximumDepth: Int

  private init(_ bytes: [UInt8], maximumDepth: Int) {
    self.bytes = bytes
    self.maximumDepth = maximumDepth
  }

  /// The first error: a sentence and the offset it is at.
  public struct Problem: Error, Hashable, Sendable {
    public var offset: Int
    public var message: String
  }

  /// The first error of the text; nil where it is valid.
  public static func firstProblem(in bytes: [UInt8], depth: Int = 128) -> Problem? {
    var scanner = JSONSyntax(bytes, maximumDepth: depth)
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { scanner.place = 3 }
    do throws(Problem) {
      scanner.skipSpace()
      try scanner.value()
      scanner.skipSpace()
      if scanner.place < bytes.count { throw scanner.problem("there is more behind the end of the JSON value") }
      return nil
    } catch {
      return error
    }
  }

  /// One sentence with line and column where they can be said.
  public static func describe(_ error: JSONError, in bytes: [UInt8], depth: Int = 128) -> String {
    guard let problem = firstProblem(in: bytes, depth: depth) else { return error.message }
    return "not valid JSON at \(SourcePlace(offset: problem.offset, in: bytes)): \(problem.message)"
  }

  private func problem(_ message: String, at offset: Int? = nil) -> Problem {
    Problem(offset: offset ?? place, message: message)
  }

  private var current: UInt8? { place < bytes.count ? bytes[place] : nil }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { place += 1 }
  }

  private func describeCurrent() -> String {
    guard let byte = current else { return "the end of the text" }
    if byte >= 0x21, byte < 0x7F { return "\"\(Character(UnicodeScalar(byte)))\"" }
    let digits = String(byte, radix: 16)
    return "the byte 0x\(digits.count == 1 ? "0" : "")\(digits)"
  }

  private mutating func value() throws(Problem) {
    guard let byte = current else {
      throw problem("a value is expected, and here is \(describeCurrent())")
    }
    switch byte {
    case UInt8(ascii: "{"): try object()
    case UInt8(ascii: "["): try array()
    case UInt8(ascii: "\""): try string()
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): try number()
    case UInt8(ascii: "t"): try word("true")
    case UInt8(ascii: "f"): try word("false")
    case UInt8(ascii: "n"): try word("null")
    default: throw problem("a value is expected, and here is \(describeCurrent())")
    }
  }

  private mutating func enter() throws(Problem) {
    let start = place
    depth += 1
    place += 1
    skipSpace()
    // As simdjson counts: an empty object or array is no level.
    if depth > maximumDepth, current != UInt8(ascii: "}"), current != UInt8(ascii: "]") {
      throw problem("nested more than \(maximumDepth) deep (limits.depth)", at: start)
    }
  }

  private mutating func object() throws(Problem) {
    let start = place
    try enter()
    if current == UInt8(ascii: "}") { return leave() }
    while true {
      guard current == UInt8(ascii: "\"") else {
        if current == UInt8(ascii: "}") { throw problem("a comma stands before this \"}\"; remove it") }
        throw problem("a member's name in quotes is expected, and here is \(describeCurrent())")
      }
      try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else {
        throw problem("a \":\" is expected behind a member's name, and here is \(describeCurrent())")
      }
      place += 1
      skipSpace()
      try value()
      if try closes(with: UInt8(ascii: "}"), openedAt: start) { return leave() }
    }
  }

  private mutating func array() throws(Problem) {
    let start = place
    try enter()
    if current == UInt8(ascii: "]") { return leave() }
    while true {
      if current == UInt8(ascii: "]") { throw problem("a comma stands before this \"]\"; remove it") }
      try value()
      if try closes(with: UInt8(ascii: "]"), openedAt: start) { return leave() }
    }
  }

  private mutating func leave() {
    depth -= 1
    place += 1
  }

  /// Behind an element: true at the closing bracket, false behind a comma.
  private mutating func closes(with bracket: UInt8, openedAt start: Int) throws(Problem) -> Bool {
    skipSpace()
    if current == bracket { return true }
    let name = Character(UnicodeScalar(bracket))
    guard let byte = current else {
      throw problem("the text ends, and the bracket opened at \(SourcePlace(offset: start, in: bytes)) is not closed")
    }
    guard byte == UInt8(ascii: ",") else {
      throw problem("a \",\" or \"\(name)\" is expected, and here is \(describeCurrent())")
    }
    place += 1
    skipSpace()
    return false
  }

  private mutating func word(_ text: String) throws(Problem) {
    let start = place
    for byte in text.utf8 {
      guard current == byte else {
        throw problem("a value is expected; only true, false and null are words", at: start)
      }
      place += 1
    }
    if let byte = current, byte.isJSONWordByte {
      throw problem("a value is expected; only true, false and null are words", at: start)
    }
  }

  private mutating func number() throws(Problem) {
    let start = place
    while let byte = current, byte.isJSONWordByte || byte == 0x2B || byte == 0x2D || byte == 0x2E { place += 1 }
    let valid = bytes[start..<place].withUnsafeBufferPointer { JSONDocument.isNumber($0) }
    if !valid {
      throw problem(
        "\"\(String(decoding: bytes[start..<place].prefix(40), as: UTF8.self))\" is not a number", at: start)
    }
  }

  private mutating func string() throws(Problem) {
    let start = place
    place += 1
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        let text = bytes[start..<place]
        if String(validating: text, as: UTF8.self) == nil { throw problem("this string is not valid UTF-8", at: start) }
        place += 1
        return
      case UInt8(ascii: "\\"): try escape()
      case 0..<0x20:
        throw problem("a string contains the control character \(describeCurrent()); write it as an escape")
      default: place += 1
      }
    }
    throw problem("this string is not closed", at: start)
  }

  private mutating func escape() throws(Problem) {
    let start = place
    place += 1
    switch current {
    case UInt8(ascii: "u"):
      let unit = try hexadecimal()
      if unit >= 0xDC00, unit < 0xE000 { throw problem("a low surrogate stands alone", at: start) }
      if unit >= 0xD800, unit < 0xDC00 {
        guard current == UInt8(ascii: "\\"), place + 1 < bytes.count, bytes[place + 1] == UInt8(ascii: "u") else {
          throw problem("a high surrogate stands alone", at: start)
        }
        place += 1
        let low = try hexadecimal()
        guard low >= 0xDC00, low < 0xE000 else { throw problem("a high surrogate stands alone", at: start) }
      }
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"), UInt8(ascii: "b"), UInt8(ascii: "f"),
      UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"):
      place += 1
    default: throw problem("\(describeCurrent()) cannot stand behind a backslash")
    }
  }

  private mutating func hexadecimal() throws(Problem) -> UInt32 {
    place += 1
    var unit: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(UnicodeScalar(byte)).hexDigitValue else {
        throw problem("four hexadecimal digits are expected behind \\u, and here is \(describeCurrent())")
      }
      unit = unit * 16 + UInt32(digit)
      place += 1
    }
    return unit
  }
}

extension UInt8 {
  fileprivate var isJSONWordByte: Bool {
    (self >= 0x30 && self <= 0x39) || ((self | 0x20) >= 0x61 && (self | 0x20) <= 0x7A)
  }
}
