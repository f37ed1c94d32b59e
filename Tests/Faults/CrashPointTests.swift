import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("Killed at a named place")
  struct CrashPointTests {
    /// Starts an armed process and shows that the place was reached.
    static func crash(
      _ bench: Workbench, _ place: String, _ arguments: String = "--until-idle", defect: String? = nil
    ) async throws {
      try await crash(bench, place, [arguments], defect: defect)
    }

    static func crash(
      _ bench: Workbench, _ place: String, _ arguments: [String], defect: String? = nil
    ) async throws {
      try await expectCrash(try bench.start(arguments, crash: place, defect: defect), place)
    }

    /// Waits for the end of an armed process, and shows that the place was reached.
    private static func expectCrash(_ process: DatabusProcess, _ place: String) async throws {
      let end = try await process.end()
      #expect(end == .killed(signal: SIGKILL), "\(place) did not fire: \(end), \(process.errors.suffix(500))")
      let name = place.hasPrefix("record:") ? place : String(place.prefix { $0 != ":" })
      #expect(process.errors.contains("databus: crash point \(name) reached"))
    }

    @Test("Sent and unconfirmed: nothing is lost, and what had been sent is sent again with the same id and bytes")
    func sentAndUnconfirmed() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(1000, seed: 1))
        try await Self.crash(bench, "sent-and-unconfirmed:1")
        #expect(try await bench.committed() ?? 1 == 1)
        // One batch goes to the log in one transaction: it is there as a whole or not at all.
        let before = try await bench.end(of: Workbench.results) - 1
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(before == 0 || before == report.expected)
        #expect(report.repeats == Int(before))
      }
    }

    @Test("Confirmed and not applied: all of it comes once more")
    func confirmedAndNotApplied() async throws {
      // No checkpoint but the one at the start and the one that finds everything ended.
      try await Workbench.with(.init(checkpointInterval: "60s")) { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(1000, seed: 2))
        try await Self.crash(bench, "confirmed-and-not-applied:2")
        #expect(try await bench.committed() == 1)
        let before = try await bench.end(of: Workbench.results) - 1
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(before == report.expected, "all were confirmed")
        #expect(report.repeats == report.expected)
      }
    }

    @Test("Applied and not committed: the state is believed, and nothing comes twice")
    func appliedAndNotCommitted() async throws {
      try await Workbench.with(.init(checkpointInterval: "60s")) { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(1000, seed: 3))
        try await Self.crash(bench, "applied-and-not-committed:2")
        #expect(try await bench.committed() == 1)
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
        #expect(try await bench.committed() == 1001)
      }
    }

    @Test("During the restore, at the first start and at a later one: nothing has happened yet")
    func duringRestore() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        var sent = try await bench.append(ModelEvent.some(1000, seed: 4))
        try await Self.crash(bench, "during-restore:1")
        #expect(try await bench.end(of: Workbench.results) == 1)
        try await bench.finish()
        sent += try await bench.append(ModelEvent.some(1000, from: 1000, seed: 5))
        for _ in 0..<3 { try await Self.crash(bench, "during-restore:1") }
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
      }
    }

    @Test("At a record: the one before it and the one after it are unharmed")
    func atRecord() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(10_000, seed: 6))
        for _ in 0..<3 { try await Self.crash(bench, "record:events/0/5000") }
        try await bench.finish()
        let report = try await bench.check(sent, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
      }
    }

    @Test(
      "At each place under load, again and again: at least once, and repeats only of what no checkpoint covered",
      arguments: ["sent-and-unconfirmed:5", "confirmed-and-not-applied:2", "applied-and-not-committed:2"])
    func underLoad(_ place: String) async throws {
      try await Workbench.with(.init(checkpointInterval: "10ms", limits: ["batchRecords": 200])) { bench in
        try await bench.append(ModelRule.usual)
        var sent: [SentEvent] = []
        var kills: [Kill] = []
        func append() async throws {
          sent += try await bench.append(ModelEvent.some(4000, from: sent.count, seed: 7))
        }
        for _ in 0..<5 {
          try await append()
          let process = try bench.start(crash: place)
          // A fast machine may have routed all of it by its first checkpoint: then there is more for a second one.
          let end = UInt64(sent.count + 1)
          if try await process.waitOrEnd("the end of the events", { try await bench.committed() == end }) {
            try await append()
          }
          try await Self.expectCrash(process, place)
          kills.append(try await Kill(bench))
        }
        try await bench.finish()
        let report = try await Kill.check(bench, sent, kills)
        #expect(report.isClean, "\(report.summary)")
      }
    }

    @Test("A crash point that cannot be read ends the process: no test passes because nothing was armed")
    func unreadable() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        _ = try await bench.append(ModelEvent.some(10, seed: 8))
        let process = try bench.start("--until-idle", crash: "sent-and-unconfirmed")
        #expect(try await process.end() == .exited(2))
      }
    }
  }

  /// How things stood right after a process was killed.
  struct Kill {
    /// The position of the result that comes next.
    var resultsEnd: UInt64
    /// The commit, which is never ahead of the state.
    var committed: UInt64
    /// Open slots at the moment of the kill.
    var open: Int
    /// How far events had been read.
    var read: UInt64

    init(_ bench: Workbench) async throws {
      open = bench.gauge.open
      read = bench.gauge.read
      resultsEnd = try await bench.end(of: Workbench.results)
      committed = try await bench.committed() ?? 1
    }

    /// The usual check, and that after each kill nothing came again that a checkpoint had covered.
    static func check(
      _ bench: Workbench, _ sent: [SentEvent], _ kills: [Kill], isPrinted: Bool = false
    ) async throws -> DeliveryReport {
      let timestamps = Dictionary(
        uniqueKeysWithValues: try await bench.records(of: "events").map { ($0.position, $0.timestamp) })
      var checker = DeliveryChecker(sent, ModelRule.usual, timestamps: timestamps)
      for record in try await bench.records(of: Workbench.results) { checker.take(record) }
      for record in try await bench.records(of: Workbench.deadLetters) { checker.takeDeadLetter(record) }
      var report = checker.finish()
      for (index, kill) in kills.enumerated() {
        let end = index + 1 < kills.count ? kills[index + 1].resultsEnd : .max
        let after = checker.repeated.filter { $0.result >= kill.resultsEnd && $0.result < end }
        let early = after.filter { $0.event < kill.committed }
        for one in early {
          report.violations["repeated though a checkpoint covered it", default: []].append(
            "result \(one.result), events/0/\(one.event), committed \(kill.committed)")
        }
        if isPrinted {
          print(
            "  kill \(index + 1): read up to \(kill.read), \(kill.open) slots open, committed \(kill.committed), then \(after.count) repeats"
          )
        }
      }
      return report
    }
  }
}
