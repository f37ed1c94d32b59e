import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  /// The table of what may happen to a delivery whose dispatcher dies.
  ///
  /// After a crash a claim's lease has to pass, 6 seconds here: the cases of a test run side by side.
  @Suite("A dispatcher that is killed at a named place")
  struct DispatchCrashTests {
    /// What must have come of 40 deliveries to four destinations, four at a time each.
    struct Case: Sendable, CustomStringConvertible {
      var place: String
      /// Deliveries sent again after the crash.
      var repeats: ClosedRange<Int>
      var description: String { place }
    }

    static let count = 40
    static let cases = [
      Case(place: "before-claim:1", repeats: 0...0),
      Case(place: "before-claim:30", repeats: 0...32),
      Case(place: "claimed-and-not-sent:1", repeats: 0...0),
      Case(place: "sent-and-not-judged:1", repeats: 1...16),
      Case(place: "sent-and-not-judged:20", repeats: 1...32),
      Case(place: "delivered-and-not-settled:1", repeats: 1...16),
      Case(place: "delivered-and-not-settled:25", repeats: 1...32),
      // All are settled by then.
      Case(place: "settled-and-not-passed:40", repeats: 0...0),
      Case(place: "settled-and-not-passed:20", repeats: 0...32),
    ]

    @Test("Each comes at least once, and again only what was in flight", arguments: DispatchBench.Store.allCases)
    func table(_ store: DispatchBench.Store) async throws {
      try await inParallel(Self.cases, atOnce: 5) { one in
        try await DispatchBench.with(store, .init(checkpointInterval: "60s")) { desk in
          try await desk.send(0..<Self.count)
          let crash = try await desk.crash(one.place)
          #expect(try await desk.committed() < desk.end(), "\(one): the position had passed")
          try await desk.finish()
          let report = desk.checker(0..<Self.count, [crash]).check(try desk.receiver.arrivals())
          #expect(report.isClean, "\(one) on \(store): \(report.summary)")
          #expect(one.repeats.contains(report.repeats), "\(one) on \(store): \(report.summary)")
          #expect(try await desk.committed() == desk.end())
          #expect(try await desk.deadLetters().isEmpty)
        }
      }
    }

    @Test(
      "Again and again at the same places: one extra request for each crash", arguments: DispatchBench.Store.allCases)
    func again(_ store: DispatchBench.Store) async throws {
      let places = ["sent-and-not-judged:7", "delivered-and-not-settled:7", "settled-and-not-passed:7"]
      try await inParallel(places, atOnce: 3) { place in
        try await DispatchBench.with(store) { desk in
          try await desk.send(0..<200)
          var crashes: [Disturbance] = []
          for _ in 0..<5 { crashes.append(try await desk.crash(place)) }
          try await desk.finish()
          var checker = desk.checker(0..<200, crashes)
          checker.inFlight = 32
          let report = checker.check(try desk.receiver.arrivals())
          #expect(report.isClean, "\(place) on \(store): \(report.summary)")
        }
      }
    }

    @Test(
      "Between a retry's copy and the store: two copies are one delivery, and its attempts are counted once",
      arguments: DispatchBench.Store.allCases)
    func storedAndNotSettled(_ store: DispatchBench.Store) async throws {
      var options = DispatchBench.Options()
      options.retry = ["inMemory": "0s", "base": "800ms", "cap": "900ms", "tiers": ["1s"], "attempts": 3]
      try await DispatchBench.with(store, options) { desk in
        // Half of them succeed at the second attempt, the others never.
        try await desk.send(0..<20) { $0 % 2 == 0 ? "once?fail=1" : "never?status=500" }
        let crash = try await desk.crash("stored-and-not-settled:4")
        try await desk.finish()
        let arrivals = try desk.receiver.arrivals()
        let even = arrivals.filter { $0.target.contains("once") }
        #expect(Set(even.filter(\.isAcknowledged).map(\.id)).count == 10)
        for (id, all) in Dictionary(grouping: arrivals, by: \.id) {
          let before = all.count { $0.time <= crash.from }
          let succeeds = all[0].target.contains("once")
          let most = succeeds ? 2 : 3
          #expect(all.count <= most + (before > 0 ? 1 : 0), "\(id) came \(all.count) times")
          // A first attempt that was claimed at the crash counts for those that never succeed, though it was not sent.
          let least = succeeds || before > 0 ? most : most - 1
          #expect(all.count >= least, "\(id) came \(all.count) times, \(before) of them before the crash")
        }
        let letters = try await desk.deadLetters()
        #expect(Set(letters.compactMap { $0.headers["dx-id"] }).count == 10)
        #expect(letters.allSatisfy { $0.headers["dx-reason"] == "exhausted" })
        #expect(letters.allSatisfy { $0.headers["dx-attempts"] == "3" })
        #expect(try await desk.committed() == desk.end())
      }
    }

    @Test(
      "Between a dead letter and the store: at most one more letter of the same id, and no more attempts",
      arguments: DispatchBench.Store.allCases)
    func deadAndNotSettled(_ store: DispatchBench.Store) async throws {
      try await DispatchBench.with(store) { desk in
        try await desk.send(0..<20) { _ in "gone?status=400" }
        let crash = try await desk.crash("dead-and-not-settled:5")
        try await desk.finish()
        let letters = try await desk.deadLetters()
        let ofID = Dictionary(grouping: letters) { $0.headers["dx-id"] ?? "" }
        #expect(Set(ofID.keys) == Set((0..<20).map { DispatchBench.id($0) }))
        #expect(ofID.values.allSatisfy { $0.count <= 2 })
        for (id, all) in Dictionary(grouping: try desk.receiver.arrivals(), by: \.id) {
          // What a killed process had written is read by the receiver a moment later.
          #expect(all.count <= (all[0].time <= crash.from + 500 ? 2 : 1), "\(id) came \(all.count) times")
        }
      }
    }

    @Test("While an answer is awaited: it is sent again once the lease has passed, with the same id")
    func whileWaiting() async throws {
      try await inParallel(DispatchBench.Store.allCases, atOnce: 2) { store in
        try await DispatchBench.with(store, .init(delivery: ["timeout": "5s"])) { desk in
          try await desk.send(0..<1) { _ in "slow?hang=3s" }
          let process = try desk.start()
          try await process.wait("the request") { try !desk.receiver.arrivals().isEmpty }
          process.signal(SIGKILL)
          _ = try await process.end()
          let crash = Disturbance()
          try await desk.finish()
          let arrivals = try desk.receiver.arrivals()
          var checker = desk.checker(0..<1, [crash])
          checker.attempt = 5000
          let report = checker.check(arrivals)
          #expect(report.isClean && report.repeats == 1, "\(report.summary)")
          // Nobody may send it while the first attempt may be under way: its lease began just before it arrived.
          #expect(arrivals.last.map { $0.time - arrivals[0].time } ?? 0 >= 9000)
        }
      }
    }

    @Test("To be sent at most once: what may have arrived becomes a dead letter")
    func atMostOnce() async throws {
      let places = ["sent-and-not-judged:1", "delivered-and-not-settled:10", "claimed-and-not-sent:5"]
      try await inParallel(places, atOnce: 3) { place in
        try await DispatchBench.with(.sqlite, .init(delivery: ["mode": "at-most-once"])) { desk in
          try await desk.send(0..<40)
          _ = try await desk.crash(place)
          try await desk.finish()
          let arrivals = try desk.receiver.arrivals()
          let letters = try await desk.deadLetters()
          #expect(Set(arrivals.map(\.id)).count == arrivals.count, "\(place): something came twice")
          #expect(letters.allSatisfy { $0.headers["dx-reason"] == "ambiguous" })
          #expect(!letters.isEmpty)
          let ends = Set(arrivals.map(\.id)).union(letters.compactMap { $0.headers["dx-id"] })
          #expect(ends == Set((0..<40).map { DispatchBench.id($0) }), "\(place)")
        }
      }
    }
  }
}

/// Runs a body for each item, so many at a time.
func inParallel<Item: Sendable>(
  _ items: [Item], atOnce: Int, _ body: @escaping @Sendable (Item) async throws -> Void
) async throws {
  try await withThrowingTaskGroup(of: Void.self) { group in
    var rest = items[...]
    for item in rest.prefix(atOnce) { group.addTask { try await body(item) } }
    rest = rest.dropFirst(atOnce)
    while try await group.next() != nil {
      if let item = rest.popFirst() { group.addTask { try await body(item) } }
    }
  }
}
