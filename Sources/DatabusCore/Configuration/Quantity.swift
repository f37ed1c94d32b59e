/// Durations and sizes as people write them: a whole number and a unit.
public enum Quantity {
  /// "250ms", "1s", "5m", "1h", "7d"; nil where the text is none, or too large.
  public static func duration(_ text: String) -> Duration? {
    guard let (number, unit) = split(text) else { return nil }
    let nanoseconds: Int
    switch unit {
    case "ns": nanoseconds = 1
    case "us": nanoseconds = 1_000
    case "ms": nanoseconds = 1_000_000
    case "s": nanoseconds = 1_000_000_000
    case "m": nanoseconds = 60_000_000_000
    case "h": nanoseconds = 3_600_000_000_000
    case "d": nanoseconds = 86_400_000_000_000
    default: return nil
    }
    let (product, overflow) = number.multipliedReportingOverflow(by: nanoseconds)
    return overflow ? nil : .nanoseconds(product)
  }

  static let durationPattern = "^[0-9]+(ns|us|ms|s|m|h|d)$"

  /// "1000", "64KiB", "16MiB", "10MB"; nil where the text is none, or too large. KiB is 1,024 bytes, kB is 1,000.
  public static func size(_ text: String) -> Int? {
    guard let (number, unit) = split(text) else { return nil }
    let bytes: Int
    switch unit {
    case "", "B": bytes = 1
    case "kB", "KB": bytes = 1_000
    case "MB": bytes = 1_000_000
    case "GB": bytes = 1_000_000_000
    case "TB": bytes = 1_000_000_000_000
    case "KiB": bytes = 1 << 10
    case "MiB": bytes = 1 << 20
    case "GiB": bytes = 1 << 30
    case "TiB": bytes = 1 << 40
    default: return nil
    }
    let (product, overflow) = number.multipliedReportingOverflow(by: bytes)
    return overflow ? nil : product
  }

  static let sizePattern = "^[0-9]+(B|kB|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$"

  private static func split(_ text: String) -> (number: Int, unit: Substring)? {
    let digits = text.utf8.prefix { $0 >= 48 && $0 <= 57 }
    guard !digits.isEmpty, let number = Int(String(text[..<digits.endIndex])) else { return nil }
    return (number, text[digits.endIndex...])
  }

  /// The duration in its largest whole unit, as it would be written in a file.
  public static func text(_ duration: Duration) -> String {
    let nanoseconds = duration.wholeNanoseconds
    let units: [(UInt64, String)] = [
      (86_400_000_000_000, "d"), (3_600_000_000_000, "h"), (60_000_000_000, "m"), (1_000_000_000, "s"),
      (1_000_000, "ms"), (1_000, "us"),
    ]
    if nanoseconds == 0 { return "0s" }
    for (unit, name) in units where nanoseconds % unit == 0 { return "\(nanoseconds / unit)\(name)" }
    return "\(nanoseconds)ns"
  }

  /// The size in its largest whole binary unit, as it would be written in a file.
  public static func text(bytes: Int) -> String {
    if bytes == 0 { return "0" }
    for (shift, name) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] where bytes % (1 << shift) == 0 {
      return "\(bytes >> shift)\(name)"
    }
    return "\(bytes)"
  }
}

/// Moments as RFC 3339 writes them.
public enum TimeText {
  /// Milliseconds since 1970 of a time like `2026-11-23T01:59:12.250Z` or `...+02:00`; nil where the text is none.
  /// Fractions below a millisecond are dropped; the second 60 is the next minute's first.
  public static func milliseconds(rfc3339 text: String) -> Int64? {
    let bytes = Array(text.utf8)
    func number(_ start: Int, _ count: Int) -> Int? {
      guard start + count <= bytes.count else { return nil }
      var value = 0
      for byte in bytes[start..<start + count] {
        guard byte >= 48, byte <= 57 else { return nil }
        value = value * 10 + Int(byte - 48)
      }
      return value
    }
    func isByte(_ place: Int, _ options: StaticString) -> Bool {
      place < bytes.count && options.withUTF8Buffer { $0.contains(bytes[place]) }
    }
    guard let year = number(0, 4), isByte(4, "-"), let month = number(5, 2), isByte(7, "-"), let day = number(8, 2),
      isByte(10, "Tt "), let hour = number(11, 2), isByte(13, ":"), let minute = number(14, 2), isByte(16, ":"),
      let second = number(17, 2)
    else { return nil }
    guard (1...12).contains(month), (1...daysIn(month, of: year)).contains(day), hour < 24, minute < 60, second <= 60
    else { return nil }
    var place = 19
    var fraction = 0
    if isByte(place, ".") {
      place += 1
      var digits = 0
      while place < bytes.count, bytes[place] >= 48, bytes[place] <= 57 {
        if digits < 3 { fraction = fraction * 10 + Int(bytes[place] - 48) }
        digits += 1
        place += 1
      }
      guard digits > 0 else { return nil }
      for _ in min(digits, 3)..<3 { fraction *= 10 }
    }
    var offsetMinutes = 0
    if isByte(place, "Zz") {
      place += 1
    } else if isByte(place, "+-") {
      guard let hours = number(place + 1, 2), isByte(place + 3, ":"), let minutes = number(place + 4, 2), hours < 24,
        minutes < 60
      else { return nil }
      offsetMinutes = (hours * 60 + minutes) * (bytes[place] == UInt8(ascii: "-") ? -1 : 1)
      place += 6
    } else {
      return nil
    }
    guard place == bytes.count else { return nil }
    let minutes = (daysSince1970(year, month, day) * 24 + hour) * 60 + minute - offsetMinutes
    return Int64((minutes * 60 + second) * 1000 + fraction)
  }

  /// `2026-11-23T01:59:12.250Z`.
  public static func rfc3339(milliseconds: Int64) -> String {
    let days = Int(milliseconds.floorDivided(by: 86_400_000))
    let rest = Int(milliseconds - Int64(days) * 86_400_000)
    let (year, month, day) = civil(days)
    func padded(_ number: Int, _ width: Int) -> String {
      let text = String(number)
      return String(repeating: "0", count: max(0, width - text.utf8.count)) + text
    }
    return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T\(padded(rest / 3_600_000, 2)):"
      + "\(padded(rest / 60_000 % 60, 2)):\(padded(rest / 1000 % 60, 2)).\(padded(rest % 1000, 3))Z"
  }

  private static func daysIn(_ month: Int, of year: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// The Gregorian calendar counted in eras of 400 years that begin in March, so that a leap day ends a year.
  private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = shifted.floorDivided(by: 400)
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }

  private static func civil(_ days: Int) -> (year: Int, month: Int, day: Int) {
    let shifted = days + 719_468
    let era = shifted.floorDivided(by: 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    return (year, month, dayOfYear - (153 * monthFromMarch + 2) / 5 + 1)
  }
}

extension BinaryInteger {
  /// The quotient rounded down, also for negative numbers.
  fileprivate func floorDivided(by divisor: Self) -> Self {
    let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? quotient - 1 : quotient
  }
}
