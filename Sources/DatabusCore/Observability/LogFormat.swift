/// How log lines look.
public enum LogFormat: Sendable, Hashable {
  /// For people: `12:30:01.250 warning router: what (place) key=value` and the remedy on a line of its own.
  case text(color: Bool)
  /// One JSON object a line.
  case json

  /// Appends the line, with its newline.
  public func append(_ line: LogLine, to buffer: inout ByteBuffer) {
    switch self {
    case .text(let color): appendText(line, color, to: &buffer)
    case .json: appendJSON(line, to: &buffer)
    }
  }

  private func appendText(_ line: LogLine, _ color: Bool, to buffer: inout ByteBuffer) {
    let time = TimeText.rfc3339(milliseconds: line.timestamp)
    buffer.append(String(time.dropFirst(11).dropLast()))
    buffer.append(" ")
    let code: StaticString? =
      switch line.level {
      case .debug: "\u{1B}[2m"
      case .info: nil
      case .warning: "\u{1B}[33m"
      case .error: "\u{1B}[31m"
      }
    if color, let code { buffer.append(code) }
    buffer.append(line.level.name)
    if color, code != nil { buffer.append("\u{1B}[0m") }
    buffer.append(" ")
    buffer.append(line.part)
    buffer.append(": ")
    appendPrintable(line.what, to: &buffer)
    if let place = line.place {
      buffer.append(" (")
      appendPrintable(place, to: &buffer)
      buffer.append(")")
    }
    for field in line.fields {
      buffer.append(" ")
      buffer.append(field.key)
      buffer.append("=")
      if case .text(let text) = field.value, !needsQuotes(text) {
        buffer.append(text)
      } else {
        appendValue(field.value, to: &buffer)
      }
    }
    if let remedy = line.remedy {
      buffer.append("\n    ")
      appendPrintable(remedy, to: &buffer)
    }
    buffer.append("\n")
  }

  private func needsQuotes(_ text: String) -> Bool {
    text.isEmpty || text.utf8.contains { $0 <= 0x20 || $0 == 0x22 || $0 == 0x3D || $0 == 0x7F }
  }

  /// Input must not be able to steer a terminal or forge lines.
  private func appendPrintable(_ text: String, to buffer: inout ByteBuffer) {
    for byte in text.utf8 { buffer.append(byte < 0x20 || byte == 0x7F ? UInt8(ascii: " ") : byte) }
  }

  private func appendJSON(_ line: LogLine, to buffer: inout ByteBuffer) {
    buffer.append("{\"time\":\"")
    buffer.append(TimeText.rfc3339(milliseconds: line.timestamp))
    buffer.append("\",\"level\":\"")
    buffer.append(line.level.name)
    buffer.append("\",\"part\":")
    JSONText.append(line.part, to: &buffer)
    buffer.append(",\"what\":")
    JSONText.append(line.what, to: &buffer)
    if let place = line.place {
      buffer.append(",\"where\":")
      JSONText.append(place, to: &buffer)
    }
    if let remedy = line.remedy {
      buffer.append(",\"remedy\":")
      JSONText.append(remedy, to: &buffer)
    }
    if !line.fields.isEmpty {
      buffer.append(",\"fields\":{")
      for (index, field) in line.fields.enumerated() {
        if index > 0 { buffer.append(",") }
        JSONText.append(field.key, to: &buffer)
        buffer.append(":")
        appendValue(field.value, to: &buffer)
      }
      buffer.append("}")
    }
    buffer.append("}\n")
  }

  private func appendValue(_ value: LogField.Value, to buffer: inout ByteBuffer) {
    switch value {
    case .text(let text): JSONText.append(text, to: &buffer)
    case .integer(let number): buffer.appendDecimal(Int64(number))
    // JSON has neither infinity nor NaN.
    case .number(let number): buffer.append(number.isFinite ? "\(number)" : "null")
    case .flag(let flag): buffer.append(flag ? "true" : "false")
    }
  }
}
