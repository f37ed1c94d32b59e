import DatabusCore

/// Where in a document the parts of a CloudEvent of version 1 stand (CloudEvents 1.0.2, "Context Attributes"; JSON format, section 3).
struct CloudEvent {
  /// `datacontenttype`. All of these are places on the document's tape.
  private(set) var contentType: Int?
  private(set) var data: Int?
  /// `data_base64`.
  private(set) var base64: Int?
  /// All other attributes that have a value.
  private(set) var attributes: [(name: String, index: Int)] = []

  /// - Returns: nil where the object is no such event: an attribute that every event has is missing, a name is there twice or is none
  ///   that an attribute can have, a value is none that an attribute can have.
  init?(_ document: borrowing JSONDocument) {
    var required: Set<String> = ["id", "source", "specversion", "type"]
    var names: Set<String> = []
    var index = JSONDocument.rootIndex + 1
    while document.element(at: index) != .endObject {
      let name = String(decoding: document.string(at: index), as: UTF8.self)
      let value = index + 1
      index = document.index(after: value)
      // First-wins here and last-wins at the receiver would be an exploit.
      guard names.insert(name).inserted else { return nil }
      let element = document.element(at: value)
      switch name {
      case "data": data = value
      case "data_base64":
        guard element == .string else { return nil }
        base64 = value
      case "datacontenttype":
        if element == .null { continue }
        guard element == .string else { return nil }
        contentType = value
      default:
        if element == .null { continue }
        guard !name.isEmpty, name.utf8.allSatisfy(CloudEvent.isNameByte) else { return nil }
        switch element {
        case .string, .true, .false, .signedInteger, .unsignedInteger: break
        default: return nil
        }
        if required.remove(name) != nil {
          guard element == .string, !document.string(at: value).isEmpty else { return nil }
          if name == "specversion", !document.string(at: value).starts(with: "1.".utf8) { return nil }
        }
        attributes.append((name, value))
      }
    }
    guard required.isEmpty, data == nil || base64 == nil else { return nil }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
  }

  /// Whether data of a media type is JSON: its subtype is `json` or ends in `+json` (JSON format, section 3.1).
  static func isJSON(_ type: String) -> Bool {
    let essence = type.utf8.prefix { $0 != UInt8(ascii: ";") && $0 != 0x20 && $0 != 0x09 }
    let text = String(decoding: essence, as: UTF8.self).lowercased()
    return text.hasSuffix("/json") || text.hasSuffix("+json")
  }

  /// As the value of a header (HTTP binding, section 3.1.3.2): nothing but printable ASCII, and neither a space nor a quote.
  static func percentEncoded(_ text: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var bytes: [UInt8] = []
    for byte in text {
      if byte > 0x20, byte < 0x7F, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "%") {
        bytes.append(byte)
      } else {
        bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
