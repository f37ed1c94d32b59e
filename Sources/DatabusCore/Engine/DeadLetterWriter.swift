/// Writes dead letters: the original record with its reason, as headers where the sink has them, else as one line of JSON.
struct DeadLetterWriter {
  /// A record that cannot be forwarded.
  struct Letter {
    var partition: PartitionID
    var position: UInt64
    /// The end of a gap.
    var end: UInt64?
    var timestamp: Int64?
    var reason: DeadLetterReason
    var detail: String
    /// `file:line:column` or the like.
    var place: String?
    var ruleID: String?
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [Header] = []

    /// What it holds in memory, about.
    var byteCount: Int { (key?.count ?? 0) + (value?.count ?? 0) + detail.utf8.count + 256 }
  }

  /// A cut dead letter keeps this many bytes of its value.
  static let cutBytes = 64 << 10
  /// A longer detail is cut.
  private static let detailBytes = 2 << 10
  /// Room for what stands beside key, value and headers.
  private static let overhead = 16 << 10

  let capabilities: SinkCapabilities

  /// The id of a dead letter: the same from every process and start.
  static func id(_ letter: Letter) -> DeliveryID {
    var hasher = IdentityHasher()
    hasher.part(IdentityHasher.version)
    hasher.part("dead-letter")
    hasher.part(letter.partition.stream)
    hasher.part(letter.partition.incarnation)
    hasher.part(UInt64(letter.partition.index))
    hasher.part(letter.position)
    hasher.part(UInt64(bitPattern: letter.timestamp ?? 0))
    hasher.part(letter.ruleID ?? "")
    hasher.part(letter.reason.rawValue)
    return DeliveryID(hasher.finish())
  }

  /// Appends one dead letter to `batch`.
  func append(_ whole: Letter, timestamp: Int64, token: UInt64, to batch: inout DeliveryBatch) {
    var letter = whole
    if letter.detail.utf8.count > DeadLetterWriter.detailBytes {
      letter.detail = String(decoding: letter.detail.utf8.prefix(DeadLetterWriter.detailBytes), as: UTF8.self) + "…"
    }
    // A line of JSON can make six bytes of one; base64 four of three.
    let expansion = capabilities.headers ? 1 : 6
    var room = max(0, (capabilities.maximumRecordBytes - DeadLetterWriter.overhead) / expansion)
    var beside =
      (letter.key?.count ?? 0) + letter.headers.reduce(0) { $0 + $1.name.utf8.count + ($1.value?.count ?? 0) + 64 }
    if beside > room / 2 {
      letter.detail += " (the record's headers, and its key from byte 256 on, are left out here: they are too large)"
      letter.headers = []
      letter.key = letter.key.map { Array($0.prefix(256)) }
      beside = letter.key?.count ?? 0
    }
    room = max(0, room - beside)
    var value = letter.value
    var cut: (length: Int, digest: String)?
    if let all = value, all.count > room {
      cut = (all.count, all.withUnsafeBytes { IdentityHasher.digest(of: $0).hexadecimal })
      value = Array(all.prefix(min(DeadLetterWriter.cutBytes, room)))
    }
    if capabilities.headers {
      batch.append(
        key: letter.key, value: value, headers: letter.headers + headers(letter, cut), timestamp: timestamp,
        token: token)
    } else {
      var line = ByteBuffer(capacity: 512 + (value?.count ?? 0))
      appendLine(letter, value, cut, to: &line)
      batch.append(key: nil, value: line.bytes, timestamp: timestamp, token: token)
    }
  }

  private func headers(_ letter: Letter, _ cut: (length: Int, digest: String)?) -> [Header] {
    var all: [Header] = []
    func add(_ name: String, _ value: String?) {
      if let value { all.append(Header(name: "dx-" + name, value: Array(value.utf8))) }
    }
    add("id", DeadLetterWriter.id(letter).description)
    add("reason", letter.reason.rawValue)
    add("detail", detail(letter))
    add("topic", letter.partition.stream)
    add("partition", String(letter.partition.index))
    add("offset", String(letter.position))
    add("rule", letter.ruleID)
    add("timestamp", letter.timestamp.map { String($0) })
    add("length", cut.map { String($0.length) })
    add("sha256", cut?.digest)
    return all
  }

  private func detail(_ letter: Letter) -> String {
    letter.place.map { "\($0): \(letter.detail)" } ?? letter.detail
  }

  private func appendLine(
    _ letter: Letter, _ value: [UInt8]?, _ cut: (length: Int, digest: String)?, to line: inout ByteBuffer
  ) {
    line.append("{\"id\":\"")
    DeadLetterWriter.id(letter).append(to: &line)
    line.append("\",\"reason\":\"")
    line.append(letter.reason.rawValue)
    line.append("\",\"detail\":")
    JSONText.append(detail(letter), to: &line)
    line.append(",\"event\":")
    JSONText.append("\(letter.partition)/\(letter.position)", to: &line)
    if let ruleID = letter.ruleID {
      line.append(",\"rule\":")
      JSONText.append(ruleID, to: &line)
    }
    if let timestamp = letter.timestamp {
      line.append(",\"timestamp\":")
      line.appendDecimal(timestamp)
    }
    if let key = letter.key { appendBytes("key", key, to: &line) }
    if !letter.headers.isEmpty {
      line.append(",\"headers\":[")
      for (index, header) in letter.headers.enumerated() {
        line.append(index == 0 ? "{\"name\":" : ",{\"name\":")
        JSONText.append(header.name, to: &line)
        if let value = header.value { appendBytes("value", value, to: &line) }
        line.append("}")
      }
      line.append("]")
    }
    if let value { appendBytes("value", value, to: &line) }
    if let cut {
      line.append(",\"length\":")
      line.appendDecimal(UInt64(cut.length))
      line.append(",\"sha256\":\"")
      line.append(cut.digest)
      line.append("\"")
    }
    line.append("}")
  }

  /// `"name":"text"`, or `"nameBase64":"…"` where the bytes are not UTF-8.
  private func appendBytes(_ name: String, _ bytes: [UInt8], to line: inout ByteBuffer) {
    line.append(",\"")
    line.append(name)
    if String(validating: bytes, as: UTF8.self) != nil {
      line.append("\":")
      bytes.withUnsafeBytes { JSONText.appendString($0, to: &line) }
    } else {
      line.append("Base64\":\"")
      line.append(Base64.encode(bytes))
      line.append("\"")
    }
  }
}
