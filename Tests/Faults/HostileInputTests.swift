import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("10,000 hostile records")
  struct HostileInputTests {
    private static let limits = ["eventBytes": HostileInput.maximumBytes, "depth": HostileInput.maximumDepth]

    @Test(
      "Each hostile event is set aside once, whole and with its reason; each valid oddity between them is delivered; kills change none of it"
    )
    func events() async throws {
      let seed: UInt64 = 61
      print("hostile events: seed \(seed)")
      var input = HostileInput(seed: seed)
      try await Workbench.with(.init(checkpointInterval: "50ms", limits: Self.limits)) { bench in
        try await bench.append(ModelRule.usual)
        var values: [[UInt8]] = []
        var oddities: [Int: ModelEvent] = [:]
        var hostile: [Int: (bytes: [UInt8], reasons: Set<String>)] = [:]
        while hostile.count < 10_000 {
          let number = values.count
          if input.chance(30) {
            let event = input.oddity(number)
            oddities[number] = event
            values.append(event.bytes)
          } else {
            let kinds = HostileInput.Kind.allCases
            let event = input.event(kinds[hostile.count % kinds.count], number)
            hostile[number] = event
            values.append(event.bytes)
          }
        }
        let positions = try await bench.append(values, to: "events")
        for record in [1000, 6000] { try await CrashPointTests.crash(bench, "record:events/0/\(record)") }
        try await bench.finish()

        // The valid ones: exactly, in order, at least once.
        let sent = oddities.sorted { $0.key < $1.key }.map { SentEvent(event: $0.value, position: positions[$0.key]) }
        var checker = DeliveryChecker(
          sent, ModelRule.usual,
          timestamps: Dictionary(
            uniqueKeysWithValues: try await bench.records(of: "events").map { ($0.position, $0.timestamp) }))
        for record in try await bench.records(of: Workbench.results) { checker.take(record) }
        let report = checker.finish()
        #expect(report.isClean, "\(report.summary)")
        #expect(report.expected >= 3000)

        // The hostile ones: each has its dead letter, and every repeat of it the same id.
        var ids: [UInt64: String] = [:]
        var wrong: [String] = []
        let byPosition = Dictionary(uniqueKeysWithValues: hostile.map { (positions[$0.key], $0.value) })
        for record in try await bench.records(of: Workbench.deadLetters) {
          let headers = record.headers
          guard let position = headers["dx-offset"].flatMap({ UInt64($0) }), let event = byPosition[position] else {
            wrong.append("for no hostile record: \(headers)")
            continue
          }
          let reason = headers["dx-reason"] ?? ""
          if !event.reasons.contains(reason) {
            wrong.append(
              "\(reason) and not \(event.reasons): \(String(decoding: event.bytes.prefix(200), as: UTF8.self))")
          }
          if headers["dx-topic"] != "events" || headers["dx-partition"] != "0" || (headers["dx-detail"] ?? "").isEmpty {
            wrong.append("incomplete: \(headers)")
          }
          if record.value != event.bytes { wrong.append("not the record's bytes: events/0/\(position)") }
          let id = headers["dx-id"] ?? ""
          if id.isEmpty || ids.updateValue(id, forKey: position) ?? id != id {
            wrong.append("another id: events/0/\(position)")
          }
        }
        #expect(wrong.isEmpty, "\(wrong.count): \(wrong.prefix(5))")
        #expect(ids.count == 10_000, "\(10_000 - ids.count) hostile records were dropped in silence")
        #expect(Set(ids.values).count == ids.count, "two dead letters share an id")
      }
    }

    @Test(
      "10,000 records that are no rules: each is set aside with the reason, and the rules between them stay in force")
    func rules() async throws {
      let seed: UInt64 = 62
      print("hostile rules: seed \(seed)")
      var input = HostileInput(seed: seed)
      try await Workbench.with(.init(limits: Self.limits)) { bench in
        var values: [[UInt8]] = []
        var valid = 0
        while values.count - valid < 10_000 {
          if values.count % 2500 == 1250 {
            let rule = ModelRule.usual[valid % ModelRule.usual.count]
            valid += 1
            values.append(Array(rule.json.utf8))
          } else {
            values.append(input.rule(values.count))
          }
        }
        #expect(valid >= 4)
        let positions = try await bench.append(values, to: "rules")
        let sent = try await bench.append(ModelEvent.some(1000, seed: 63))
        try await CrashPointTests.crash(bench, "record:rules/0/5000")
        try await bench.finish()
        var checker = DeliveryChecker(
          sent, ModelRule.usual,
          timestamps: Dictionary(
            uniqueKeysWithValues: try await bench.records(of: "events").map { ($0.position, $0.timestamp) }))
        for record in try await bench.records(of: Workbench.results) { checker.take(record) }
        let report = checker.finish()
        #expect(report.isClean, "\(report.summary)")

        let hostile = Dictionary(
          uniqueKeysWithValues: zip(positions, values).filter { place in
            !ModelRule.usual.contains { Array($0.json.utf8) == place.1 }
          })
        var seen: Set<UInt64> = []
        for record in try await bench.records(of: Workbench.deadLetters) {
          let position = try #require(record.headers["dx-offset"].flatMap { UInt64($0) })
          #expect(record.headers["dx-reason"] == "rule_invalid")
          #expect(record.headers["dx-detail"]?.isEmpty == false)
          #expect(record.value == hostile[position], "rules/0/\(position)")
          seen.insert(position)
        }
        #expect(seen == Set(hostile.keys), "\(hostile.count - seen.count) were dropped in silence")
      }
    }
  }
}
