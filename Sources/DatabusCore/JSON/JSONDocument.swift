import CSimdJSON

#if canImport(Glibc)
  import Glibc
#endif

/// A JSON document over simdjson's tape, read in place, and the parser that fills it. It is used again and again: a parse
/// forgets the document before it. One thread at a time.
///
/// The bytes parsed are not copied and must stay while the document is looked at.
public struct JSONDocument: ~Copyable, @unchecked Sendable {
  // Sendable: it owns the C parser and has one owner at a time.
  private let parser: OpaquePointer
  private var tape = databus_json_tape()
  /// The bytes of the document as received (behind a byte order mark).
  private var source: UnsafePointer<UInt8>
  private var sourceCount = 0
  /// The bytes of the byte order mark before it: 3 or 0.
  private(set) var markCount = 0
  /// Copies that need padding, or have long numbers blanked.
  private var scratch: ByteBuffer
  private var tokens: ByteBuffer
  private var tokensAreBuilt = false

  /// Bytes that must be readable behind a document so that it needs no copy.
  public static var padding: Int { Int(DATABUS_JSON_PADDING) }

  /// - Parameter depth: how deep objects and arrays may be nested.
  /// - Throws: `JSONError.outOfMemory`.
  public init(depth: Int = 128) throws(JSONError) {
    // simdjson refuses what is as deep as its limit.
    guard let parser = databus_json_parser_create(depth + 1) else {
      throw JSONError(.outOfMemory, "no memory for a JSON parser")
    }
    self.parser = parser
    scratch = ByteBuffer(capacity: 4096)
    tokens = ByteBuffer(capacity: 64)
    source = UnsafePointer(scratch.base.assumingMemoryBound(to: UInt8.self))
  }

  deinit { databus_json_parser_destroy(parser) }

  // MARK: Parsing

  /// Parses a document.
  ///
  /// - Parameters:
  ///   - start: the first byte. The bytes must stay as they are while the document is looked at.
  ///   - padding: bytes that may be read behind them; fewer than `JSONDocument.padding` may cost a copy.
  public mutating func parse(
    _ start: UnsafeRawPointer, _ length: Int, padding: Int
  ) throws(JSONError) {
    let code = parse(start, length, padding)
    if code != 0 { throw error(code) }
  }

  /// Parses a document without throwing, for the hot path: an error's sentence is made only where somebody wants it.
  ///
  /// - Returns: 0, or the code for `error`.
  @inline(__always)
  mutating func parse(_ start: UnsafeRawPointer, _ length: Int, _ padding: Int) -> Int32 {
    tokensAreBuilt = false
    var start = start.assumingMemoryBound(to: UInt8.self)
    var length = length
    markCount = 0
    if length >= 3, start[0] == 0xEF, start[1] == 0xBB, start[2] == 0xBF {
      start += 3
      length &-= 3
      markCount = 3
    }
    source = start
    sourceCount = length
    var readable = start
    if padding < JSONDocument.padding, !JSONDocument.isReadable(behind: start + length) {
      readable = copyWithPadding()
    }
    let code = databus_json_parse(parser, readable, length, &tape)
    return code == 0 ? 0 : recover(code)
  }

  /// Whether the padding behind `end` lies in the page of the last byte, and so belongs to us.
  @inline(__always)
  private static func isReadable(behind end: UnsafePointer<UInt8>) -> Bool {
    let offset = (UInt(bitPattern: end) &- 1) & 4095
    return offset &+ UInt(padding) < 4096
  }

  private mutating func copyWithPadding() -> UnsafePointer<UInt8> {
    scratch.removeAll()
    scratch.reserve(sourceCount + JSONDocument.padding)
    scratch.append(UnsafeRawPointer(source), sourceCount)
    let room = scratch.unusedBytes()
    room[..<JSONDocument.padding].initializeMemory(as: UInt8.self, repeating: 0x20)
    return scratch.base.assumingMemoryBound(to: UInt8.self)
  }

  /// simdjson fails on valid numbers that it cannot convert (integers beyond 64 bits, 1e400): those are blanked in a
  /// copy, and the texts are taken from the source as ever.
  @inline(never)
  private mutating func recover(_ code: Int32) -> Int32 {
    guard code == SimdJSONCode.number, tape.structuralCount > 0 else { return code }
    _ = copyWithPadding()
    let room = UnsafeMutablePointer(
      mutating: scratch.base.assumingMemoryBound(to: UInt8.self))
    for index in 0..<Int(tape.structuralCount) {
      let offset = Int(tape.structurals[index])
      guard offset < sourceCount else { continue }
      let first = source[offset]
      guard first == UInt8(ascii: "-") || (first >= 48 && first <= 57) else { continue }
      let text = numberText(at: offset)
      guard text.count > 15 || text.contains(where: { $0 == 0x65 || $0 == 0x45 }),
        JSONDocument.isNumber(text)
      else { continue }
      room[offset] = UInt8(ascii: "0")
      for blank in 1..<text.count { room[offset + blank] = UInt8(ascii: " ") }
    }
    return databus_json_parse(parser, scratch.base.assumingMemoryBound(to: UInt8.self), sourceCount, &tape)
  }

  /// What an error code of `parse` means.
  @inline(never)
  func error(_ code: Int32) -> JSONError {
    let message = String(cString: databus_json_error_message(code))
    switch code {
    case SimdJSONCode.capacity: return JSONError(.tooLarge, message)
    case SimdJSONCode.memory: return JSONError(.outOfMemory, message)
    case SimdJSONCode.depth: return JSONError(.tooDeep, "nested too deeply")
    case SimdJSONCode.utf8: return JSONError(.notUTF8, "not valid UTF-8")
    case SimdJSONCode.empty: return JSONError(.empty, "no JSON: the value is empty")
    default: return JSONError(.notJSON, "not valid JSON: \(message)")
    }
  }

  private enum SimdJSONCode {
    static let capacity: Int32 = 1
    static let memory: Int32 = 2
    static let depth: Int32 = 4
    static let number: Int32 = 9
    static let utf8: Int32 = 10
    static let empty: Int32 = 12
  }

  // MARK: The tape

  /// What stands at a place of the tape (simdjson, doc/tape.md).
  public enum Element: UInt8, Sendable {
    case startObject = 0x7B  // {
    case endObject = 0x7D  // }
    case startArray = 0x5B  // [
    case endArray = 0x5D  // ]
    case string = 0x22  // "
    case signedInteger = 0x6C  // l
    case unsignedInteger = 0x75  // u
    case double = 0x64  // d
    case `true` = 0x74  // t
    case `false` = 0x66  // f
    case null = 0x6E  // n
    case root = 0x72  // r
  }

  /// The place of the document's value on the tape.
  public static var rootIndex: Int { 1 }

  @inline(__always)
  func tag(at index: Int) -> UInt8 { UInt8(truncatingIfNeeded: tape.tape[index] >> 56) }

  /// What stands at `index`.
  public func element(at index: Int) -> Element {
    Element(rawValue: tag(at: index)) ?? .root
  }

  public var rootIsObject: Bool {
    @inline(__always) get { tag(at: 1) == Element.startObject.rawValue }
  }

  /// The place behind the value that begins at `index`.
  @inline(__always)
  public func index(after index: Int) -> Int {
    let word = tape.tape[index]
    switch UInt8(truncatingIfNeeded: word >> 56) {
    case Element.startObject.rawValue, Element.startArray.rawValue:
      return Int(UInt32(truncatingIfNeeded: word))
    case Element.signedInteger.rawValue, Element.unsignedInteger.rawValue, Element.double.rawValue:
      return index &+ 2
    default: return index &+ 1
    }
  }

  /// The bytes of the string at `index`, unescaped. Valid until the next parse.
  @inline(__always)
  public func string(at index: Int) -> UnsafeRawBufferPointer {
    let offset = Int(tape.tape[index] & 0x00FF_FFFF_FFFF_FFFF)
    let start = UnsafeRawPointer(tape.strings + offset)
    let count = Int(start.loadUnaligned(as: UInt32.self))
    return UnsafeRawBufferPointer(start: start + 4, count: count)
  }

  // MARK: The source

  /// The bytes parsed, as received.
  public var sourceBytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: source, count: sourceCount)
  }

  /// From the opening to the closing brace or bracket of the document, which must be an object or an array.
  public var containerBytes: UnsafeRawBufferPointer {
    @inline(__always) get {
      let first = Int(tape.structurals[0])
      let last = Int(tape.structurals[Int(tape.structuralCount) &- 1])
      return UnsafeRawBufferPointer(start: source + first, count: last &- first &+ 1)
    }
  }

  /// The offset in the source of the token at tape place `index`.
  public mutating func sourceOffset(of index: Int) -> Int {
    if !tokensAreBuilt { buildTokens() }
    return Int(tokens.base.load(fromByteOffset: index * 4, as: Int32.self))
  }

  /// The text of the number at `index`, as it stands in the source.
  public mutating func numberText(ofElement index: Int) -> UnsafeBufferPointer<UInt8> {
    numberText(at: sourceOffset(of: index))
  }

  private func numberText(at offset: Int) -> UnsafeBufferPointer<UInt8> {
    var end = offset
    scan: while end < sourceCount {
      switch source[end] {
      case 48...57, 0x2B, 0x2D, 0x2E, 0x45, 0x65: end += 1  // 0-9 + - . E e
      default: break scan
      }
    }
    return UnsafeBufferPointer(start: source + offset, count: end - offset)
  }

  /// Whether the text is a number (RFC 8259, section 6).
  static func isNumber(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
    var place = 0
    func digits() -> Bool {
      let start = place
      while place < text.count, text[place] >= 48, text[place] <= 57 { place += 1 }
      return place > start
    }
    if place < text.count, text[place] == UInt8(ascii: "-") { place += 1 }
    let leading = place
    guard digits() else { return false }
    if text[leading] == 48, place - leading > 1 { return false }
    if place < text.count, text[place] == UInt8(ascii: ".") {
      place += 1
      guard digits() else { return false }
    }
    if place < text.count, text[place] == 0x65 || text[place] == 0x45 {
      place += 1
      if place < text.count, text[place] == UInt8(ascii: "+") || text[place] == UInt8(ascii: "-") {
        place += 1
      }
      guard digits() else { return false }
    }
    return place == text.count
  }

  /// One pass over tape and tokens side by side: the tokens that are neither colon nor comma stand in the tape's order.
  private mutating func buildTokens() {
    tokens.removeAll()
    let end = Int(tape.tape[0] & 0xFFFF_FFFF)
    tokens.reserve((end + 1) * 4)
    let table = tokens.unusedBytes()
    var token = 0
    var index = JSONDocument.rootIndex
    while index < end - 1, token < Int(tape.structuralCount) {
      let offset = Int(tape.structurals[token])
      token += 1
      let byte = source[offset]
      if byte == UInt8(ascii: ":") || byte == UInt8(ascii: ",") { continue }
      table.storeBytes(of: Int32(offset), toByteOffset: index * 4, as: Int32.self)
      let tag = tag(at: index)
      let isNumber =
        tag == Element.signedInteger.rawValue || tag == Element.unsignedInteger.rawValue
        || tag == Element.double.rawValue
      index += isNumber ? 2 : 1
    }
    tokensAreBuilt = true
  }
}
