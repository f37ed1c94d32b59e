import Dispatcher

/// A mark as a field of a hash: `disabled destination https://example.com/hook`, with the value `1795000000000 it answered 410`.
enum DispatchMarkCoding {
  static func field(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) -> String {
    switch subject {
    case .destination(let url): "\(kind.rawValue) destination \(url)"
    case .rule(let id): "\(kind.rawValue) rule \(id)"
    }
  }

  static func value(_ mark: DispatchMark) -> String { "\(mark.at) \(mark.detail)" }

  /// nil for what `field` and `value` do not write.
  static func mark(_ field: String, _ value: String) -> DispatchMark? {
    let words = field.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    let parts = value.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
    guard words.count == 3, parts.count == 2, let kind = DispatchMark.Kind(rawValue: String(words[0])),
      let at = Int64(parts[0])
    else { return nil }
    switch words[1] {
    case "destination": return DispatchMark(.destination(String(words[2])), kind, at: at, detail: String(parts[1]))
    case "rule": return DispatchMark(.rule(String(words[2])), kind, at: at, detail: String(parts[1]))
    default: return nil
    }
  }
}
