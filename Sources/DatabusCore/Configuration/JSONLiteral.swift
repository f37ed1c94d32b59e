/// Literals for values that stand in declarations: defaults and examples are written as they would stand in a file.
extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  public init(stringLiteral value: String) { self.init(.string(value)) }
  public init(integerLiteral value: Int) { self.init(.number(String(value))) }
  public init(booleanLiteral value: Bool) { self.init(.bool(value)) }
  public init(arrayLiteral elements: JSONValue...) { self.init(.array(elements)) }
  public init(dictionaryLiteral elements: (String, JSONValue)...) { self.init(members: elements) }

  /// An object with these members, in this order.
  public init(members: [(String, JSONValue)]) {
    self.init(.object(members.map { Member(name: $0.0, nameOffset: 0, value: $0.1) }))
  }
}

extension JSONValue {
  /// The value as JSON text on one line.
  public var compactText: String {
    var buffer = ByteBuffer(capacity: 256)
    append(to: &buffer, indentation: nil)
    return String(decoding: buffer.bytes, as: UTF8.self)
  }

  /// The value as JSON text, two spaces a level, without a newline at its end. Empty objects and arrays stay on one line.
  public var prettyText: String {
    var buffer = ByteBuffer(capacity: 4096)
    append(to: &buffer, indentation: 0)
    return String(decoding: buffer.bytes, as: UTF8.self)
  }

  /// - Parameter indentation: spaces before this value's closing bracket; nil for everything on one line.
  private func append(to buffer: inout ByteBuffer, indentation: Int?) {
    func breakLine(_ depth: Int, _ buffer: inout ByteBuffer) {
      guard let indentation else { return }
      buffer.append(UInt8(ascii: "\n"))
      for _ in 0..<(indentation + depth) { buffer.append(UInt8(ascii: " ")) }
    }
    let inner = indentation.map { $0 + 2 }
    let comma: StaticString = indentation == nil ? ", " : ","
    switch content {
    case .object(let members):
      buffer.append(UInt8(ascii: "{"))
      for (index, member) in members.enumerated() {
        if index > 0 { buffer.append(comma) }
        breakLine(2, &buffer)
        JSONText.append(member.name, to: &buffer)
        buffer.append(": ")
        member.value.append(to: &buffer, indentation: inner)
      }
      if !members.isEmpty { breakLine(0, &buffer) }
      buffer.append(UInt8(ascii: "}"))
    case .array(let elements):
      buffer.append(UInt8(ascii: "["))
      for (index, element) in elements.enumerated() {
        if index > 0 { buffer.append(comma) }
        breakLine(2, &buffer)
        element.append(to: &buffer, indentation: inner)
      }
      if !elements.isEmpty { breakLine(0, &buffer) }
      buffer.append(UInt8(ascii: "]"))
    case .string(let text): JSONText.append(text, to: &buffer)
    case .number(let text): buffer.append(text)
    case .bool(let value): buffer.append(value ? "true" : "false")
    case .null: buffer.append("null")
    }
  }
}
