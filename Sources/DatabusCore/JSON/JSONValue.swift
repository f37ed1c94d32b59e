/// A JSON value as a tree, for configuration and rules: every value knows where it stands in the source.
///
/// Events are never made into trees: see `JSONDocument`.
public struct JSONValue: Sendable {
  public enum Content: Sendable {
    case object([Member])
    case array([JSONValue])
    case string(String)
    /// The number's text as it stands in the source.
    case number(String)
    case bool(Bool)
    case null
  }

  /// A member of an object. Names may repeat.
  public struct Member: Sendable {
    public var name: String
    /// The offset of the name's opening quote.
    public var nameOffset: Int
    public var value: JSONValue
  }

  public var content: Content
  /// The offset of the value's first byte in the source.
  public var offset: Int
  /// The offset behind the value's last byte. For scalars, the offset of their first byte.
  public var end: Int

  public init(_ content: Content, offset: Int = 0, end: Int = 0) {
    self.content = content
    self.offset = offset
    self.end = end
  }
}

extension JSONValue {
  /// What the value is, for messages: "an object", "a string".
  public var kindDescription: String {
    switch content {
    case .object: "an object"
    case .array: "an array"
    case .string: "a string"
    case .number: "a number"
    case .bool: "a boolean"
    case .null: "null"
    }
  }

  /// The value of the last member with this name; nil where there is none or this is not an object.
  public subscript(name: String) -> JSONValue? {
    guard case .object(let members) = content else { return nil }
    return members.last { $0.name == name }?.value
  }

  public var members: [Member]? {
    if case .object(let members) = content { return members }
    return nil
  }
  public var elements: [JSONValue]? {
    if case .array(let elements) = content { return elements }
    return nil
  }
  public var string: String? {
    if case .string(let text) = content { return text }
    return nil
  }
  public var bool: Bool? {
    if case .bool(let value) = content { return value }
    return nil
  }
  public var integer: Int? {
    if case .number(let text) = content { return Int(text) }
    return nil
  }
  public var isNull: Bool {
    if case .null = content { return true }
    return false
  }
}

extension JSONDocument {
  /// The whole document as a tree.
  public mutating func makeValue() -> JSONValue {
    var index = JSONDocument.rootIndex
    return makeValue(&index)
  }

  private mutating func makeValue(_ index: inout Int) -> JSONValue {
    let offset = sourceOffset(of: index) + markCount
    switch element(at: index) {
    case .startObject:
      index += 1
      var members: [JSONValue.Member] = []
      while element(at: index) != .endObject {
        let nameOffset = sourceOffset(of: index) + markCount
        let name = String(decoding: string(at: index), as: UTF8.self)
        index += 1
        members.append(.init(name: name, nameOffset: nameOffset, value: makeValue(&index)))
      }
      let end = sourceOffset(of: index) + markCount + 1
      index += 1
      return JSONValue(.object(members), offset: offset, end: end)
    case .startArray:
      index += 1
      var elements: [JSONValue] = []
      while element(at: index) != .endArray { elements.append(makeValue(&index)) }
      let end = sourceOffset(of: index) + markCount + 1
      index += 1
      return JSONValue(.array(elements), offset: offset, end: end)
    case .string:
      let text = String(decoding: string(at: index), as: UTF8.self)
      index += 1
      return JSONValue(.string(text), offset: offset, end: offset)
    case .signedInteger, .unsignedInteger, .double:
      let text = String(decoding: numberText(ofElement: index), as: UTF8.self)
      index += 2
      return JSONValue(.number(text), offset: offset, end: offset)
    case .true:
      index += 1
      return JSONValue(.bool(true), offset: offset, end: offset)
    case .false:
      index += 1
      return JSONValue(.bool(false), offset: offset, end: offset)
    case .null, .root, .endObject, .endArray:
      index += 1
      return JSONValue(.null, offset: offset, end: offset)
    }
  }

  /// Parses bytes that are at hand as an array, for configuration and rules.
  ///
  /// - Throws: `JSONError`.
  public static func value(of bytes: [UInt8], depth: Int = 128) throws(JSONError) -> JSONValue {
    var document = try JSONDocument(depth: depth)
    // The tree is made before the bytes go.
    let result = bytes.withUnsafeBytes { buffer -> Result<JSONValue, JSONError> in
      guard let base = buffer.baseAddress, buffer.count > 0 else {
        return .failure(JSONError(.empty, "no JSON: the value is empty"))
      }
      do throws(JSONError) {
        try document.parse(base, buffer.count, padding: 0)
      } catch {
        return .failure(error)
      }
      return .success(document.makeValue())
    }
    return try result.get()
  }
}
