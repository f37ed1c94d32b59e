import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  /// The checker is worth nothing if it finds nothing.
  @Suite("The checker of arrivals, with a defect injected")
  struct DispatchDefectTests {
    @Test("A dispatcher that does not tell the store what has arrived sends it again, and the checker says so")
    func skippedDoneMark() async throws {
      try await DispatchBench.with(.sqlite, .init(checkpointInterval: "60s")) { desk in
        // Each result twice: the second one is to be found done.
        try await desk.send(0..<40)
        try await desk.send(0..<40)
        let process = try desk.start(defect: "skip-done-mark")
        try await process.wait("all arrivals") { try desk.receiver.arrivals().count >= 80 }
        process.signal(SIGTERM)
        _ = try await process.end()
        let report = desk.checker(0..<40).check(try desk.receiver.arrivals())
        print("skip-done-mark: \(report.summary)")
        #expect(report.violations["repeated though it was not in flight"]?.count == 40, "\(report.summary)")
      }
    }

    @Test("Leases shorter than the attempt let two go on at once, and the checker says so")
    func shortLease() async throws {
      try await DispatchBench.with(.sqlite, .init(delivery: ["timeout": "5s"])) { desk in
        try await desk.send(0..<1) { _ in "slow?hang=3s" }
        let process = try desk.start(defect: "short-lease")
        try await process.wait("the request") { try !desk.receiver.arrivals().isEmpty }
        // The receiver is at it still, and so would be a dispatcher that was only stopped.
        process.signal(SIGKILL)
        #expect(try await process.end() == .killed(signal: SIGKILL))
        let crash = Disturbance()
        try await desk.finish()
        var checker = desk.checker(0..<1, [crash])
        checker.attempt = 5000
        let report = checker.check(try desk.receiver.arrivals())
        print("short-lease: \(report.summary)")
        #expect(report.violations.keys.contains("two attempts at a time"), "\(report.summary)")
      }
    }

    @Test("A dispatcher that commits the highest position seen loses deliveries, and the checker says so")
    func commitHighest() async throws {
      try await DispatchBench.with(.sqlite, .init(checkpointInterval: "10ms")) { desk in
        // A destination that is slow: what stands behind its queue is read, and not delivered.
        try await desk.send(0..<200) { _ in "slow?hang=100ms" }
        let end = try await desk.end()
        let process = try desk.start(defect: "commit-highest")
        try await process.wait("a commit of everything") { try await desk.committed() == end }
        process.signal(SIGKILL)
        #expect(try await process.end() == .killed(signal: SIGKILL))
        let crash = Disturbance()
        try await desk.finish()
        let report = desk.checker(0..<200, [crash]).check(try desk.receiver.arrivals())
        print("commit-highest: \(report.summary)")
        #expect(!(report.violations["lost"] ?? []).isEmpty, "\(report.summary)")
      }
    }
  }

  @Suite("The checker of arrivals, with arrivals made by hand")
  struct ArrivalCheckerTests {
    static func arrival(_ number: Int, at time: Int64, id: String? = nil, status: Int? = 200) -> Arrival {
      Arrival(
        id: id ?? DispatchBench.id(number), time: time, target: "/", status: status, body: "{\"number\":\(number)}",
        signature: "unchecked")
    }

    static func kinds(_ arrivals: [Arrival], _ disturbances: [Disturbance] = [], inFlight: Int = 64) -> Set<String> {
      var checker = ArrivalChecker(numbers: 0..<2, disturbances: disturbances)
      checker.inFlight = inFlight
      return Set(checker.check(arrivals).violations.keys)
    }

    @Test("What is right is right: once, after failures, and again around a disturbance")
    func right() {
      let first = Self.arrival(0, at: 1000)
      let second = Self.arrival(1, at: 1000)
      #expect(Self.kinds([first, second]) == [])
      let failed = [Self.arrival(0, at: 1, status: 500), Self.arrival(0, at: 2, status: nil)]
      #expect(Self.kinds(failed + [first, second]) == [])
      let crash = Disturbance(from: 1500)
      #expect(Self.kinds([first, second, Self.arrival(0, at: 9000)], [crash]) == [])
    }

    @Test("Each thing that is wrong has its name")
    func wrong() {
      let first = Self.arrival(0, at: 1000)
      let second = Self.arrival(1, at: 1000)
      let again = Self.arrival(0, at: 9000)
      #expect(Self.kinds([first]) == ["lost"])
      #expect(Self.kinds([first, Self.arrival(1, at: 1000, status: 500)]) == ["lost"])
      #expect(Self.kinds([first, second, Self.arrival(2, at: 1)]) == ["of nothing that was sent"])
      #expect(Self.kinds([first, second, again]).contains("repeated though it was not in flight"))
      #expect(
        Self.kinds([first, second, again], [Disturbance(from: 4500)]) == ["repeated though it was not in flight"])
      #expect(
        Self.kinds([first, second, again], [Disturbance(from: 400)]) == ["repeated though it was not in flight"])
      let crash = Disturbance(from: 1500)
      #expect(
        Self.kinds([first, second, again, Self.arrival(0, at: 9500)], [crash]) == [
          "repeated though it was not in flight", "more repeats than disturbances",
        ])
      #expect(
        Self.kinds([first, second, again, Self.arrival(1, at: 9000)], [crash], inFlight: 1) == [
          "more repeats than can have been in flight"
        ])
      #expect(Self.kinds([first, second, Self.arrival(0, at: 1900)], [crash]) == ["two attempts at a time"])
      #expect(Self.kinds([first, Self.arrival(1, at: 1, id: DispatchBench.id(0))]) == ["one id for two deliveries"])
      #expect(
        Self.kinds([first, second, Self.arrival(0, at: 1000, id: "x", status: 500)]) == ["with another id"])
    }
  }
}
