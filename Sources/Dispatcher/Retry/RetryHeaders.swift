import DatabusCore

/// What a record of a retry stream carries beside its original self, as headers.
struct RetryHeaders: Sendable, Hashable {
  static let prefix = "databus-"

  /// Attempts made.
  var attempts = 0
  /// How often it was set aside without an attempt.
  var spills = 0
  /// How often an operator has replayed it.
  var replays = 0
  /// Milliseconds since 1970: when a dispatcher saw it first; nil for a record that no dispatcher has written.
  var firstAt: Int64?
  /// Milliseconds since 1970: not before.
  var due: Int64?
  /// Where the original record stands: `stream/partition/position`.
  var origin: String?
  /// The delivery's id, where the result has none of its own.
  var id: String?

  private static let names = ["attempts", "spills", "replays", "first-at", "due", "origin", "delivery-id"]

  init() {}

  /// Reads what `append` wrote; anything else is left alone.
  init(_ headers: [Header]) {
    for header in headers where header.name.utf8.starts(with: RetryHeaders.prefix.utf8) {
      guard let value = header.value else { continue }
      let text = String(decoding: value.prefix(2048), as: UTF8.self)
      switch header.name.dropFirst(RetryHeaders.prefix.count) {
      case "attempts": attempts = RetryHeaders.count(text)
      case "spills": spills = RetryHeaders.count(text)
      case "replays": replays = RetryHeaders.count(text)
      case "first-at": firstAt = Int64(text)
      case "due": due = Int64(text)
      case "origin": origin = text
      case "delivery-id": id = text
      default: break
      }
    }
  }

  private static func count(_ text: String) -> Int { min(max(0, Int(text) ?? 0), 1_000_000) }

  /// The headers of the original record with these behind them.
  func headers(behind original: [Header]) -> [Header] {
    var all = original.filter { header in
      guard header.name.hasPrefix(RetryHeaders.prefix) else { return true }
      return !RetryHeaders.names.contains(String(header.name.dropFirst(RetryHeaders.prefix.count)))
    }
    func add(_ name: String, _ value: String?) {
      if let value { all.append(Header(name: RetryHeaders.prefix + name, value: Array(value.utf8))) }
    }
    add("attempts", String(attempts))
    if spills > 0 { add("spills", String(spills)) }
    if replays > 0 { add("replays", String(replays)) }
    add("first-at", firstAt.map { String($0) })
    add("due", due.map { String($0) })
    add("origin", origin)
    add("delivery-id", id)
    return all
  }
}
