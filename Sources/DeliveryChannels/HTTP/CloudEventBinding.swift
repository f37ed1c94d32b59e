import DatabusCore
import Dispatcher

/// An event as the CloudEvents HTTP binding 1.0.2 puts it into a request.
struct CloudEventMessage: Sendable {
  /// nil where the event has no data.
  var contentType: String?
  /// `ce-` lines.
  var headers: [String] = []
  var bytes: [UInt8] = []
  var body = 0..<0
}

/// Makes requests of events. One thread at a time.
struct CloudEventBinding: ~Copyable {
  /// Bytes of an event's attributes as headers, at most: many servers take 8 KiB in all.
  static let maximumHeaderBytes = 8 << 10
  static let structuredType = "application/cloudevents+json; charset=UTF-8"

  enum Outcome {
    case message(CloudEventMessage)
    /// The payload is not a CloudEvent of version 1.
    case notCloudEvent
    /// Its attributes make so many bytes of headers.
    case tooLarge(Int)
  }

  private var document: JSONDocument

  init() throws(JSONError) { document = try JSONDocument() }

  /// - Parameters:
  ///   - payload: where in `value` the event stands.
  ///   - isBinary: binary content mode (section 3.1); otherwise structured (3.2), whose body is the event as it is.
  mutating func message(_ value: [UInt8], _ payload: Range<Int>, isBinary: Bool) -> Outcome {
    // The document looks at the bytes, so everything is taken out of it while they are held.
    value.withUnsafeBytes { buffer in
      let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
      let start = payload.lowerBound + (buffer[payload].starts(with: mark) ? mark.count : 0)
      let bytes = UnsafeRawBufferPointer(rebasing: buffer[start..<payload.upperBound])
      guard let base = bytes.baseAddress, !bytes.isEmpty else { return .notCloudEvent }
      do throws(JSONError) {
        try document.parse(base, bytes.count, padding: buffer.count - payload.upperBound)
      } catch {
        return .notCloudEvent
      }
      guard document.rootIsObject, let event = CloudEvent(document) else { return .notCloudEvent }
      if isBinary { return binary(event, value, start) }
      return .message(CloudEventMessage(contentType: CloudEventBinding.structuredType, bytes: value, body: payload))
    }
  }

  /// - Parameter start: where in `value` the document begins.
  private mutating func binary(_ event: CloudEvent, _ value: [UInt8], _ start: Int) -> Outcome {
    var message = CloudEventMessage()
    var headerBytes = 0
    for attribute in event.attributes {
      guard let text = canonicalText(attribute.index) else { return .notCloudEvent }
      headerBytes += attribute.name.utf8.count + text.utf8.count + 5
      // What is too large is not made, only counted.
      if headerBytes <= CloudEventBinding.maximumHeaderBytes { message.headers.append("ce-\(attribute.name): \(text)") }
    }
    if headerBytes > CloudEventBinding.maximumHeaderBytes { return .tooLarge(headerBytes) }
    // JSON format, section 3.1: data without a type is JSON.
    var type = "application/json"
    if let index = event.contentType {
      type = String(decoding: document.string(at: index), as: UTF8.self)
      guard !type.isEmpty, type.utf8.count <= 256, DeliveryHeader.canCarry(type) else { return .notCloudEvent }
    }
    if let index = event.base64 {
      guard let data = Base64.decode(String(decoding: document.string(at: index), as: UTF8.self)) else {
        return .notCloudEvent
      }
      message.bytes = data
      message.body = 0..<data.count
    } else if let index = event.data {
      if document.element(at: index) == .string, !CloudEvent.isJSON(type) {
        message.bytes = Array(document.string(at: index))
        message.body = 0..<message.bytes.count
      } else {
        let source = sourceRange(of: index)
        message.bytes = value
        message.body = start + source.lowerBound..<start + source.upperBound
      }
    } else {
      return .message(message)
    }
    message.contentType = type
    return .message(message)
  }

  /// An attribute's value as a header has it; nil for a number that is none of CloudEvents' integers.
  private mutating func canonicalText(_ index: Int) -> String? {
    switch document.element(at: index) {
    case .string: return CloudEvent.percentEncoded(document.string(at: index))
    case .true: return "true"
    case .false: return "false"
    default:
      let text = String(decoding: document.numberText(ofElement: index), as: UTF8.self)
      return Int32(text).map { String($0) }
    }
  }

  /// Where in the document a value stands, as it was written.
  private mutating func sourceRange(of index: Int) -> Range<Int> {
    let start = document.sourceOffset(of: index)
    switch document.element(at: index) {
    case .startObject, .startArray:
      return start..<document.sourceOffset(of: document.index(after: index) - 1) + 1
    case .string:
      let source = document.sourceBytes
      var end = start + 1
      while end < source.count, source[end] != UInt8(ascii: "\"") {
        end += source[end] == UInt8(ascii: "\\") ? 2 : 1
      }
      return start..<min(end + 1, source.count)
    case .true, .null: return start..<start + 4
    case .false: return start..<start + 5
    default: return start..<start + document.numberText(ofElement: index).count
    }
  }
}
