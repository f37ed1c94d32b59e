/// The events that benchmarks use: 178 bytes each, one type a rule.
enum SampleEvents {
  static func type(_ number: Int) -> String {
    let digits = String(number)
    return "user:event" + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
  }

  /// One event of 178 bytes.
  static func event(type number: Int, user: Int) -> String {
    let id = String(100_000_000 + user % 100_000_000)
    return
      "{\"type\":\"\(type(number))\",\"time\":\"2026-11-23T01:39:09.123Z\",\"data\":{\"userId\":\(id),\"email\":\"someone@ex.com\",\"plan\":\"enterprise\",\"amount\":19.99,\"country\":\"DE\",\"active\":true}}"
  }

  static func rule(_ number: Int) -> String {
    "{\"ruleId\":\"rule_\(number)\",\"events\":[\"\(type(number))\"],\"destinationUrl\":\"https://foo.bar/baz\",\"filters\":[],\"transforms\":[]}"
  }
}
