import DatabusCore
import Foundation
import RedisServerFixture
import RedisState
import Testing

/// What the suite of all backends does not look at.
@Suite struct RedisStateTests {
  private static let server = Task { try await RedisServer() }
  /// A pipeline that no other test has.
  private let name = "p\(UInt64.random(in: 0 ... .max))"

  private func state(_ access: RedisState.Access = .writer) async throws -> RedisState {
    try await open(try await RedisStateTests.server.value, name, access)
  }

  @Test func keysAreBytesWhateverTheyAre() async throws {
    let state = try await state()
    for scope: StateScope in [.pipeline, .partition(partition)] {
      let session = try await state.open(scope)
      // Among them the names of the scope's own fields, and what the layout puts before a key.
      let keys: [[UInt8]] =
        [
          [], [0], [0, 0], [0, 0xFF], [1, 0], [0x0D, 0x0A], [0xFF], [0xFF, 0], [0xFF, 0xFF, 0xFF], [0xC3, 0x28],
          Array(0...255),
        ]
        + ["epoch", "session", "checkpoint", "writer", "revision", "format", "=", "=epoch", "[", "(", "-", "+"].map(key)
      try await session.apply(batch { for key in keys { $0.put(key, key.reversed()) } }, checkpoint: 1)
      #expect(try await session.multiGet(keys) == keys.map { $0.reversed() })
      let sorted = keys.sorted { $0.lexicographicallyPrecedes($1) }
      for prefix: [UInt8] in [[], [0], [0xFF], [0xFF, 0xFF], key("="), key("e")] {
        for limit in [1, 3, 1000] {
          var found: [[UInt8]] = []
          var after: [UInt8]?
          repeat {
            let page = try await session.scan(prefix: prefix, after: after, limit: limit)
            #expect(page.entries.allSatisfy { $0.value == $0.key.reversed() })
            found += page.entries.map(\.key)
            after = page.last
          } while after != nil
          #expect(found == sorted.filter { $0.starts(with: prefix) }, "prefix \(prefix), limit \(limit)")
        }
      }
      try await session.apply(
        batch {
          for key in keys {
            $0.expect(key, key.reversed())
            $0.delete(key)
          }
        }, checkpoint: 2)
      #expect(try await session.scanAll(prefix: []).isEmpty)
      #expect(try await session.multiGet(keys) == keys.map { _ in nil })
    }
    await state.close()
  }

  @Test func thousandsOfRulesAreOneWrite() async throws {
    let state = try await state()
    let session = try await state.open(.pipeline)
    func name(_ number: Int) -> [UInt8] { key("rule/\(String(number + 100_000))") }
    func value(_ number: Int, _ version: UInt8) -> [UInt8] {
      [UInt8](repeating: version, count: 300) + key("\(number)")
    }
    let all = 0..<12_345
    try await session.apply(
      batch {
        for number in all.reversed() { $0.put(name(number), value(number, 1)) }
        $0.expect(key("rules-vector"), nil)
        $0.put(key("rules-vector"), key("v1"))
      }, checkpoint: nil)
    #expect(try await session.scanAll(prefix: key("rule/")).map(\.key) == all.map(name))
    // Changes, deletes, new ones, and as many expectations.
    try await session.apply(
      batch {
        for number in all {
          $0.expect(name(number), value(number, 1))
          if number % 2 == 0 { $0.put(name(number), value(number, 2)) } else { $0.delete(name(number)) }
        }
        for number in 20_000..<25_000 { $0.put(name(number), value(number, 3)) }
      }, checkpoint: nil)
    let entries = try await session.scanAll(prefix: key("rule/"))
    let left = all.filter { $0 % 2 == 0 }
    #expect(entries.map(\.key) == (left + Array(20_000..<25_000)).map(name))
    #expect(entries.map(\.value) == left.map { value($0, 2) } + (20_000..<25_000).map { value($0, 3) })
    #expect(try await session.multiGet(all.map(name)).count { $0 != nil } == left.count)
    await state.close()
  }

  @Test func aBatchAppliesItsDeletesBeforeItsPutsAndTheLastPutOfAKeyHolds() async throws {
    let state = try await state()
    let session = try await state.open(.pipeline)
    try await session.apply(put("a", "1"), checkpoint: nil)
    try await session.apply(
      batch {
        $0.put(key("a"), key("2"))
        $0.put(key("a"), key("3"))
        $0.delete(key("a"))
        $0.delete(key("none"))
        $0.delete(key("none"))
      }, checkpoint: nil)
    #expect(try await session.scanAll(prefix: []).map(\.value) == [key("3")])
    try await session.apply(WriteBatch(), checkpoint: 1)
    #expect(try await state.open(.pipeline).checkpoint == 1)
    await state.close()
  }

  @Test func aPageEndsBeforeItIsTooLarge() async throws {
    let state = try await state()
    let session = try await state.open(.pipeline)
    let value = [UInt8](repeating: 7, count: 3 << 20)
    for number in 0..<5 { try await session.apply(batch { $0.put(key("k\(number)"), value) }, checkpoint: nil) }
    let page = try await session.scan(prefix: [], after: nil, limit: 1000)
    #expect(page.entries.count == 2 && page.last == key("k1"))
    #expect(try await session.scanAll(prefix: []).map(\.key) == (0..<5).map { key("k\($0)") })
    await state.close()
  }

  @Test func aReaderEndsNoSessionAndWritesNothing() async throws {
    let server = try await RedisStateTests.server.value
    func everything() throws -> [String] {
      try server.cli("KEYS", "databus:{\(name)*").split(separator: "\n").sorted().map { key in
        "\(key): " + (try server.cli("DUMP", String(key)))
      }
    }
    // Before the pipeline's first start there is nothing, and afterwards neither.
    let early = try await state(.reader)
    #expect(early.id == "")
    let session = try await early.open(.partition(partition))
    #expect(session.epoch == 0 && session.checkpoint == 0)
    #expect(try await session.scanAll(prefix: []).isEmpty)
    #expect(try await early.open(.pipeline).text("a") == nil)
    #expect(try await early.partitions().isEmpty)
    await early.close()
    #expect(try everything() == [])

    let writer = try await state()
    let owner = try await writer.open(.partition(partition))
    try await owner.apply(put("a", "1"), checkpoint: 1)
    let before = try everything()
    #expect(before.count == 4)
    let reader = try await state(.reader)
    #expect(reader.id == writer.id && !reader.id.isEmpty)
    let look = try await reader.open(.partition(partition))
    #expect(look.epoch == owner.epoch && look.checkpoint == 1)
    #expect(try await look.text("a") == "1")
    #expect(try await reader.partitions() == [partition])
    #expect(try await outcome { try await look.apply(put("a", "2"), checkpoint: 2) } == .unusable)
    #expect(try await outcome { try await reader.open(.pipeline).apply(put("a", "2"), checkpoint: nil) } == .unusable)
    #expect(try await outcome { try await reader.remove(partition) } == .unusable)
    #expect(try everything() == before)
    // What the writer does afterwards is seen by a session that was opened before.
    try await owner.apply(put("a", "3"), checkpoint: 2)
    #expect(try await look.text("a") == "3")
    await reader.close()
    await writer.close()
  }

  @Test func pipelinesAndPrefixesAreApart() async throws {
    let server = try await RedisStateTests.server.value
    let one = try await state()
    let two = try await open(server, name + "2")
    let third = try await RedisState(
      .init(.init(try .init(url: server.url)), keyPrefix: "other:place"), pipeline: name)
    #expect(Set([one.id, two.id, third.id]).count == 3)
    for (number, state) in [one, two, third].enumerated() {
      try await state.open(.partition(partition)).apply(put("a", "\(number)"), checkpoint: 1)
      try await state.open(.pipeline).apply(put("a", "\(number)"), checkpoint: nil)
    }
    for (number, state) in [one, two, third].enumerated() {
      #expect(try await state.open(.partition(partition)).text("a") == "\(number)")
      #expect(try await state.open(.pipeline).text("a") == "\(number)")
      #expect(try await state.partitions() == [partition])
    }
    for state in [one, two, third] { await state.close() }
  }

  @Test func twoProcessesSeeEachOthersWritesToThePipeline() async throws {
    let (one, two) = (try await state(), try await state())
    #expect(one.id == two.id)
    #expect(one.capabilities == StateCapabilities(isShared: true, isDurable: true))
    let (a, b) = (try await one.open(.pipeline), try await two.open(.pipeline))
    try await a.apply(put("presence/a", "1"), checkpoint: nil)
    try await b.apply(put("presence/b", "1"), checkpoint: nil)
    #expect(try await a.scanAll(prefix: key("presence/")).map(\.key) == [key("presence/a"), key("presence/b")])
    // The number of one session's checkpoint is no repeat of another's.
    try await a.apply(put("a", "1"), checkpoint: 1)
    #expect(try await outcome { try await b.apply(put("a", "2"), checkpoint: 1) } == .diverged)
    await one.close()
    await two.close()
  }

  /// Each opens the partition, applies what it can, and is fenced sooner or later: every write that was accepted counts once.
  @Test func twoBackendsThatRaceForAPartitionNeverWriteOverEachOther() async throws {
    let states = [try await state(), try await state(), try await state()]
    let applied = try await withThrowingTaskGroup(of: (done: Int, fenced: Int).self) { group in
      for state in states {
        group.addTask {
          var (done, fenced) = (0, 0)
          for _ in 0..<40 {
            let session = try await state.open(.partition(partition))
            var number = session.checkpoint
            for _ in 0..<5 {
              let before = try await session.text("count")
              let count = (before.flatMap { Int($0) } ?? 0) + 1
              let result = try await outcome {
                try await session.apply(put("count", "\(count)"), checkpoint: number + 1)
              }
              if result == .done { (number, done) = (number + 1, done + 1) } else { #expect(result == .fenced) }
              if result == .fenced {
                fenced += 1
                break
              }
            }
            await session.close()
          }
          return (done, fenced)
        }
      }
      return try await group.reduce(into: (done: 0, fenced: 0)) {
        ($0.done, $0.fenced) = ($0.done + $1.done, $0.fenced + $1.fenced)
      }
    }
    let last = try await states[0].open(.partition(partition))
    #expect(last.checkpoint == UInt64(applied.done))
    #expect(try await last.text("count") == "\(applied.done)")
    #expect(applied.done > 0 && applied.fenced > 0, "\(applied)")
    for state in states { await state.close() }
  }

  @Test func aClosedStateAndAClosedSessionSaySo() async throws {
    let state = try await state()
    let closed = try await state.open(.pipeline)
    await closed.close()
    #expect(try await outcome { _ = try await closed.multiGet([key("a")]) } == .unusable)
    #expect(try await outcome { try await closed.apply(put("a", "1"), checkpoint: nil) } == .unusable)
    let session = try await state.open(.pipeline)
    await state.close()
    #expect(try await outcome { _ = try await session.multiGet([key("a")]) } == .unusable)
    #expect(try await outcome { _ = try await state.open(.pipeline) } == .unusable)
  }
}
