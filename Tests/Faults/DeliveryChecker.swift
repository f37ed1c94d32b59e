import Foundation

#if canImport(Glibc)
  import Glibc
#endif

/// What the checker found.
struct DeliveryReport: Sendable {
  /// Every way in which the streams are not as they must be; empty where all is well.
  var violations: [String: [String]] = [:]
  /// Results that had to come.
  var expected = 0
  /// Results that came, repeats included.
  var results = 0
  var repeats = 0

  var isClean: Bool { violations.isEmpty }
  var lost: Int { violations["lost"]?.count ?? 0 }

  /// For people: each kind with its number and the first few.
  var summary: String {
    if isClean { return "\(expected) expected, \(results) came, \(repeats) repeats, nothing lost" }
    return violations.sorted { $0.key < $1.key }.map { kind, all in
      "\(all.count) \(kind): \(all.prefix(5).joined(separator: "; "))"
    }.joined(separator: "\n")
  }
}

/// Compares the results stream with what was sent, by sets. What must be there is computed from events and rules alone.
///
/// It finds: results that are missing, that nobody called for, whose bytes are not exactly what they must be, repeats with another id
/// or other bytes, one id for two deliveries, first appearances out of order, and dead letters that should not be.
struct DeliveryChecker {
  private struct Key: Hashable {
    var position: UInt64
    var rule: Int
  }

  private struct Place {
    var event: ModelEvent
    var timestamp: Int64
  }

  private let rules: [ModelRule]
  private var ruleIndex: [String: Int] = [:]
  private let heads: [[UInt8]]
  private var places: [UInt64: Place] = [:]
  private var missing: Set<Key> = []
  private var ids: [Key: [UInt8]] = [:]
  private var owners: [[UInt8]: Key] = [:]
  private var lastFirst: [Int: UInt64] = [:]
  private var report = DeliveryReport()
  /// The events whose delivery stands in the stream for a second time, in the order of the stream, with the result's own position.
  private(set) var repeated: [(result: UInt64, event: UInt64)] = []

  init(_ sent: [SentEvent], _ rules: [ModelRule], timestamps: [UInt64: Int64]) {
    self.rules = rules
    heads = rules.map { Array("{\"destination\":\"\($0.destination)\",\"payload\":".utf8) }
    for (index, rule) in rules.enumerated() { ruleIndex[rule.id] = index }
    var matching: [String: [Int]] = [:]
    for item in sent {
      let type = item.event.type
      if matching[type] == nil { matching[type] = rules.indices.filter { rules[$0].matches(type) } }
      for rule in matching[type] ?? [] { missing.insert(Key(position: item.position, rule: rule)) }
      if places.updateValue(
        Place(event: item.event, timestamp: timestamps[item.position] ?? .min), forKey: item.position) != nil
      {
        report.violations["appended twice at one position", default: []].append("\(item.position)")
      }
    }
    report.expected = missing.count
  }

  private mutating func fail(_ kind: String, _ text: String) { report.violations[kind, default: []].append(text) }

  /// Looks at one record of the results stream.
  mutating func take(_ record: StoredRecord) {
    report.results += 1
    let locator = "result \(record.position)"
    guard let value = record.value, let tail = Tail(value), let rule = ruleIndex[tail.rule] else {
      return fail("unreadable", "\(locator): \(String(decoding: record.value ?? [], as: UTF8.self).prefix(300))")
    }
    let parts = tail.event.split(separator: "/")
    guard parts.count == 3, parts[0] == "events", parts[1] == "0", let position = UInt64(parts[2]),
      let place = places[position]
    else { return fail("of no event that was sent", "\(locator): \(tail.event)") }
    let key = Key(position: position, rule: rule)
    let name = "\(tail.event) by \(tail.rule)"
    guard rules[rule].matches(place.event.type) else { return fail("not called for", "\(locator): \(name)") }
    guard isExact(value, rule, place, tail) else {
      return fail("not the exact bytes", "\(locator): \(String(decoding: value, as: UTF8.self).prefix(300))")
    }
    if let known = ids[key] {
      report.repeats += 1
      repeated.append((record.position, position))
      if known != tail.id { fail("repeated with another id", "\(locator): \(name)") }
      return
    }
    ids[key] = tail.id
    if let owner = owners.updateValue(key, forKey: tail.id) {
      fail("one id for two deliveries", "\(locator): \(name) and events/0/\(owner.position) by \(rules[owner.rule].id)")
    }
    if let last = lastFirst.updateValue(position, forKey: rule), last > position {
      fail("out of order", "\(locator): \(name) after events/0/\(last)")
    }
    missing.remove(key)
  }

  /// Every byte is known but for the id's.
  private func isExact(_ value: [UInt8], _ rule: Int, _ place: Place, _ tail: Tail) -> Bool {
    var wanted = heads[rule]
    wanted += place.event.payload
    wanted += Array(",\"id\":\"".utf8)
    wanted += tail.id
    wanted += Array("\",\"rule\":\"\(tail.rule)\",\"event\":\"\(tail.event)\",\"timestamp\":\(place.timestamp)}".utf8)
    return wanted.count == value.count && memcmp(wanted, value, wanted.count) == 0
  }

  /// What stands behind the payload.
  private struct Tail {
    var id: [UInt8]
    var rule: String
    var event: String

    init?(_ value: [UInt8]) {
      // The brace before the last one ends the payload: none of the suite's rule ids has one.
      let found: Int? = value.withUnsafeBytes { bytes in
        var index = bytes.count - 2
        while index >= 0, bytes[index] != UInt8(ascii: "}") { index -= 1 }
        return index < 0 ? nil : index
      }
      guard let found, found + 2 < value.count, value[found + 1] == UInt8(ascii: ",") else { return nil }
      let object = Data([UInt8(ascii: "{")] + value[(found + 2)...])
      guard let members = try? JSONSerialization.jsonObject(with: object) as? [String: Any],
        Set(members.keys) == ["id", "rule", "event", "timestamp"], let id = members["id"] as? String,
        let rule = members["rule"] as? String, let event = members["event"] as? String
      else { return nil }
      self.id = Array(id.utf8)
      guard self.id.count == 32, self.id.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
      else { return nil }
      self.rule = rule
      self.event = event
    }
  }

  /// Where nothing is wrong with what was sent, nothing is set aside.
  mutating func takeDeadLetter(_ record: StoredRecord) {
    fail("set aside without reason", "\(record.headers["dx-offset"] ?? "?"): \(record.headers["dx-detail"] ?? "?")")
  }

  mutating func finish() -> DeliveryReport {
    for key in missing.sorted(by: { ($0.position, $0.rule) < ($1.position, $1.rule) }) {
      fail("lost", "events/0/\(key.position) by \(rules[key.rule].id)")
    }
    return report
  }
}
