import DatabusCore
import DatabusTestKit
import MemoryState
import Testing

@Suite struct MemoryStateTests {
  private let partition = PartitionID(stream: "events", incarnation: "i", index: 0)

  private func put(_ key: String, _ value: String) -> WriteBatch {
    var batch = WriteBatch()
    batch.put(Array(key.utf8), Array(value.utf8))
    return batch
  }

  @Test(arguments: StateSuite.cases)
  func conforms(_ one: ConformanceCase<StateUnderTest>) async {
    let state = StateUnderTest("memory") {
      let store = MemoryStore(isShared: true, isDurable: true)
      var subject = StateSubject(backend: MemoryState(store))
      subject.reopenAfterKill = { MemoryState(store) }
      return subject
    }
    #expect(await one.run(state) == .passed)
  }

  @Test func onlyDurableStateIsAskedToSurviveAKill() async {
    let state = StateUnderTest("memory") { StateSubject(backend: MemoryState()) }
    #expect(await StateSuite.run(state).skipped.map(\.name) == ["what was applied survives a kill"])
  }

  @Test func aStoreThatIsAwayFailsEveryCallUntilItIsBack() async throws {
    let store = MemoryStore()
    let state = MemoryState(store)
    let session = try await state.open(.pipeline)
    store.setUnavailable("the disk is full")
    await #expect(throws: StateError.unavailable("the disk is full")) { try await state.open(.pipeline) }
    await #expect(throws: StateError.unavailable("the disk is full")) { try await session.multiGet([[1]]) }
    await #expect(throws: StateError.unavailable("the disk is full")) {
      try await session.apply(put("a", "1"), checkpoint: nil)
    }
    store.setUnavailable(nil)
    #expect(try await session.multiGet([Array("a".utf8)]) == [nil])
  }

  @Test func aLostAnswerIsWrittenAndItsRepeatSucceeds() async throws {
    let store = MemoryStore()
    let session = try await MemoryState(store).open(.partition(partition))
    store.loseAnswers(1)
    await #expect(throws: StateError.self) { try await session.apply(put("a", "1"), checkpoint: 1) }
    try await session.apply(put("a", "1"), checkpoint: 1)
    try await session.apply(put("a", "2"), checkpoint: 2)
    #expect(try await session.multiGet([Array("a".utf8)]) == [Array("2".utf8)])
  }

  @Test func aRestoredSnapshotLosesWritesAndFencesWhoMadeThem() async throws {
    let store = MemoryStore(isShared: true)
    let first = try await MemoryState(store).open(.partition(partition))
    try await first.apply(put("a", "1"), checkpoint: 1)
    let snapshot = store.snapshot()
    let second = try await MemoryState(store).open(.partition(partition))
    try await second.apply(put("a", "2"), checkpoint: 2)
    store.restore(snapshot)
    // Fencing is by equality: a newer epoch than the stored one is as foreign as an older one.
    await #expect(throws: StateError.fenced) { try await second.apply(put("a", "3"), checkpoint: 3) }
    try await first.apply(put("b", "1"), checkpoint: 2)
    #expect(try await first.multiGet([Array("a".utf8)]) == [Array("1".utf8)])
  }

  @Test func handlesOfOneStoreSeeEachOther() async throws {
    let store = MemoryStore(isShared: true)
    let one = MemoryState(store)
    let other = MemoryState(store)
    #expect(one.id == other.id && one.capabilities.isShared)
    try await one.open(.pipeline).apply(put("a", "1"), checkpoint: nil)
    #expect(try await other.open(.pipeline).multiGet([Array("a".utf8)]) == [Array("1".utf8)])
    #expect(MemoryState().id != one.id)
  }

  @Test func aClosedHandleIsOfNoUseAndTheStoreGoesOn() async throws {
    let store = MemoryStore()
    let state = MemoryState(store)
    let session = try await state.open(.pipeline)
    try await session.apply(put("a", "1"), checkpoint: nil)
    await state.close()
    await #expect(throws: StateError.self) { try await session.multiGet([[1]]) }
    #expect(try await MemoryState(store).open(.pipeline).scanAll(prefix: []).count == 1)
  }
}
