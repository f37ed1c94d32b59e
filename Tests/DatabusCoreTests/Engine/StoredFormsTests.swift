import Testing

@testable import DatabusCore

/// What is stored is read back the same, and anything else is nil: never a crash, never half of it.
@Suite struct StoredFormsTests {
  static let vectors = [
    RulesVector(), RulesVector([PartitionID(stream: "rules", incarnation: "abc-1", index: 0): 7]),
    RulesVector([
      PartitionID(stream: "a@b/c:d,e", incarnation: "x/y:z@,", index: 3): .max,
      PartitionID(stream: "é %41", incarnation: "", index: 0): 0,
      PartitionID(stream: "", incarnation: "kafka:abc/rules", index: 12): 1,
    ]),
  ]

  @Test(arguments: vectors) func aVectorIsReadBack(_ vector: RulesVector) {
    #expect(RulesVector(vector.description) == vector)
  }

  @Test(arguments: [
    "x", "a@b/c:1", "a@b/0:", "a@b/0:-1", "a@b/:1", "@", "a/0:1", "a@b/0:1,x", "a%4@b/0:1", "a%zz@b/0:1", "a%FF@b/0:1",
    "a@b/0:18446744073709551616", "a@b/0:1 ",
  ]) func anythingElseIsNoVector(_ text: String) { #expect(RulesVector(text) == nil) }

  @Test func aVectorIncludesWhatWasReadWithLess() {
    let a = PartitionID(stream: "r", incarnation: "1", index: 0)
    let b = PartitionID(stream: "r", incarnation: "1", index: 1)
    let reborn = PartitionID(stream: "r", incarnation: "2", index: 0)
    #expect(RulesVector([a: 5, b: 1]).includes(RulesVector([a: 5])))
    #expect(!RulesVector([a: 5]).includes(RulesVector([a: 6])))
    #expect(!RulesVector([a: 5]).includes(RulesVector([b: 1])))
    #expect(RulesVector([reborn: 0]).includes(RulesVector([a: 100])))
    #expect(RulesVector([a: 5, b: 1]).merged(with: RulesVector([a: 3, b: 4])) == RulesVector([a: 5, b: 4]))
  }

  @Test func aStoredPositionIsReadBack() {
    for vector in StoredFormsTests.vectors {
      for token in [nil, [], [1, 2, 255]] as [[UInt8]?] {
        for next in [0, 1, UInt64.max] {
          let stored = StoredPosition(position: Position(next: next, token: token), vector: vector)
          #expect(StoredPosition(encoded: stored.encoded()) == stored)
        }
      }
    }
  }

  @Test func commitMetadataIsReadBack() {
    for vector in StoredFormsTests.vectors {
      let metadata = CommitMetadata(backend: "sqlite-1f", checkpoint: 42, vector: vector)
      #expect(CommitMetadata(metadata.text) == metadata)
    }
    for text in ["", "x", "a/b", "a/b/c", "a/-1/", "a/1/x", "/"] { #expect(CommitMetadata(text) == nil, "\(text)") }
  }

  static let rules: [StoredRule] = [
    StoredRule(
      ruleID: "r", status: .inForce, latest: [1, 2], lastValid: [1, 2], key: nil, locator: "rules/0/1", timestamp: nil),
    StoredRule(
      ruleID: "é", status: .refused(["a", "", "ü"]), latest: [], lastValid: [9], key: [], locator: "", timestamp: -5),
    StoredRule(
      ruleID: "x", status: .refused([]), latest: [0], lastValid: nil, key: [0, 255], locator: "r/1/2", timestamp: .max),
  ]

  @Test(arguments: rules) func aStoredRuleIsReadBack(_ rule: StoredRule) {
    #expect(StoredRule(encoded: rule.encoded()) == rule)
  }

  @Test func everythingCutShortIsNil() {
    for rule in StoredFormsTests.rules {
      let bytes = rule.encoded()
      for count in 0..<bytes.count { #expect(StoredRule(encoded: Array(bytes.prefix(count))) == nil) }
    }
    let position = StoredPosition(position: Position(next: 7, token: [1, 2, 3]), vector: RulesVector()).encoded()
    for count in 0..<position.count { #expect(StoredPosition(encoded: Array(position.prefix(count))) == nil) }
  }

  @Test func garbageIsReadWithoutHarm() {
    var random = SeededGenerator(seed: 5)
    for round in 0..<5000 {
      var bytes = (0..<Int.random(in: 0..<60, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
      if round % 2 == 0, !bytes.isEmpty { bytes[0] = 1 }
      if let rule = StoredRule(encoded: bytes) { #expect(rule.encoded().count <= bytes.count + 64) }
      _ = StoredPosition(encoded: bytes)
      #expect(Presence(encoded: bytes) == nil)
    }
  }

  @Test func presenceIsReadBack() {
    var counts = PipelineCounts()
    for (offset, member) in PipelineCounts.members.enumerated() { counts[keyPath: member.path] = offset + 1 }
    let presence = Presence(
      processID: 7, host: "h \"x\"\n", startedAt: 1, at: 1_795_000_000_000, isReady: false,
      reasons: [.init(part: "events", message: "because\u{0}"), .init(part: "a \"b\"", message: "")],
      tableVersion: 3, ruleCount: 4, refusedCount: 5, rules: StoredFormsTests.vectors[2],
      partitions: [
        .init(partition: PartitionID(stream: "e", incarnation: "i", index: 2), position: 9, open: 1, parked: "why"),
        .init(partition: PartitionID(stream: "e", incarnation: "i", index: 3), position: 0, open: 0, parked: nil),
      ], counts: counts)
    #expect(Presence(encoded: presence.encoded()) == presence)
    #expect(presence.reason == "events: because\u{0}")
    #expect(presence.isAlive(at: presence.at + 4999))
    #expect(!presence.isAlive(at: presence.at + 5000))
    for text in ["", "{}", "[]", "{\"pid\":\"x\"}"] { #expect(Presence(encoded: Array(text.utf8)) == nil) }
  }
}

/// The whole table of engine.md, "Checkpoint".
@Suite struct StartDecisionTests {
  static let partition = PartitionID(stream: "events", incarnation: "i", index: 0)
  static let stored = StoredPosition(position: Position(next: 10), vector: RulesVector())

  private func decide(
    stored: StoredPosition?, checkpoint: UInt64 = 5, keepsCommits: Bool = true, _ metadata: String?,
    at next: UInt64 = 20
  ) -> StartDecision {
    StartDecision.decide(
      stored: stored, checkpoint: checkpoint, backend: "b", keepsCommits: keepsCommits,
      committed: metadata.map { CommittedPosition(position: Position(next: next), metadata: $0) },
      partition: StartDecisionTests.partition)
  }

  @Test func everyRowOfTheTable() {
    let stored = StartDecisionTests.stored
    let state = Position(next: 10)
    let broker = Position(next: 20)
    // The commit names our backend and a checkpoint that we have.
    #expect(decide(stored: stored, "b/5/") == .start(state, because: .state))
    #expect(decide(stored: stored, "b/4/") == .start(state, because: .state))
    // An operator's reset, or text that nobody knows.
    for metadata in ["", "nonsense", "b/x/"] {
      #expect(decide(stored: stored, metadata) == .start(broker, because: .operatorsCommit))
      #expect(decide(stored: nil, metadata) == .start(broker, because: .operatorsCommit))
    }
    // Another backend's commit.
    #expect(decide(stored: stored, "other/5/") == .start(broker, because: .foreignCommit))
    #expect(decide(stored: nil, "other/5/") == .start(broker, because: .foreignCommit))
    // The state has lost writes.
    #expect(decide(stored: stored, "b/6/") == .start(broker, because: .stateIsOlder))
    // State without a commit.
    guard case .park(let reason) = decide(stored: stored, nil) else {
      Issue.record("it does not park")
      return
    }
    #expect(reason.contains("databus positions set") && reason.contains("remove this partition's state"))
    // A commit without state; number 0 is the start that is committed before the first checkpoint.
    #expect(decide(stored: nil, "b/5/") == .start(broker, because: .noState))
    #expect(decide(stored: nil, "b/0/") == .start(broker, because: .commit))
    #expect(decide(stored: nil, nil) == .noPosition)
  }

  @Test func whereTheTransportKeepsNoCommitsTheStateDecides() {
    for metadata in [nil, "", "b/9/"] as [String?] {
      #expect(
        decide(stored: StartDecisionTests.stored, keepsCommits: false, metadata)
          == .start(Position(next: 10), because: .state))
      #expect(decide(stored: nil, keepsCommits: false, metadata) == .noPosition)
    }
  }
}
