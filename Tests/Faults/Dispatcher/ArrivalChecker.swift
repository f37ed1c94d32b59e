import Foundation

/// A moment at which a dispatcher was killed, stopped, or lost what it remembered.
struct Disturbance: Sendable {
  /// Milliseconds since 1970: from when on it cannot have settled anything.
  var from: Int64
  /// When the dispatcher went on, or another could.
  var to: Int64

  init(from: Int64 = Disturbance.now, to: Int64? = nil) {
    self.from = from
    self.to = to ?? from
  }

  static var now: Int64 { Int64(Date().timeIntervalSince1970 * 1000) }
}

/// What the receiver's log says of a run.
struct ArrivalReport {
  /// Every way in which it is not as it must be; empty where all is well.
  var violations: [String: [String]] = [:]
  var arrivals = 0
  /// Requests for deliveries that had been acknowledged before.
  var repeats = 0
  /// The longest time from an arrival to the disturbance that explains its repeat, in milliseconds.
  var oldestRepeat: Int64 = 0

  var isClean: Bool { violations.isEmpty }
  var summary: String {
    let wrong = violations.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.count) (\($0.value.prefix(5)))" }
    return "\(arrivals) arrivals, \(repeats) repeats; " + (wrong.isEmpty ? "clean" : wrong.joined(separator: "; "))
  }
}

/// Compares what arrived with what was to arrive, by the numbers that payloads carry.
struct ArrivalChecker {
  /// Where its result names an id: of each number.
  var ids: [Int: String] = [:]
  var numbers: Range<Int>
  var disturbances: [Disturbance] = []
  /// A delivery is in flight, and may come again, where it arrived no longer than this before a disturbance, in milliseconds.
  var window: Int64 = 3000
  /// What a process sent before its end may be read by the receiver so long after it, in milliseconds.
  var late: Int64 = 500
  /// How many may be in flight at one disturbance.
  var inFlight = 64
  /// How long an attempt may go on, in milliseconds: no other may begin meanwhile.
  var attempt: Int64 = 1000

  func check(_ arrivals: [Arrival]) -> ArrivalReport {
    var report = ArrivalReport()
    report.arrivals = arrivals.count
    func add(_ kind: String, _ what: String) { report.violations[kind, default: []].append(what) }
    var known = ids
    var acknowledged: [Int: [Arrival]] = [:]
    var ofID: [String: Int] = [:]
    for arrival in arrivals {
      guard let number = arrival.number, numbers.contains(number) else {
        add("of nothing that was sent", String(arrival.body.prefix(100)))
        continue
      }
      if let id = known[number], id != arrival.id { add("with another id", "\(number): \(arrival.id), \(id)") }
      known[number] = arrival.id
      if let other = ofID.updateValue(number, forKey: arrival.id), other != number {
        add("one id for two deliveries", "\(other), \(number)")
      }
      if arrival.isAcknowledged { acknowledged[number, default: []].append(arrival) }
    }
    var explained = [Int](repeating: 0, count: disturbances.count)
    for number in numbers {
      guard let all = acknowledged[number] else {
        add("lost", "\(number)")
        continue
      }
      report.repeats += all.count - 1
      for (first, second) in zip(all, all.dropFirst()) {
        func cause(_ late: Int64) -> Int? {
          disturbances.firstIndex { one in
            first.time <= one.to + late && one.from <= second.time && one.from - first.time <= window
          }
        }
        guard let cause = cause(0) ?? cause(late) else {
          add("repeated though it was not in flight", "\(number): at \(first.time) and \(second.time)")
          continue
        }
        if second.time - first.time < attempt {
          add("two attempts at a time", "\(number): at \(first.time) and \(second.time)")
        }
        explained[cause] += 1
        report.oldestRepeat = max(report.oldestRepeat, disturbances[cause].from - first.time)
      }
      // Each disturbance makes one extra request at most.
      if all.count > 1 + disturbances.count { add("more repeats than disturbances", "\(number)") }
    }
    for (index, count) in explained.enumerated() where count > inFlight {
      add("more repeats than can have been in flight", "\(count) of disturbance \(index + 1)")
    }
    return report
  }
}
