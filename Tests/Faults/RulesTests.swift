import Foundation
import Testing

#if canImport(Glibc)
  import Glibc
#endif

extension FaultSuite {
  @Suite("Rules before events")
  struct RulesTests {
    @Test("An empty rules stream is complete: events are filtered, the process is ready and ends")
    func empty() async throws {
      try await Workbench.with { bench in
        let sent = try await bench.append(ModelEvent.some(1000, seed: 31))
        let process = try bench.start("--until-idle")
        #expect(try await process.end(within: .seconds(30)) == .exited(0), "\(process.errors)")
        #expect(try await bench.committed() == 1001)
        #expect(try await bench.check(sent, []).isClean)
        #expect(try await bench.end(of: Workbench.results) == 1)
        // It goes on from there: an event behind the first rule is routed, those before it are not looked at again.
        try await bench.append(ModelRule.usual)
        let later = try await bench.append(ModelEvent.some(1000, from: 1000, seed: 32))
        try await bench.finish()
        let report = try await bench.check(later, ModelRule.usual)
        #expect(report.isClean, "\(report.summary)")
      }
    }

    /// A rules stream that takes a while to read: an early version of each rule that sends to the wrong place, many that concern
    /// nobody, and the right version as the very last records.
    private static func longStream(_ bench: Workbench) async throws -> (rules: [ModelRule], count: Int) {
      let wrong = ModelRule.usual.map { rule in
        ModelRule(id: rule.id, types: ["*"], destination: "https://wrong.example/" + rule.id)
      }
      let others = (0..<15_000).map {
        ModelRule(id: "other_\($0)", types: ["other:\($0)"], destination: "https://other.example/\($0)")
      }
      try await bench.append(wrong)
      try await bench.append(others)
      try await bench.append(ModelRule.usual)
      return (ModelRule.usual + others, wrong.count + others.count + ModelRule.usual.count)
    }

    @Test("While the end of the rules stream is not reached no event is routed")
    func endNotReached() async throws {
      try await Workbench.with { bench in
        let (rules, count) = try await Self.longStream(bench)
        let sent = try await bench.append(ModelEvent.some(3000, seed: 33))
        // Killed at the first rule, in the middle, and right before the last one: nothing may have come out.
        for position in [1, 7000, count] {
          try await CrashPointTests.crash(bench, "record:rules/0/\(position)")
          #expect(try await bench.end(of: Workbench.results) == 1)
          #expect(bench.gauge.read == 0, "an event was read before the rules were complete")
        }
        try await bench.finish()
        let report = try await bench.check(sent, rules)
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
      }
    }

    @Test(
      "A rule that was changed, one deleted by a tombstone and one by a record while the process was down are not used any more"
    )
    func changedWhileDown() async throws {
      try await Workbench.with(.init(checkpointInterval: "60s")) { bench in
        try await bench.append(ModelRule.usual)
        let first = try await bench.append(ModelEvent.some(1000, seed: 34))
        try await bench.finish()
        #expect(try await bench.check(first, ModelRule.usual).isClean)
        // Down. rule_a goes elsewhere, rule_b and rule_c are deleted, and events come.
        let elsewhere = ModelRule(id: "rule_a", types: ["user:login"], destination: "https://elsewhere.example/")
        try await bench.append([elsewhere])
        try await bench.append([nil], keys: [Array("rule_b".utf8)], to: "rules")
        try await bench.append([Array(#"{"ruleId": "rule_c", "deleted": true}"#.utf8)], to: "rules")
        let behind = try await bench.end(of: Workbench.results)
        let second = try await bench.append(ModelEvent.some(1000, from: 1000, seed: 35))
        // Killed at the first of the changes and at the last, before any of them is stored, and then in the restore.
        for place in ["record:rules/0/5", "record:rules/0/7", "during-restore:1"] {
          try await CrashPointTests.crash(bench, place)
          #expect(try await bench.end(of: Workbench.results) == behind)
        }
        try await bench.finish()
        var checker = DeliveryChecker(
          second, [elsewhere],
          timestamps: Dictionary(
            uniqueKeysWithValues: try await bench.records(of: "events").map { ($0.position, $0.timestamp) }))
        for record in try await bench.records(of: Workbench.results, from: behind) { checker.take(record) }
        let report = checker.finish()
        #expect(report.isClean, "\(report.summary)")
        #expect(report.repeats == 0)
      }
    }

    /// Version `v` of the rules: rule_a always, rule_b in odd versions only. rule_a's record comes first.
    private static func change(to version: Int, _ bench: Workbench) async throws {
      let a = ModelRule(id: "rule_a", types: ["tagged"], destination: "https://a.example/\(version)")
      let b = ModelRule(id: "rule_b", types: ["tagged"], destination: "https://b.example/\(version)")
      try await bench.append([a])
      if version % 2 == 1 {
        try await bench.append([b])
      } else {
        try await bench.append([nil], keys: [Array(b.id.utf8)], to: "rules")
      }
    }

    @Test(
      "Rules that change and go while the process is restored, killed and restored again: no event is routed by a table older than the rules acknowledged before it"
    )
    func changedDuringRestore() async throws {
      let seed: UInt64 = 36
      var random = SeededGenerator(seed: seed)
      print("rules that change during restores: seed \(seed)")
      try await Workbench.with(.init(checkpointInterval: "30ms")) { bench in
        let versions = 24
        var tag: [UInt64: Int] = [:]
        for version in 1...versions {
          let isKilledInRestore = version % 3 == 0
          let process = try bench.start(crash: isKilledInRestore ? "during-restore:1" : nil)
          // The process comes up, restores and reads while its rules change.
          try await Task.sleep(for: .microseconds(Int.random(in: 0..<120_000, using: &random)))
          try await Self.change(to: version, bench)
          let events = (0..<200).map { ModelEvent(version * 1000 + $0, type: "tagged") }
          for item in try await bench.append(events) { tag[item.position] = version }
          if isKilledInRestore {
            #expect(try await process.end() == .killed(signal: SIGKILL))
          } else {
            try await Task.sleep(for: .microseconds(Int.random(in: 0..<200_000, using: &random)))
            process.signal(SIGKILL)
            #expect(try await process.end() == .killed(signal: SIGKILL))
          }
        }
        try await bench.finish()
        try Self.check(try await bench.records(of: Workbench.results), tag, versions)
        #expect(try await bench.end(of: Workbench.deadLetters) == 1)
      }
    }

    private struct Result: Decodable {
      var destination: String
      var rule: String
      var event: String
      var id: String
    }

    private static func check(_ records: [StoredRecord], _ tag: [UInt64: Int], _ versions: Int) throws {
      var seen: [UInt64: [String: Set<Int>]] = [:]
      var ids: [String: String] = [:]
      for record in records {
        let result = try JSONDecoder().decode(Result.self, from: Data(record.value ?? []))
        let position = try #require(UInt64(result.event.dropFirst("events/0/".count)))
        let version = try #require(Int(result.destination.dropFirst("https://a.example/".count)))
        seen[position, default: [:]][result.rule, default: []].insert(version)
        let known = ids.updateValue(result.id, forKey: "\(result.rule) \(position)")
        #expect(known == nil || known == result.id, "the id depends on the rule's version")
      }
      for (position, version) in tag {
        let found = seen[position] ?? [:]
        let a = found["rule_a"] ?? []
        let b = found["rule_b"] ?? []
        #expect(!a.isEmpty, "events/0/\(position) was lost")
        #expect(a.allSatisfy { $0 >= version }, "events/0/\(position) was routed by \(a), and \(version) was in force")
        #expect(b.allSatisfy { $0 >= version }, "events/0/\(position) was routed by \(b), and \(version) was in force")
        // Routed by rule_a of its own version, it was routed by rule_b of that version: the next rule_b comes behind the next rule_a.
        if a == [version] { #expect(b.contains(version) == (version % 2 == 1), "events/0/\(position): \(a), \(b)") }
      }
      #expect(seen.count == tag.count)
      // Of the last version there is no rule_b, and nothing comes after it.
      #expect(versions % 2 == 0)
    }
  }
}
