/// Finds the name that somebody probably meant.
public enum Spelling {
  /// The candidate nearest to `name`, where it is near enough to be a slip: case and underscores aside equal, one a plural of
  /// the other, or at most one edit for every three letters (two at the most).
  public static func nearest(to name: String, among candidates: some Sequence<String>) -> String? {
    var best: (candidate: String, distance: Int)?
    let folded = fold(name)
    for candidate in candidates where candidate != name {
      let other = fold(candidate)
      let distance = folded == other ? 0 : editDistance(folded, other, limit: 3)
      let allowed = min(2, max(folded.count, other.count) / 3)
      if distance <= allowed, distance < (best?.distance ?? .max) { best = (candidate, distance) }
    }
    return best?.candidate
  }

  private static func fold(_ name: String) -> [UInt8] {
    name.utf8.compactMap { byte in
      if byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") { return nil }
      return byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
    }
  }

  /// Insertions, deletions, replacements and swaps of neighbours; `limit` where there are as many or more.
  private static func editDistance(_ a: [UInt8], _ b: [UInt8], limit: Int) -> Int {
    if abs(a.count - b.count) >= limit { return limit }
    var beforeLast = [Int](repeating: 0, count: b.count + 1)
    var last = Array(0...b.count)
    for i in 0..<a.count {
      var row = [i + 1] + [Int](repeating: 0, count: b.count)
      for j in 0..<b.count {
        row[j + 1] = min(last[j + 1] + 1, row[j] + 1, last[j] + (a[i] == b[j] ? 0 : 1))
        if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { row[j + 1] = min(row[j + 1], beforeLast[j - 1] + 1) }
      }
      (beforeLast, last) = (last, row)
    }
    return min(last[b.count], limit)
  }
}
