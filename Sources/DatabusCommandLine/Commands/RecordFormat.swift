import DatabusCore

/// How `tail` shows a record.
struct RecordFormat: Sendable {
  enum Kind: Sendable {
    case results
    case deadLetters
    /// Events, rules, and streams that the pipeline does not know.
    case other
  }

  var kind: Kind
  var isJSON: Bool
  var showsStream: Bool
  /// Columns; nil: lines may have any length.
  var width: Int?
  var color: Bool

  /// One line, with its newline.
  func text(_ record: ReadRecord) -> String { isJSON ? json(record) : line(record) }

  // MARK: For scripts

  private func json(_ record: ReadRecord) -> String {
    var line = ByteBuffer(capacity: 256 + (record.value?.count ?? 0) * 2)
    line.append("{\"stream\":")
    JSONText.append(record.partition.stream, to: &line)
    line.append(",\"partition\":")
    line.appendDecimal(UInt64(record.partition.index))
    line.append(",\"position\":")
    line.appendDecimal(record.position)
    append("key", record.key, to: &line)
    line.append(",\"headers\":[")
    for (index, header) in record.headers.enumerated() {
      line.append(index == 0 ? "{\"name\":" : ",{\"name\":")
      JSONText.append(header.name, to: &line)
      append("value", header.value, to: &line)
      line.append(UInt8(ascii: "}"))
    }
    line.append("],\"timestamp\":")
    if let timestamp = record.timestamp { line.appendDecimal(timestamp) } else { line.append("null") }
    append("value", record.value, to: &line)
    line.append("}\n")
    return String(decoding: line.bytes, as: UTF8.self)
  }

  private func append(_ name: StaticString, _ bytes: [UInt8]?, to line: inout ByteBuffer) {
    line.append(",\"")
    line.append(name)
    guard let bytes else { return line.append("\":null") }
    if let text = String(validating: bytes, as: UTF8.self) {
      line.append("\":")
      JSONText.append(text, to: &line)
    } else {
      line.append("Base64\":\"")
      line.append(Base64.encode(bytes))
      line.append(UInt8(ascii: "\""))
    }
  }

  // MARK: For people

  private func line(_ record: ReadRecord) -> String {
    var columns: [(text: String, width: Int)] = []
    let place = showsStream ? record.locator : "\(record.partition.index)/\(record.position)"
    columns.append((place, showsStream ? 24 : 8))
    if let timestamp = record.timestamp { columns.append((TimeText.rfc3339(milliseconds: timestamp), 24)) }
    let rest: String
    switch kind {
    case .results:
      let (summary, payload) = result(record)
      columns += summary
      rest = payload
    case .deadLetters:
      let (summary, value) = deadLetter(record)
      columns += summary
      rest = value
    case .other:
      if let key = record.key { columns.append((String(decoding: key, as: UTF8.self), 12)) }
      rest = record.value.map { String(decoding: $0, as: UTF8.self) } ?? "(tombstone)"
    }
    var line = ""
    for column in columns {
      let text = Terminal.printable(column.text)
      line += text + String(repeating: " ", count: max(0, column.width - text.count)) + "  "
    }
    let head = line.count
    line += Terminal.printable(rest)
    if let width, line.count > width { line = line.prefix(max(1, width - 1)) + "…" }
    if color, head < line.count {
      let end = line.index(line.startIndex, offsetBy: head)
      line = "\u{1B}[2m" + line[..<end] + "\u{1B}[0m" + line[end...]
    }
    return line + "\n"
  }

  private func result(_ record: ReadRecord) -> ([(text: String, width: Int)], String) {
    guard let bytes = record.value, let value = try? JSONDocument.value(of: bytes, depth: 1024),
      let destination = value["destination"]?.string, let payload = value["payload"]
    else { return ([], record.value.map { String(decoding: $0, as: UTF8.self) } ?? "(tombstone)") }
    // A scalar's end is not known; payloads are objects unless a transform made them otherwise.
    let text =
      payload.end > payload.offset
      ? String(decoding: bytes[payload.offset..<payload.end], as: UTF8.self) : payload.compactText
    return ([(value["rule"]?.string ?? "", 8), (destination, 24)], text)
  }

  private func deadLetter(_ record: ReadRecord) -> ([(text: String, width: Int)], String) {
    func header(_ name: String) -> String? {
      record.headers.last { $0.name == "dx-" + name }?.value.map { String(decoding: $0, as: UTF8.self) }
    }
    let value = record.value.map { String(decoding: $0, as: UTF8.self) } ?? "(tombstone)"
    if let reason = header("reason") {
      let place = [header("topic"), header("partition"), header("offset")].compactMap { $0 }.joined(separator: "/")
      return ([(reason, 12), (place, 12), (header("detail") ?? "", 24)], value)
    }
    guard let bytes = record.value, let letter = try? JSONDocument.value(of: bytes),
      let reason = letter["reason"]?.string
    else { return ([], value) }
    return (
      [(reason, 12), (letter["event"]?.string ?? "", 12), (letter["detail"]?.string ?? "", 24)],
      letter["value"]?.string ?? letter["valueBase64"]?.string ?? ""
    )
  }
}
