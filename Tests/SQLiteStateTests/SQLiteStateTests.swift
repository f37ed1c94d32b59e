import DatabusCore
import Foundation
import SQLiteState
import Testing

func key(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

func batch(_ change: (inout WriteBatch) -> Void) -> WriteBatch {
  var batch = WriteBatch()
  change(&batch)
  return batch
}

/// Real files in a folder that is removed.
final class StateFolder {
  let url: URL
  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("databus-state-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(at: url) }
  var path: String { url.appendingPathComponent("state.db").path }

  func open(_ pipeline: String = "p", _ access: SQLiteState.Access = .writer) async throws -> SQLiteState {
    try await SQLiteState(path: path, pipeline: pipeline, access: access)
  }

  /// The sentence with which the file is refused.
  func refusal(_ access: SQLiteState.Access = .writer) async -> String {
    do {
      _ = try await open("p", access)
      Issue.record("the file was opened")
    } catch StateError.unusable(let message) {
      #expect(message.contains(path))
      return message
    } catch {
      Issue.record("\(error)")
    }
    return ""
  }

  @discardableResult
  func python(_ script: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, path]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    return String(decoding: output, as: UTF8.self)
  }
}

@Suite struct SQLiteStateTests {
  let folder: StateFolder
  let partition = PartitionID(stream: "events", incarnation: "i-1", index: 3)
  init() throws { folder = try StateFolder() }

  @Test func whatWasAppliedIsThereAfterReopening() async throws {
    let state = try await folder.open()
    let session = try await state.open(.partition(partition))
    #expect(session.epoch == 1 && session.checkpoint == 0)
    try await session.apply(
      batch {
        $0.put(key("a"), [1, 2])
        $0.put(key("empty"), [])
      }, checkpoint: 1)
    let id = state.id
    await state.close()

    let again = try await folder.open()
    #expect(again.id == id && !id.isEmpty)
    let resumed = try await again.open(.partition(partition))
    #expect(resumed.epoch == 2 && resumed.checkpoint == 1)
    #expect(try await resumed.multiGet([key("empty"), key("none"), key("a")]) == [[], nil, [1, 2]])
    #expect(try await again.partitions() == [partition])
    #expect(again.capabilities == StateCapabilities(isShared: false, isDurable: true))
    await again.close()
  }

  @Test func scopesPipelinesAndIncarnationsAreApart() async throws {
    let state = try await folder.open()
    var other = partition
    other.incarnation = "i-2"
    let scopes: [StateScope] = [.pipeline, .partition(partition), .partition(other)]
    for (index, scope) in scopes.enumerated() {
      try await state.open(scope).apply(batch { $0.put(key("k"), [UInt8(index)]) }, checkpoint: nil)
    }
    for (index, scope) in scopes.enumerated() {
      #expect(try await state.open(scope).multiGet([key("k")]) == [[UInt8(index)]])
    }
    let id = state.id
    await state.close()
    let second = try await folder.open("q")
    #expect(second.id == id)
    #expect(try await second.open(.pipeline).multiGet([key("k")]) == [nil])
    #expect(try await second.partitions().isEmpty)
    await second.close()
  }

  @Test func anOlderSessionOfAPartitionIsFenced() async throws {
    let state = try await folder.open()
    let old = try await state.open(.partition(partition))
    try await old.apply(batch { $0.put(key("k"), [1]) }, checkpoint: 1)
    let new = try await state.open(.partition(partition))
    #expect(new.epoch == old.epoch + 1 && new.checkpoint == 1)
    await #expect(throws: StateError.fenced) {
      try await old.apply(batch { $0.put(key("k"), [2]) }, checkpoint: 2)
    }
    // Also where its number was the last one applied, and where it is no checkpoint.
    await #expect(throws: StateError.fenced) { try await old.apply(WriteBatch(), checkpoint: 1) }
    await #expect(throws: StateError.fenced) {
      try await old.apply(batch { $0.put(key("k"), [2]) }, checkpoint: nil)
    }
    #expect(try await new.multiGet([key("k")]) == [[1]])
    try await new.apply(batch { $0.put(key("k"), [3]) }, checkpoint: 2)
    #expect(try await new.multiGet([key("k")]) == [[3]])
    await state.close()
  }

  @Test func checkpointNumbersFollowOneAnotherAndARepeatChangesNothing() async throws {
    let state = try await folder.open()
    let session = try await state.open(.partition(partition))
    try await session.apply(batch { $0.put(key("k"), [1]) }, checkpoint: 1)
    // Its answer was lost: the same number again succeeds, and nothing is written.
    try await session.apply(batch { $0.put(key("k"), [9]) }, checkpoint: 1)
    #expect(try await session.multiGet([key("k")]) == [[1]])
    for number: UInt64 in [0, 3, .max] {
      do {
        try await session.apply(batch { $0.put(key("k"), [8]) }, checkpoint: number)
        Issue.record("\(number) was applied")
      } catch StateError.diverged {}
    }
    #expect(try await session.multiGet([key("k")]) == [[1]])
    // The number of an earlier epoch is no repeat of this one's.
    let next = try await state.open(.partition(partition))
    do {
      try await next.apply(batch { $0.put(key("k"), [7]) }, checkpoint: 1)
      Issue.record("the number of another epoch was taken for a repeat")
    } catch StateError.diverged {}
    await state.close()
  }

  @Test func twoSessionsOfThePipelineLiveSideBySideButOneNumberIsOneCheckpoint() async throws {
    let state = try await folder.open()
    let a = try await state.open(.pipeline)
    let b = try await state.open(.pipeline)
    #expect(a.epoch == 0 && b.epoch == 0)
    try await a.apply(batch { $0.put(key("a"), [1]) }, checkpoint: nil)
    try await b.apply(batch { $0.put(key("b"), [1]) }, checkpoint: nil)
    try await a.apply(batch { $0.put(key("a"), [2]) }, checkpoint: 1)
    do {
      try await b.apply(batch { $0.put(key("b"), [2]) }, checkpoint: 1)
      Issue.record("another session's write was dropped in silence")
    } catch StateError.diverged {}
    #expect(try await b.multiGet([key("a"), key("b")]) == [[2], [1]])
    await state.close()
  }

  @Test func aWriteWhoseExpectationDoesNotHoldWritesNothing() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    try await session.apply(
      batch {
        $0.expect(key("v"), nil)
        $0.put(key("v"), [1])
      }, checkpoint: nil)
    let refused: [WriteBatch] = [
      batch { $0.expect(key("v"), nil) }, batch { $0.expect(key("v"), [2]) }, batch { $0.expect(key("v"), []) },
      batch { $0.expect(key("none"), []) },
    ]
    for var attempt in refused {
      attempt.put(key("other"), [1])
      attempt.delete(key("v"))
      do {
        try await session.apply(attempt, checkpoint: 1)
        Issue.record("applied")
      } catch StateError.diverged {}
    }
    #expect(try await session.multiGet([key("v"), key("other")]) == [[1], nil])
    try await session.apply(
      batch {
        $0.expect(key("v"), [1])
        $0.delete(key("v"))
      }, checkpoint: 1)
    #expect(try await session.multiGet([key("v")]) == [nil])
    await state.close()
  }

  @Test func aScanGoesInByteOrderByPrefixAndPage() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    let keys: [[UInt8]] = [[1], [1, 0], [1, 0, 0], [1, 127], [1, 128], [1, 255], [1, 255, 255], [2], [0], []]
    try await session.apply(batch { for key in keys { $0.put(key, key) } }, checkpoint: nil)
    let sorted = keys.sorted { $0.lexicographicallyPrecedes($1) }
    for prefix: [UInt8] in [[], [1], [1, 255], [1, 0], [3]] {
      let expected = sorted.filter { $0.starts(with: prefix) }
      for limit in [1, 2, 3, 100] {
        var found: [[UInt8]] = []
        var after: [UInt8]?
        repeat {
          let page = try await session.scan(prefix: prefix, after: after, limit: limit)
          #expect(page.entries.count <= limit)
          #expect(page.entries.allSatisfy { $0.key == $0.value })
          found += page.entries.map(\.key)
          after = page.last
        } while after != nil
        #expect(found == expected, "prefix \(prefix), limit \(limit)")
      }
    }
    await state.close()
  }

  @Test func largeValuesComeBackWhole() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    let large = (0..<5_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    try await session.apply(batch { $0.put(key("large"), large) }, checkpoint: nil)
    #expect(try await session.multiGet([key("large")]) == [large])
    await state.close()
  }

  @Test func aPartitionThatIsRemovedIsGoneAndItsSessionFenced() async throws {
    let state = try await folder.open()
    let session = try await state.open(.partition(partition))
    try await session.apply(batch { $0.put(key("k"), [1]) }, checkpoint: 1)
    try await state.remove(partition)
    #expect(try await state.partitions().isEmpty)
    await #expect(throws: StateError.fenced) { try await session.apply(WriteBatch(), checkpoint: 2) }
    let fresh = try await state.open(.partition(partition))
    #expect(fresh.epoch > session.epoch && fresh.checkpoint == 0)
    #expect(try await fresh.multiGet([key("k")]) == [nil])
    try await state.remove(PartitionID(stream: "none", incarnation: "", index: 0))
    await state.close()
  }

  @Test func aClosedStateSaysSo() async throws {
    let state = try await folder.open()
    let session = try await state.open(.pipeline)
    await state.close()
    await #expect(throws: StateError.self) { _ = try await session.multiGet([key("k")]) }
    await #expect(throws: StateError.self) { _ = try await state.open(.pipeline) }
  }
}
