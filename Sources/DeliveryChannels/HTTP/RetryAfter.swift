import DatabusCore

/// The header `Retry-After` (RFC 9110, section 10.2.3).
enum RetryAfter {
  /// What is longer is taken for as long as this: the dispatcher's own limits are far below.
  static let longest = Duration.seconds(366 * 86_400)

  /// How long the receiver asks to be left alone; zero for a moment that has passed, nil where the text says neither seconds nor a
  /// moment.
  ///
  /// - Parameter now: milliseconds since 1970.
  static func parse(_ text: String, now: Int64) -> Duration? {
    guard text.utf8.count <= 64 else { return nil }
    let text = text.trimmed
    if !text.isEmpty, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) {
      // What does not fit is very long.
      return min(longest, Int32(text).map { .seconds(Int($0)) } ?? longest)
    }
    guard let moment = HTTPDate.milliseconds(text, now: now) else { return nil }
    let (rest, overflow) = moment.subtractingReportingOverflow(now)
    return overflow || rest <= 0 ? .zero : min(longest, .milliseconds(rest))
  }
}

/// Moments as HTTP writes them, in three forms that every recipient must take (RFC 9110, section 5.6.7).
enum HTTPDate {
  private static let months = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
  ]
  private static let days = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
  private static let longDays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]

  /// Milliseconds since 1970; nil where the text is none of the forms.
  ///
  /// - Parameter now: milliseconds since 1970: a year of two digits is the last one that is not more than 50 years ahead of it.
  static func milliseconds(_ text: String, now: Int64) -> Int64? {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard let first = words.first else { return nil }
    if first.hasSuffix(",") {
      let name = String(first.dropLast())
      // Sun, 06 Nov 1994 08:49:37 GMT
      if words.count == 6, days.contains(name), words[5] == "GMT" {
        return milliseconds(year: number(words[3], 4), month: words[2], day: number(words[1], 2), time: words[4])
      }
      // Sunday, 06-Nov-94 08:49:37 GMT
      if words.count == 4, longDays.contains(name), words[3] == "GMT" {
        let date = words[1].split(separator: "-", omittingEmptySubsequences: false)
        guard date.count == 3, let short = number(date[2], 2) else { return nil }
        return milliseconds(year: year(short, now), month: date[1], day: number(date[0], 2), time: words[2])
      }
      return nil
    }
    // Sun Nov  6 08:49:37 1994
    guard days.contains(String(first)) else { return nil }
    if words.count == 6, words[2].isEmpty {
      return milliseconds(year: number(words[5], 4), month: words[1], day: number(words[3], 1), time: words[4])
    }
    guard words.count == 5 else { return nil }
    return milliseconds(year: number(words[4], 4), month: words[1], day: number(words[2], 2), time: words[3])
  }

  private static func year(_ short: Int, _ now: Int64) -> Int? {
    guard let current = Int(TimeText.rfc3339(milliseconds: now).prefix(4)) else { return nil }
    let year = current / 100 * 100 + short
    return year > current + 50 ? year - 100 : year <= current - 50 ? year + 100 : year
  }

  private static func milliseconds(year: Int?, month: Substring, day: Int?, time: Substring) -> Int64? {
    guard let year, let day, let month = months.firstIndex(of: String(month)), time.utf8.count == 8 else { return nil }
    return TimeText.milliseconds(
      rfc3339: "\(digits(year, 4))-\(digits(month + 1, 2))-\(digits(day, 2))T\(time)Z")
  }

  private static func number(_ text: Substring, _ count: Int) -> Int? {
    guard text.utf8.count == count, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return nil }
    return Int(text)
  }

  private static func digits(_ number: Int, _ count: Int) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
  }
}

extension String {
  /// Without spaces and tabs at both ends.
  fileprivate var trimmed: String {
    let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
    guard let start = utf8.firstIndex(where: { !isSpace($0) }), let end = utf8.lastIndex(where: { !isSpace($0) })
    else { return "" }
    return String(self[start...end])
  }
}
