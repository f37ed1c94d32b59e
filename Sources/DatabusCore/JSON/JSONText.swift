/// Writing JSON.
public enum JSONText {
  /// Appends the string as a JSON string with its quotes (RFC 8259, section 7).
  public static func append(_ text: String, to buffer: inout ByteBuffer) {
    var text = text
    text.withUTF8 { appendString(UnsafeRawBufferPointer($0), to: &buffer) }
  }

  /// Appends UTF-8 bytes as a JSON string with its quotes.
  public static func appendString(_ utf8: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
    buffer.append(UInt8(ascii: "\""))
    appendEscaped(utf8, to: &buffer)
    buffer.append(UInt8(ascii: "\""))
  }

  /// Appends what stands between the quotes.
  public static func appendEscaped(_ utf8: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
    for byte in utf8 {
      switch byte {
      case UInt8(ascii: "\""): buffer.append("\\\"")
      case UInt8(ascii: "\\"): buffer.append("\\\\")
      case 0x08: buffer.append("\\b")
      case 0x09: buffer.append("\\t")
      case 0x0A: buffer.append("\\n")
      case 0x0C: buffer.append("\\f")
      case 0x0D: buffer.append("\\r")
      case 0..<0x20:
        buffer.append("\\u00")
        withUnsafeBytes(of: byte) { buffer.appendHexadecimal($0.baseAddress.unsafelyUnwrapped, 1) }
      default: buffer.append(byte)
      }
    }
  }

  /// The string as JSON, with its quotes.
  public static func quoted(_ text: String) -> String {
    var buffer = ByteBuffer(capacity: text.utf8.count + 8)
    append(text, to: &buffer)
    return String(decoding: buffer.bytes, as: UTF8.self)
  }
}
