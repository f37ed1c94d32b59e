import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  /// The checker is worth nothing if it finds nothing.
  @Suite("The checker, with a defect injected")
  struct DefectTests {
    @Test("A router that commits the highest position seen loses results, and the checker says so")
    func commitHighest() async throws {
      // A checkpoint for each batch that was read, right when it was: whatever the machine's speed, its slots are still open.
      let options = Workbench.Options(
        checkpointInterval: "60s", checkpointRecords: 500, limits: ["batchRecords": 500])
      try await Workbench.with(options) { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(20_000, seed: 11))
        var kills = 0
        for _ in 0..<5 {
          let process = try bench.start(crash: "applied-and-not-committed:4", defect: "commit-highest")
          if try await process.waitOrEnd("the end of the events", { bench.gauge.read > 20_000 }) {
            process.signal(SIGKILL)
          }
          #expect(try await process.end() == .killed(signal: SIGKILL))
          kills += 1
        }
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        print("commit-highest, \(kills) kills: \(report.lost) results lost")
        #expect(report.lost > 0, "the checker did not see the defect: \(report.summary)")
      }
    }

    @Test("A router that skips a slot loses exactly those results, and the checker names them")
    func skipSlot() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(5000, seed: 12))
        let process = try bench.start("--until-idle", defect: "skip-slot")
        #expect(try await process.end() == .exited(0))
        let report = try await bench.check(sent, ModelRule.usual)
        let skipped = sent.filter { $0.position % 997 == 0 }
        let wanted = skipped.flatMap { item in
          ModelRule.usual.filter { $0.matches(item.event.type) }.map { "events/0/\(item.position) by \($0.id)" }
        }
        #expect(!wanted.isEmpty)
        #expect(report.violations == ["lost": wanted])
      }
    }

    @Test("Without a defect the same run is clean")
    func none() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(5000, seed: 12))
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.expected > 4000)
        #expect(report.repeats == 0)
      }
    }
  }

  /// Each kind of thing that can be wrong with a stream, made by hand.
  @Suite("The checker, with records made by hand")
  struct CheckerTests {
    static let rule = ModelRule(id: "r", types: ["t"], destination: "https://a.example/")
    static let sent = [1, 2].map { SentEvent(event: ModelEvent(Int($0), type: "t"), position: $0) }
    static let timestamps: [UInt64: Int64] = [1: 100, 2: 100]

    static func line(
      _ position: UInt64, id: Character, rule: String = "r", timestamp: Int = 100,
      destination: String = "https://a.example/"
    ) -> [UInt8] {
      let payload = String(decoding: ModelEvent(Int(position), type: "t").bytes, as: UTF8.self)
      return Array(
        "{\"destination\":\"\(destination)\",\"payload\":\(payload),\"id\":\"\(String(repeating: id, count: 32))\",\"rule\":\"\(rule)\",\"event\":\"events/0/\(position)\",\"timestamp\":\(timestamp)}"
          .utf8)
    }

    static func kinds(_ lines: [[UInt8]?], _ sent: [SentEvent] = sent) -> Set<String> {
      var checker = DeliveryChecker(sent, [rule], timestamps: timestamps)
      for (index, line) in lines.enumerated() {
        checker.take(StoredRecord(position: UInt64(index + 1), timestamp: 0, key: nil, value: line, headers: [:]))
      }
      return Set(checker.finish().violations.keys)
    }

    @Test("What is right is right, repeats included")
    func right() {
      #expect(Self.kinds([Self.line(1, id: "a"), Self.line(2, id: "b")]) == [])
      #expect(Self.kinds([Self.line(1, id: "a"), Self.line(2, id: "b"), Self.line(1, id: "a")]) == [])
    }

    @Test("Each thing that is wrong has its name")
    func wrong() {
      let first = Self.line(1, id: "a")
      let second = Self.line(2, id: "b")
      #expect(Self.kinds([first]) == ["lost"])
      #expect(Self.kinds([first, second, Self.line(1, id: "c")]) == ["repeated with another id"])
      #expect(Self.kinds([first, Self.line(2, id: "a")]) == ["one id for two deliveries"])
      #expect(Self.kinds([second, first]) == ["out of order"])
      #expect(Self.kinds([first, second, Self.line(1, id: "a", timestamp: 99)]) == ["not the exact bytes"])
      #expect(
        Self.kinds([first, second, Self.line(1, id: "a", destination: "https://b.example/")]) == ["not the exact bytes"]
      )
      #expect(Self.kinds([first, second, Self.line(3, id: "c")]) == ["of no event that was sent"])
      #expect(Self.kinds([first, second, Self.line(1, id: "a", rule: "other")]) == ["unreadable"])
      #expect(Self.kinds([first, second, Array("{}".utf8)]) == ["unreadable"])
      #expect(Self.kinds([first, second, nil]) == ["unreadable"])
      let other = [SentEvent(event: ModelEvent(1, type: "u"), position: 1), Self.sent[1]]
      #expect(Self.kinds([first, second], other) == ["not called for"])
    }
  }
}
