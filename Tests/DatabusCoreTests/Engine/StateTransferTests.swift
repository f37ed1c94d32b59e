import MemoryState
import Testing

@testable import DatabusCore

struct StateTransferTests {
  private static let partition = PartitionID(stream: "events", incarnation: "i \"1\"", index: 3)
  private static let rules = PartitionID(stream: "rules", incarnation: "r", index: 0)

  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// A state with rules, a position after three checkpoints, and a process.
  private func makeState() async throws -> MemoryState {
    let state = MemoryState()
    let session = try await state.open(.pipeline)
    var store = try await RuleStore(session)
    var rules: [String: StoredRule?] = [:]
    for number in 0..<2500 {
      rules["rule \(number)"] = StoredRule(
        ruleID: "rule \(number)", status: .inForce, latest: bytes("{}"), lastValid: bytes("{}"), key: [0, 255],
        locator: "rules/0/\(number)", timestamp: nil)
    }
    try await store.apply(rules, vector: RulesVector([Self.rules: 7]))
    var presence = WriteBatch()
    presence.put(Presence.prefix + bytes("here/1"), bytes("{}"))
    try await session.apply(presence, checkpoint: nil)
    let held = try await state.open(.partition(Self.partition))
    for number in 1...3 {
      var batch = WriteBatch()
      batch.put(
        StoredPosition.key,
        StoredPosition(position: Position(next: UInt64(number)), vector: RulesVector([Self.rules: 7])).encoded())
      try await held.apply(batch, checkpoint: UInt64(number))
    }
    return state
  }

  private func export(_ state: any StateBackend) async throws -> StateFile {
    StateFile(
      pipeline: "p", stateType: "memory", stateID: state.id, exportedAt: 1,
      scopes: try await StateTransfer.read(state))
  }

  private func lines(_ file: StateFile) -> [String] {
    var lines: [String] = []
    file.write { lines.append($0) }
    return lines
  }

  private func read(_ lines: [String]) throws(StateFile.Problem) -> StateFile {
    var reader = StateFileReader()
    for (index, line) in lines.enumerated() { try reader.take(bytes(line), line: index + 1) }
    return try reader.finish()
  }

  private func entries(_ state: any StateBackend, _ scope: StateScope) async throws -> [[[UInt8]]] {
    let session = try await state.open(scope)
    return try await session.scanAll(prefix: []).map { [$0.key, $0.value] }
  }

  @Test func whatWasExportedIsWhatAnotherStateThenHolds() async throws {
    let state = try await makeState()
    let text = lines(try await export(state))
    // The head, the pipeline with its rules and their vector, a partition with its position, the end.
    let count = 2506
    #expect(text.count == count)
    #expect(text.allSatisfy { (line: String) in line.firstIndex(of: "\n") == line.indices.last })
    let other = MemoryState()
    #expect(try await StateTransfer.isEmpty(other))
    try await StateTransfer.write(try read(text), to: other)
    #expect(try await !StateTransfer.isEmpty(other))
    let presence = Presence.prefix
    #expect(
      try await entries(other, .pipeline)
        == entries(state, .pipeline).filter { !$0[0].starts(with: presence) })
    #expect(try await other.partitions() == [Self.partition])
    #expect(try await entries(other, .partition(Self.partition)) == entries(state, .partition(Self.partition)))
    // Its checkpoints go on from its own number.
    #expect(try await other.open(.partition(Self.partition)).checkpoint == 1)
    // And back again, byte for byte but for whose it is.
    let again = lines(try await export(other))
    func contents(_ lines: [String]) -> [String] { lines.dropFirst().filter { !$0.contains("scope") } }
    #expect(contents(again) == contents(text))
  }

  @Test func aFileThatIsNotWholeIsRefusedWithItsLine() async throws {
    let text = lines(try await export(try await makeState()))
    for cut in [0, 1, 2, 700, text.count - 1] {
      #expect(throws: StateFile.Problem.self) { _ = try read(Array(text.prefix(cut))) }
    }
    func problem(_ change: (inout [String]) -> Void) -> StateFile.Problem? {
      var changed = text
      change(&changed)
      do throws(StateFile.Problem) {
        _ = try read(changed)
        return nil
      } catch {
        return error
      }
    }
    #expect(problem { _ in } == nil)
    #expect(problem { $0.remove(at: 100) }?.message.contains("it is not whole") == true)
    #expect(problem { $0.insert($0[100], at: 100) }?.line == 102)
    #expect(problem { $0[50] = "{\"key\": \"a\", \"value\": \"\"}" }?.line == 51)
    #expect(problem { $0[50] = "{\"key\": " }?.line == 51)
    #expect(problem { $0[0] = "{\"databus\": \"state\", \"version\": 2}" }?.message.contains("version 2") == true)
    #expect(problem { $0[0] = "{\"type\": \"user:signup\"}" }?.message.contains("databus state export") == true)
    #expect(problem { $0.append($0[50]) }?.message.contains("behind the end") == true)
    #expect(problem { $0.insert($0[1], at: $0.count - 1) }?.message.contains("stands twice") == true)
    #expect(problem { $0.swapAt(20, 21) }?.message.contains("order") == true)
  }

  @Test func anImportThatWasNotFinishedIsNoState() async throws {
    let state = try await makeState()
    try await StateTransfer.clear(state)
    #expect(try await state.partitions().isEmpty)
    #expect(try await !StateTransfer.isEmpty(state))
    let session = try await state.open(.pipeline)
    await #expect(throws: StateError.self) { try await StateTransfer.refuseUnfinished(session) }
    await #expect(throws: StateError.self) { _ = try await StateTransfer.read(state) }
    try await StateTransfer.write(try await export(try await makeState()), to: state)
    try await StateTransfer.refuseUnfinished(session)
    #expect(try await StateTransfer.read(state).count == 2)
  }

  @Test func aPipelineDoesNotStartWithAnUnfinishedImport() async throws {
    let fixture = PipelineFixture()
    try fixture.rule()
    try await StateTransfer.clear(MemoryState(fixture.store))
    let process = fixture.start(stopsWhenIdle: true)
    let error = await #expect(throws: Pipeline.Failure.self) { try await process.task.value }
    #expect(error?.message.contains("state import --force") == true)
  }

  @Test(
    "commits are moved to where the old state would have gone on",
    arguments: [
      // Right behind the last checkpoint, and what the new store's start then finds there.
      (20, "old/5/", nil), (19, "old/4/", 20), (25, "old/6/", nil), (25, "other/6/", nil), (9, "", nil),
      // One that names the new store is of a life of it that is over: it is always written anew.
      (9, "new/1/", 9),
    ] as [(UInt64, String, UInt64?)])
  func commits(_ committed: UInt64, _ metadata: String, _ moved: UInt64?) {
    let file = self.file()
    let commit = CommittedPosition(position: Position(next: committed), metadata: metadata)
    let (moves, problems) = StateTransfer.commits(file, committed: [Self.partition: commit], newID: "new")
    #expect(moves.map(\.position.next) == (moved.map { [$0] } ?? []))
    #expect(problems.isEmpty)
  }

  @Test func whoHasNoCommitIsToldAndWhoIsGoneIsNot() {
    let file = self.file()
    let lost = StateTransfer.commits(file, committed: [Self.partition: nil], newID: "new")
    #expect(lost.moves.isEmpty)
    #expect(lost.problems.count == 1)
    // The stream was made anew: its old life's state is of no use to anybody.
    let gone = StateTransfer.commits(
      file, committed: [PartitionID(stream: "events", incarnation: "2", index: 3): nil], newID: "new")
    #expect(gone.moves.isEmpty && gone.problems.isEmpty)
  }

  private func file() -> StateFile {
    StateFile(
      pipeline: "p", stateType: "sqlite", stateID: "old", exportedAt: 1,
      scopes: [
        StateFile.Scope(
          scope: .partition(Self.partition), epoch: 1, checkpoint: 5,
          entries: [
            (
              StoredPosition.key,
              StoredPosition(position: Position(next: 20), vector: RulesVector()).encoded()
            )
          ])
      ])
  }

  @Test func base64IsReadBackAndNothingElseIsTaken() {
    for count in 0..<70 {
      let bytes: [UInt8] = (0..<count).map { (place: Int) in UInt8((place * 37 + count) % 256) }
      #expect(Base64.decode(Base64.encode(bytes)) == bytes)
    }
    for text in ["a", "ab", "abc", "a===", "ab=c", "=abc", "ab c", "abc\n", "ab-_", "YR==", "YWJ=", "====", "YQ==YQ=="]
    {
      #expect(Base64.decode(text) == nil, "\(text)")
    }
  }
}
