import AttemptLog
import DatabusCore
import Dispatcher

/// A delivery's story for people and for scripts.
extension DeliveryStory {
  /// What it has come to, in a word or two.
  var stateText: String {
    switch end.happening {
    case .delivered: "delivered"
    case .failed: "tried again"
    case .rejected: "rejected"
    case .stored: "waits"
    case .duplicate: "sent before"
    case .dead: end.reason.map { "given up: \($0)" } ?? "given up"
    }
  }

  /// The receiver's last answer.
  var lastStatus: Int? { entries.last { $0.status != nil }?.status }

  func text(width: Int?) -> String {
    var lines = [
      ("delivery", id), ("event", event ?? "-"), ("rule", rule ?? "-"), ("destination", destination),
      ("result", result),
      ("end", endText),
    ]
    if end.happening == .stored, let due = end.due { lines.append(("due", TimeText.rfc3339(milliseconds: due))) }
    var text = ""
    for (name, value) in lines {
      text += name + String(repeating: " ", count: 13 - name.count) + Terminal.printable(value) + "\n"
    }
    var table = Table([("TIME", .left), ("WHAT", .left), ("STATUS", .right), ("TOOK", .right), ("DETAIL", .left)])
    for entry in entries {
      table.add([
        TimeText.rfc3339(milliseconds: entry.at), entry.what, entry.status.map { String($0) } ?? "",
        entry.duration.map(Self.text) ?? "", entry.detailText,
      ])
    }
    return text + "\n" + table.text(width: width)
  }

  private var endText: String {
    let count = "\(attempts) attempt\(attempts == 1 ? "" : "s")"
    return switch end.happening {
    case .delivered: "delivered with attempt \(end.attempts)"
    case .failed: "not yet: it is tried again after \(count)"
    case .rejected: "being given up after \(count)"
    case .stored: "not yet: it waits in \(end.stream ?? "a retry stream") after \(count)"
    case .duplicate: "not sent: \(end.detail)"
    case .dead: "given up after \(count) (\(end.reason ?? "no reason noted")): \(end.detail)"
    }
  }

  private static func text(_ duration: Duration) -> String {
    let microseconds = duration.wholeNanoseconds / 1000
    return microseconds < 10_000
      ? "\(microseconds / 1000).\(microseconds % 1000 / 100) ms" : "\(microseconds / 1000) ms"
  }

  /// - Parameter isWhole: with its history, as a summary without.
  func json(isWhole: Bool) -> JSONValue {
    func text(_ text: String?) -> JSONValue { text.map { JSONValue(.string($0)) } ?? JSONValue(.null) }
    func number(_ number: (some BinaryInteger)?) -> JSONValue {
      number.map { JSONValue(.number(String($0))) } ?? JSONValue(.null)
    }
    var members: [(String, JSONValue)] = [
      ("id", text(id)), ("event", text(event)), ("rule", text(rule)), ("destination", text(destination)),
      ("result", text(result)), ("state", text(end.happening.rawValue)), ("reason", text(end.reason)),
      ("attempts", number(attempts)), ("status", number(lastStatus)), ("firstAt", number(entries.first?.at)),
      ("lastAt", number(entries.last?.at)),
    ]
    guard isWhole else { return JSONValue(members: members) }
    let history = entries.map { entry in
      var members: [(String, JSONValue)] = [
        ("at", number(entry.at)), ("happening", text(entry.happening.rawValue)), ("attempts", number(entry.attempts)),
        ("detail", text(entry.detail)),
      ]
      if let status = entry.status { members.append(("status", number(status))) }
      if let duration = entry.duration {
        members.append(("microseconds", number(duration.wholeNanoseconds / 1000)))
      }
      if let reason = entry.reason { members.append(("reason", text(reason))) }
      if let stream = entry.stream { members.append(("stream", text(stream))) }
      if let due = entry.due { members.append(("due", number(due))) }
      return JSONValue(members: members)
    }
    members.append(("history", JSONValue(.array(history))))
    return JSONValue(members: members)
  }
}

extension DeliveryStory.Entry {
  fileprivate var what: String {
    switch happening {
    case .delivered: "delivered"
    case .failed: "failed"
    case .rejected: "rejected"
    case .stored: "set aside"
    case .duplicate: "not sent"
    case .dead: "given up"
    }
  }

  fileprivate var detailText: String {
    if let reason { return "\(reason): \(detail)" }
    guard let stream else { return detail }
    let until = due.map { ", due \(TimeText.rfc3339(milliseconds: $0))" } ?? ""
    return "\(detail) (\(stream)\(until))"
  }
}
