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
  /// A moment of today, in milliseconds since 1970.
  var today: Int64

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

  private struct Column {
    var title: String
    var text: String
    /// The least number of characters.
    var width: Int

    init(_ title: String, _ text: String, _ width: Int) {
      self.title = title
      self.text = text
      self.width = width
    }
  }

  /// The titles of a record's columns, as one line.
  func heading(_ record: ReadRecord) -> String {
    let columns = columns(record)
    let line = columns.map { padded($0.title, $0.width) }.joined()
    return (color ? "\u{1B}[1m\(trimmed(line))\u{1B}[0m" : trimmed(line)) + "\n"
  }

  private func line(_ record: ReadRecord) -> String {
    var columns = columns(record)
    let rest = columns.removeLast()
    var line = columns.map { padded(Terminal.printable($0.text), $0.width) }.joined()
    let head = line.count
    line = trimmed(line + Terminal.printable(rest.text))
    if color, head < line.count {
      let end = line.index(line.startIndex, offsetBy: head)
      line = "\u{1B}[2m" + line[..<end] + "\u{1B}[0m" + line[end...]
    }
    return line + "\n"
  }

  private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count)) + "  "
  }

  private func trimmed(_ line: String) -> String {
    guard let width, line.count > width else { return line }
    return line.prefix(max(1, width - 1)) + "…"
  }

  /// What a line shows; the last column takes what room there is.
  private func columns(_ record: ReadRecord) -> [Column] {
    let place = showsStream ? record.locator : "\(record.partition.index)/\(record.position)"
    var columns = [Column("RECORD", place, showsStream ? 24 : 8)]
    if let timestamp = record.timestamp { columns.append(time(timestamp)) }
    switch kind {
    case .results: columns += result(record)
    case .deadLetters: columns += deadLetter(record)
    case .other:
      columns.append(Column("KEY", record.key.map { String(decoding: $0, as: UTF8.self) } ?? "-", 8))
      columns.append(Column("VALUE", record.value.map { String(decoding: $0, as: UTF8.self) } ?? "(tombstone)", 0))
    }
    return columns
  }

  /// On a terminal, where room is scarce, the date is left out where it is today's.
  private func time(_ timestamp: Int64) -> Column {
    let text = TimeText.rfc3339(milliseconds: timestamp)
    guard width != nil else { return Column("TIME", text, 24) }
    let isToday = text.prefix(10) == TimeText.rfc3339(milliseconds: today).prefix(10)
    return Column("TIME", isToday ? String(text.dropFirst(11).dropLast()) : text, 12)
  }

  private func result(_ record: ReadRecord) -> [Column] {
    guard let bytes = record.value, let value = try? JSONDocument.value(of: bytes, depth: 1024),
      let destination = value["destination"]?.string, let payload = value["payload"]
    else { return [Column("VALUE", record.value.map { String(decoding: $0, as: UTF8.self) } ?? "(tombstone)", 0)] }
    // A scalar's end is not known; payloads are objects unless a transform made them otherwise.
    let text =
      payload.end > payload.offset
      ? String(decoding: bytes[payload.offset..<payload.end], as: UTF8.self) : payload.compactText
    return [
      Column("RULE", value["rule"]?.string ?? "", 8), Column("DESTINATION", destination, 24),
      Column("PAYLOAD", text, 0),
    ]
  }

  private func deadLetter(_ record: ReadRecord) -> [Column] {
    func columns(_ reason: String, _ event: String, _ detail: String, _ value: String) -> [Column] {
      [
        Column("REASON", reason, 12), Column("EVENT", event, 12), Column("DETAIL", detail, 24),
        Column("VALUE", value, 0),
      ]
    }
    func header(_ name: String) -> String? {
      record.headers.last { $0.name == "dx-" + name }?.value.map { String(decoding: $0, as: UTF8.self) }
    }
    let value = record.value.map { String(decoding: $0, as: UTF8.self) } ?? "(tombstone)"
    if let reason = header("reason") {
      let place = [header("topic"), header("partition"), header("offset")].compactMap { $0 }.joined(separator: "/")
      return columns(reason, place, header("detail") ?? "", value)
    }
    guard let bytes = record.value, let letter = try? JSONDocument.value(of: bytes),
      let reason = letter["reason"]?.string
    else { return [Column("VALUE", value, 0)] }
    return columns(
      reason, letter["event"]?.string ?? "", letter["detail"]?.string ?? "",
      letter["value"]?.string ?? letter["valueBase64"]?.string ?? "")
  }
}
