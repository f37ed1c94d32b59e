import DatabusCore

/// Headers as one blob: for each its name's length, the name, its value's length plus 1 (0: no value), the value. Lengths are
/// unsigned LEB128.
enum HeaderCoding {
  static func encode(_ headers: [Header], into bytes: inout ByteBuffer) {
    for header in headers {
      append(header.name.utf8.count, to: &bytes)
      bytes.append(header.name)
      append(header.value.map { $0.count + 1 } ?? 0, to: &bytes)
      if let value = header.value { bytes.append(value) }
    }
  }

  /// Bytes that are no headers end the list: a damaged row costs its headers and not the process.
  static func decode(_ bytes: UnsafeRawBufferPointer) -> [Header] {
    var headers: [Header] = []
    var offset = 0
    while offset < bytes.count {
      guard let name = read(bytes, &offset), name <= bytes.count - offset else { break }
      let text = String(decoding: bytes[offset..<offset + name], as: UTF8.self)
      offset += name
      guard let value = read(bytes, &offset) else { break }
      if value == 0 {
        headers.append(Header(name: text, value: nil))
        continue
      }
      guard value - 1 <= bytes.count - offset else { break }
      headers.append(Header(name: text, value: [UInt8](bytes[offset..<offset + value - 1])))
      offset += value - 1
    }
    return headers
  }

  private static func append(_ length: Int, to bytes: inout ByteBuffer) {
    var rest = length
    while rest >= 128 {
      bytes.append(UInt8(rest & 127) | 128)
      rest >>= 7
    }
    bytes.append(UInt8(rest))
  }

  private static func read(_ bytes: UnsafeRawBufferPointer, _ offset: inout Int) -> Int? {
    var value = 0
    var shift = 0
    while offset < bytes.count, shift < 35 {
      let byte = bytes[offset]
      offset += 1
      value |= Int(byte & 127) << shift
      if byte < 128 { return value }
      shift += 7
    }
    return nil
  }
}
