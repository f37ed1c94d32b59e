/// Texts for people.
public enum DispatchText {
  /// A URL without what may be secret: its query and fragment.
  public static func redacted(_ url: String) -> String {
    let end = url.utf8.firstIndex { $0 == UInt8(ascii: "?") || $0 == UInt8(ascii: "#") } ?? url.endIndex
    let shown = url[..<end]
    let short = shown.utf8.count > 512 ? "\(String(decoding: shown.utf8.prefix(512), as: UTF8.self))…" : String(shown)
    return end == url.endIndex ? short : short + "?…"
  }
}
