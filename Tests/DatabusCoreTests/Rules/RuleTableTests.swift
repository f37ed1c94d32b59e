import Testing

@testable import DatabusCore

@Suite struct RuleTableTests {
  private func rule(_ id: String, _ events: [String], isEnabled: Bool = true) -> Rule {
    Rule(id: id, events: events, destination: "https://x.y", scheme: "https", isEnabled: isEnabled)
  }

  private func candidates(_ table: RuleTable, _ type: String) -> [String] {
    var matches = RuleMatches()
    var bytes = Array(type.utf8)
    bytes.append(0)  // so that an empty type has an address
    return bytes.withUnsafeBytes { buffer in
      guard let base = buffer.baseAddress else { return [] }
      return withExtendedLifetime(table) {
        table.lookup.candidates(base, type.utf8.count, hash: TypeHash.hash(base, type.utf8.count), &matches).map {
          String(decoding: $0.id, as: UTF8.self)
        }
      }
    }
  }

  private func table(_ rules: [Rule]) -> RuleTable {
    var builder = RuleTableBuilder()
    for rule in rules { builder.upsert(rule, sink: 0) }
    return builder.makeTable(vector: RulesVector())
  }

  @Test func typesMatchExactlyByPrefixAndByStar() {
    let table = table([
      rule("exact", ["user:signup"]), rule("prefix", ["user:*"]), rule("all", ["*"]), rule("empty", [""]),
      rule("none", []),
    ])
    #expect(candidates(table, "user:signup") == ["all", "exact", "prefix"])
    #expect(candidates(table, "user:") == ["all", "prefix"])
    #expect(candidates(table, "user") == ["all"])
    #expect(candidates(table, "") == ["all", "empty"])
    #expect(candidates(table, "user:signup2") == ["all", "prefix"])
    #expect(candidates(table, "*") == ["all"])
    #expect(table.ruleCount == 5)
  }

  @Test func aRuleThatMatchesByTwoEntriesIsThereOnce() {
    let table = table([rule("r", ["a", "a", "a*", "*", "ab*", "abc"])])
    for type in ["a", "ab", "abc", "abcd", "x"] { #expect(candidates(table, type) == ["r"]) }
  }

  @Test func resultsStandInTheOrderOfTheIDsBytes() {
    let ids = ["b", "a", "aa", "Z", "é", "z", "10", "9", "\u{1F600}", "\u{FFFD}"]
    let table = table(ids.map { rule($0, ["t", "t*"]) })
    #expect(candidates(table, "t") == ids.sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) })
  }

  @Test func anUpsertReplacesEverythingAndADeleteLeavesNothing() {
    var builder = RuleTableBuilder()
    builder.upsert(rule("r", ["a", "b*"]), sink: 0)
    builder.upsert(rule("s", ["a"]), sink: 0)
    let first = builder.makeTable(vector: RulesVector())
    builder.upsert(rule("r", ["c"]), sink: 0)
    let second = builder.makeTable(vector: RulesVector())
    builder.remove("r")
    builder.remove("s")
    builder.remove("never there")
    let third = builder.makeTable(vector: RulesVector())
    #expect(candidates(first, "a") == ["r", "s"] && candidates(first, "bx") == ["r"])
    #expect(candidates(second, "a") == ["s"] && candidates(second, "bx").isEmpty && candidates(second, "c") == ["r"])
    #expect(third.ruleCount == 0 && third.prefixLengths.isEmpty && third.chunks.allSatisfy { $0.entryCount == 0 })
    #expect(first.version < second.version && second.version < third.version)
  }

  @Test func aDisabledRuleIsKeptAndRoutesNothing() {
    var builder = RuleTableBuilder()
    builder.upsert(rule("r", ["a", "*"]), sink: 0)
    builder.upsert(rule("r", ["a", "*"], isEnabled: false), sink: 0)
    let table = builder.makeTable(vector: RulesVector())
    #expect(candidates(table, "a").isEmpty)
    #expect(table.ruleCount == 1)
  }

  @Test func theDirectoryGrowsAndChunksThatNothingTouchesAreShared() {
    var builder = RuleTableBuilder()
    for number in 0..<5000 { builder.upsert(rule("r\(number)", ["type-\(number)"]), sink: 0) }
    let before = builder.makeTable(vector: RulesVector())
    #expect(before.chunks.count >= 64)
    for number in stride(from: 0, to: 5000, by: 7) { #expect(candidates(before, "type-\(number)") == ["r\(number)"]) }
    builder.upsert(rule("new", ["type-77"]), sink: 0)
    let after = builder.makeTable(vector: RulesVector())
    #expect(zip(before.chunks, after.chunks).count { $0 !== $1 } == 1)
    #expect(candidates(after, "type-77") == ["new", "r77"])
    #expect(candidates(before, "type-77") == ["r77"])
  }

  /// The naive model: every rule is asked.
  private func model(_ rules: [String: Rule], _ type: String) -> [String] {
    rules.values.filter { rule in
      rule.isEnabled
        && rule.events.contains { event in
          event.utf8.last == UInt8(ascii: "*")
            ? Array(type.utf8).starts(with: Array(event.utf8.dropLast())) : Array(event.utf8) == Array(type.utf8)
        }
    }.map(\.id).sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
  }

  @Test(arguments: [1, 2, 3] as [UInt64]) func randomChangesGiveWhatEveryRuleWouldSay(_ seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var builder = RuleTableBuilder()
    var rules: [String: Rule] = [:]
    func word(_ letters: ClosedRange<Int>) -> String {
      String((0..<Int.random(in: letters, using: &random)).map { _ in "ab:é".randomElement(using: &random) ?? "a" })
    }
    func type() -> String { Bool.random(using: &random) ? word(0...4) : "t\(Int.random(in: 0..<400, using: &random))" }
    for step in 0..<4000 {
      let id = "r\(Int.random(in: 0..<300, using: &random))"
      if Int.random(in: 0..<4, using: &random) == 0 {
        builder.remove(id)
        rules[id] = nil
      } else {
        let events = (0..<Int.random(in: 0...4, using: &random)).map { _ in
          type() + (Int.random(in: 0..<3, using: &random) == 0 ? "*" : "")
        }
        let new = rule(id, events, isEnabled: Int.random(in: 0..<8, using: &random) != 0)
        builder.upsert(new, sink: 0)
        rules[id] = new
      }
      guard step % 7 == 0 else { continue }
      let table = builder.makeTable(vector: RulesVector())
      #expect(table.ruleCount == rules.count)
      for _ in 0..<5 {
        let asked = type()
        #expect(candidates(table, asked) == model(rules, asked), "seed \(seed), step \(step), type \(asked)")
      }
    }
  }
}
