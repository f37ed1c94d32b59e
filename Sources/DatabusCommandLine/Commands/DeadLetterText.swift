import DatabusCore
import Dispatcher

/// Dead letters for people and scripts.
enum DeadLetterText {
  static func table(_ found: [FoundDeadLetter], width: Int?) -> String {
    var table = Table([
      ("TIME", .left), ("REASON", .left), ("ATTEMPTS", .right), ("STATUS", .right), ("DESTINATION", .left),
      ("ID", .left),
    ])
    for entry in found {
      let letter = entry.letter
      table.add([
        TimeText.rfc3339(milliseconds: letter.time), letter.reason, letter.attempts.map { String($0) } ?? "-",
        letter.status.map { String($0) } ?? "-", letter.destination ?? "-", letter.id ?? entry.locator,
      ])
    }
    return table.text(width: width)
  }

  /// Everything about one, with its value and what the receiver answered.
  static func page(_ entry: FoundDeadLetter) -> String {
    let letter = entry.letter
    var text = ""
    func line(_ name: String, _ value: String?) {
      guard let value else { return }
      let padded = name + String(repeating: " ", count: max(0, 13 - name.count))
      text += "\(padded)\(Terminal.printable(value))\n"
    }
    line("id", letter.id)
    line("dead letter", entry.locator)
    line("time", TimeText.rfc3339(milliseconds: letter.time))
    line("reason", letter.reason)
    line("detail", letter.detail.isEmpty ? nil : letter.detail)
    line("destination", letter.destination)
    line("status", letter.status.map { String($0) })
    line("attempts", letter.attempts.map { String($0) })
    line("first at", letter.firstAt.map { TimeText.rfc3339(milliseconds: $0) })
    line("rule", letter.rule)
    line("record", letter.origin)
    line("replays", letter.replays > 0 ? String(letter.replays) : nil)
    line("cut", letter.length.map { "only the beginning of \($0) bytes is here: it cannot be replayed" })
    line("key", letter.key.map { String(decoding: $0, as: UTF8.self) })
    for header in letter.headers {
      line("header", "\(header.name): \(header.value.map { String(decoding: $0, as: UTF8.self) } ?? "(none)")")
    }
    line("response", letter.response.map { String(decoding: $0, as: UTF8.self) })
    line("value", letter.value.map { String(decoding: $0, as: UTF8.self) } ?? "(none)")
    return text
  }

  /// - Parameter isWhole: with key, value, headers and response.
  static func json(_ entry: FoundDeadLetter, isWhole: Bool) -> String {
    let letter = entry.letter
    var members: [(String, JSONValue)] = []
    func add(_ name: String, _ text: String?) { if let text { members.append((name, JSONValue(.string(text)))) } }
    func add(_ name: String, _ number: Int?) {
      if let number { members.append((name, JSONValue(.number(String(number))))) }
    }
    func add(_ name: String, bytes: [UInt8]?) {
      guard let bytes else { return }
      if let text = String(validating: bytes, as: UTF8.self) { return add(name, text) }
      add(name + "Base64", Base64.encode(bytes))
    }
    add("id", letter.id)
    add("deadLetter", entry.locator)
    add("time", TimeText.rfc3339(milliseconds: letter.time))
    add("reason", letter.reason)
    add("detail", letter.detail)
    add("destination", letter.destination)
    add("status", letter.status)
    add("attempts", letter.attempts)
    add("firstAt", letter.firstAt.map { TimeText.rfc3339(milliseconds: $0) })
    add("lastAt", letter.lastAt.map { TimeText.rfc3339(milliseconds: $0) })
    add("rule", letter.rule)
    add("record", letter.origin)
    add("replays", letter.replays)
    add("length", letter.length)
    if isWhole {
      add("key", bytes: letter.key)
      add("value", bytes: letter.value)
      add("response", bytes: letter.response)
      let headers = letter.headers.map { header -> JSONValue in
        let value = header.value.map { JSONValue(.string(String(decoding: $0, as: UTF8.self))) }
        return JSONValue(members: [("name", JSONValue(.string(header.name))), ("value", value ?? JSONValue(.null))])
      }
      members.append(("headers", JSONValue(.array(headers))))
    }
    return JSONValue(members: members).compactText + "\n"
  }
}
