import DatabusCore
import HTTPServer

/// A request that a receiver got, and what it made of it.
struct ReceivedRequest: Sendable {
  struct Sighting: Sendable {
    /// How often this `webhook-id` has come; 0 where there is none.
    var count = 0
    /// It had been answered with 2xx before.
    var isDuplicate = false
  }

  /// Milliseconds since 1970.
  var time: Int64
  var request: HTTPRequest
  var id: String?
  var sighting: Sighting
  var verdict: SignatureVerdict
  var answer: ReceiverAnswer
}

/// How a receiver shows requests: a line each.
struct ReceivedFormat: Sendable {
  var isJSON: Bool
  /// Columns; nil: lines may have any length.
  var width: Int?
  var color: Bool

  /// So much of a body is shown to people.
  private static let shownBodyBytes = 4096

  /// One line, with its newline.
  func text(_ received: ReceivedRequest) -> String { isJSON ? json(received) : line(received) }

  // MARK: For people

  private func line(_ received: ReceivedRequest) -> String {
    let time = TimeText.rfc3339(milliseconds: received.time)
    var parts = [
      width == nil ? time : String(time.dropFirst(11).dropLast()),
      "\(received.request.method) \(received.request.target)",
    ]
    if let id = received.id {
      let count = received.sighting.count
      let duplicate = received.sighting.isDuplicate ? ", a duplicate" : ""
      parts += [id, count == 1 ? "seen once" : "seen \(count) times\(duplicate)"]
    } else {
      parts.append("no webhook-id")
    }
    switch received.verdict {
    case .unchecked: break
    case .good, .bad: parts.append("signature \(received.verdict.name)")
    }
    parts += ["-> \(received.answer.description)", body(received.request.body)]
    var line = parts.map(Terminal.printable).joined(separator: "  ")
    if let width, line.count > width { line = line.prefix(max(1, width - 1)) + "…" }
    guard color else { return line + "\n" }
    return "\u{1B}[2m\(line.prefix(parts[0].count))\u{1B}[0m\(line.dropFirst(parts[0].count))\n"
  }

  private func body(_ bytes: [UInt8]) -> String {
    if bytes.isEmpty { return "(no body)" }
    guard let whole = String(validating: bytes, as: UTF8.self) else { return "(\(bytes.count) bytes that are no text)" }
    let isCut = bytes.count > ReceivedFormat.shownBodyBytes
    let text = isCut ? String(decoding: bytes.prefix(ReceivedFormat.shownBodyBytes), as: UTF8.self) : whole
    let lines = text.split(whereSeparator: \.isNewline).map { line in
      String(line.drop(while: \.isWhitespace))
    }
    return lines.joined(separator: " ") + (isCut ? "… (\(bytes.count) bytes)" : "")
  }

  // MARK: For scripts

  private func json(_ received: ReceivedRequest) -> String {
    var line = ByteBuffer(capacity: 1024 + received.request.body.count * 2)
    line.append("{\"time\":")
    JSONText.append(TimeText.rfc3339(milliseconds: received.time), to: &line)
    line.append(",\"method\":")
    JSONText.append(received.request.method, to: &line)
    line.append(",\"target\":")
    JSONText.append(received.request.target, to: &line)
    line.append(",\"id\":")
    append(received.id, to: &line)
    line.append(",\"seen\":")
    line.appendDecimal(UInt64(received.sighting.count))
    line.append(",\"duplicate\":")
    line.append(received.sighting.isDuplicate ? "true" : "false")
    line.append(",\"signature\":\"")
    line.append(received.verdict.name)
    line.append("\",\"signatureProblem\":")
    append(received.verdict.problem, to: &line)
    line.append(",\"status\":")
    if let status = received.answer.status { line.appendDecimal(UInt64(status)) } else { line.append("null") }
    line.append(",\"answer\":")
    JSONText.append(received.answer.description, to: &line)
    line.append(",\"headers\":[")
    for (index, header) in received.request.headers.enumerated() {
      line.append(index == 0 ? "{\"name\":" : ",{\"name\":")
      JSONText.append(header.name, to: &line)
      line.append(",\"value\":")
      JSONText.append(header.value, to: &line)
      line.append(UInt8(ascii: "}"))
    }
    if let body = String(validating: received.request.body, as: UTF8.self) {
      line.append("],\"body\":")
      JSONText.append(body, to: &line)
    } else {
      line.append("],\"bodyBase64\":\"")
      line.append(Base64.encode(received.request.body))
      line.append(UInt8(ascii: "\""))
    }
    line.append("}\n")
    return ReceivedFormat.harmless(String(decoding: line.bytes, as: UTF8.self))
  }

  private func append(_ text: String?, to line: inout ByteBuffer) {
    if let text { JSONText.append(text, to: &line) } else { line.append("null") }
  }

  /// The control characters that JSON permits in a string, U+007F to U+009F, as escapes: they too steer terminals.
  private static func harmless(_ json: String) -> String {
    func isControl(_ scalar: Unicode.Scalar) -> Bool { (0x7F..<0xA0).contains(scalar.value) }
    guard json.unicodeScalars.contains(where: isControl) else { return json }
    var text = String.UnicodeScalarView()
    for scalar in json.unicodeScalars {
      if isControl(scalar) {
        text.append(contentsOf: "\\u00\(String(scalar.value, radix: 16))".unicodeScalars)
      } else {
        text.append(scalar)
      }
    }
    return String(text)
  }
}
