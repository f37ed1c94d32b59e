import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  /// Scenario: one record ends the process each time that it is routed.
  @Suite("A record that ends the process each time")
  struct SkipTests {
    private static let poison: UInt64 = 700
    private static let place = "record:events/0/700"

    @Test("It is found in small steps, set aside, and everything else is routed", arguments: ["100ms", "60s"])
    func skip(_ interval: String) async throws {
      try await Workbench.with(.init(checkpointInterval: interval)) { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(1000, seed: 41))
        // Each start ends there, however often.
        for _ in 0..<3 { try await CrashPointTests.crash(bench, Self.place) }
        // In small steps it ends there too; then the position is the record's, and not one before it.
        try await CrashPointTests.crash(bench, Self.place, ["--one-by-one", "--until-idle"])
        let shown = try await bench.command("positions", "show", "--json")
        let positions = try #require(
          try JSONSerialization.jsonObject(with: Data(shown.output.utf8)) as? [[String: Any]])
        #expect(positions.first?["position"] as? Int == Int(Self.poison))

        let wrong = try await bench.command("positions", "skip", "--dead-letter", "--position", "699")
        #expect(wrong.end == .exited(2))
        #expect(wrong.errors.contains("the next record is events/0/700, and not 699"))
        #expect(try await bench.end(of: Workbench.deadLetters) == 1)

        let skipped = try await bench.command("positions", "skip", "--dead-letter", "--position", "700")
        #expect(skipped.end == .exited(0), "\(skipped.errors)")
        #expect(skipped.output.contains("goes on at 701"))
        // The record still ends whoever routes it: this process does not.
        let process = try bench.start("--until-idle", crash: Self.place)
        #expect(try await process.end() == .exited(0), "\(process.errors.suffix(1000))")

        var checker = DeliveryChecker(
          sent.filter { $0.position != Self.poison }, ModelRule.usual,
          timestamps: Dictionary(
            uniqueKeysWithValues: try await bench.records(of: "events").map { ($0.position, $0.timestamp) }))
        for record in try await bench.records(of: Workbench.results) { checker.take(record) }
        let report = checker.finish()
        #expect(report.isClean, "\(report.summary)")
        let letters = try await bench.records(of: Workbench.deadLetters)
        #expect(letters.map { $0.headers["dx-reason"] } == ["skipped"])
        #expect(letters.first?.headers["dx-offset"] == "700")
        #expect(letters.first?.value == sent[Int(Self.poison) - 1].event.bytes)
      }
    }

    @Test("A skip that is killed in the middle is done again: one record is set aside, under one id")
    func skipAgain() async throws {
      try await Workbench.with { bench in
        try await bench.append(ModelRule.usual)
        let sent = try await bench.append(ModelEvent.some(20, seed: 42))
        try await CrashPointTests.crash(bench, "record:events/0/1")
        let first = try await bench.command("positions", "skip", "--dead-letter")
        #expect(first.end == .exited(0), "\(first.errors)")
        // As if the process had ended after the dead letter and before the position: it is set back.
        #expect(try await bench.command("positions", "set", "0", "1").end == .exited(0))
        #expect(try await bench.command("positions", "skip", "--dead-letter").end == .exited(0))
        let letters = try await bench.records(of: Workbench.deadLetters)
        #expect(letters.count == 2)
        #expect(Set(letters.map { $0.headers["dx-id"] }).count == 1)
        try await bench.finish()
        var checker = DeliveryChecker(
          Array(sent.dropFirst()), ModelRule.usual,
          timestamps: Dictionary(
            uniqueKeysWithValues: try await bench.records(of: "events").map { ($0.position, $0.timestamp) }))
        for record in try await bench.records(of: Workbench.results) { checker.take(record) }
        #expect(checker.finish().isClean)
      }
    }
  }
}
