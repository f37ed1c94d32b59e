import DatabusCore
import Foundation
import RedisServerFixture
import RedisState
import Testing

/// Redis that was emptied, went back to an older copy, or lost a part of its keys: nothing is written over a stale base.
@Suite struct DataLossTests {
  @Test(arguments: [nil, 3] as [UInt64?])
  func aSessionFromBeforeRedisWasEmptiedWritesNothing(_ checkpoint: UInt64?) async throws {
    let server = try await RedisServer()
    let log = LogLines()
    let state = try await open(server, log: log.logger)
    let id = state.id
    let session = try await state.open(.partition(partition))
    let rules = try await state.open(.pipeline)
    try await session.apply(put("a", "1"), checkpoint: 1)
    try await session.apply(put("a", "2"), checkpoint: 2)
    try await rules.apply(put("rules-vector", "1"), checkpoint: nil)
    try server.cli("FLUSHALL")
    let lost = try await refusal { try await session.apply(put("a", "3"), checkpoint: checkpoint) }
    guard case .diverged(let reason) = lost else { return #expect(Bool(false), "\(lost)") }
    #expect(reason.contains("was emptied"))
    // The pipeline's sessions live on; what they write rests on what they expect.
    let stale = batch {
      $0.expect(key("rules-vector"), key("1"))
      $0.put(key("rules-vector"), key("2"))
    }
    #expect(try await outcome { try await rules.apply(stale, checkpoint: nil) } == .diverged)
    #expect(try server.cli("DBSIZE") == "0")
    try await rules.apply(put("presence/p", "1"), checkpoint: nil)

    // It is another backend now, and says so.
    let again = try await state.open(.partition(partition))
    #expect(again.checkpoint == 0 && again.epoch > session.epoch)
    #expect(try await again.text("a") == nil)
    #expect(state.id != id && !state.id.isEmpty)
    #expect(log.all.contains { $0.level == .error && $0.what.contains("was emptied") && $0.remedy != nil })
    try await again.apply(put("a", "1"), checkpoint: 1)
    // The old session is an older one now.
    #expect(try await outcome { try await session.apply(put("a", "9"), checkpoint: 2) } == .fenced)
    #expect(try await again.text("a") == "1")
    await state.close()
  }

  @Test func aSessionWhoseLastWritesAreLostWritesNothing() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let id = state.id
    let session = try await state.open(.partition(partition))
    try await session.apply(put("a", "1"), checkpoint: 1)
    let dump = try server.dump()
    try await session.apply(put("a", "2"), checkpoint: 2)
    try await session.apply(put("a", "3"), checkpoint: nil)
    try await server.restore(dump)
    #expect(try await retrying { try await session.text("a") } == "1")
    for checkpoint: UInt64? in [nil, 2, 3, 4] {
      // 2 would follow what is stored, and was based on it: but the session has gone on from there.
      #expect(
        try await outcome { try await session.apply(put("a", "4"), checkpoint: checkpoint) } == .diverged,
        "\(String(describing: checkpoint))")
    }
    let again = try await state.open(.partition(partition))
    #expect(again.checkpoint == 1)
    #expect(state.id == id)
    try await again.apply(put("a", "2'"), checkpoint: 2)
    #expect(try await outcome { try await session.apply(put("a", "4"), checkpoint: 3) } == .fenced)
    #expect(try await again.text("a") == "2'")
    await state.close()
  }

  @Test func aSessionThatAnOlderCopyDoesNotKnowWritesNothing() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let first = try await state.open(.partition(partition))
    try await first.apply(put("a", "1"), checkpoint: 1)
    let dump = try server.dump()
    let second = try await state.open(.partition(partition))
    try await second.apply(put("a", "2"), checkpoint: 2)
    try await server.restore(dump)
    #expect(
      try await outcome { try await retrying { try await second.apply(put("a", "3"), checkpoint: 3) } } == .diverged)
    // A session that was opened since the restoration is newer than all that was before it.
    let third = try await state.open(.partition(partition))
    #expect(third.epoch > second.epoch && third.checkpoint == 1)
    for old in [first, second] {
      #expect(try await outcome { try await old.apply(put("a", "3"), checkpoint: 2) } == .fenced)
    }
    try await third.apply(put("a", "2'"), checkpoint: 2)
    await state.close()
  }

  /// The answer of a checkpoint was lost, and then Redis lost the checkpoint: the repeat rests on what is stored.
  @Test func aLostCheckpointWhoseAnswerWasLostIsWrittenByItsRepeat() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let state = try await open(server, url: proxy.url)
    let session = try await state.open(.partition(partition))
    try await session.apply(put("a", "1"), checkpoint: 1)
    let dump = try server.dump()
    proxy.loseAnswers(1)
    #expect(try await outcome { try await session.apply(put("a", "2"), checkpoint: 2) } == .unavailable)
    try await server.restore(dump)
    try await retrying { try await session.apply(put("a", "2"), checkpoint: 2) }
    try await session.apply(put("a", "3"), checkpoint: 3)
    #expect(try await session.text("a") == "3")
    await state.close()
    proxy.stop()
  }

  @Test func aScopeThatHasLostAKeyIsRefusedAndNotTakenForEmpty() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let stateKey = "databus:{p/events/i-1/3}:state"
    let orderKey = "databus:{p/events/i-1/3}:order"
    for command in ["DEL \(stateKey)", "DEL \(orderKey)", "HDEL \(stateKey) =a", "ZREM \(orderKey) =a"] {
      let session = try await state.open(.partition(partition))
      try await session.apply(put("a", "1"), checkpoint: 1)
      #expect(try server.cli(input: Data(command.utf8)) == "1")
      for damaged in [
        try await refusal { _ = try await state.open(.partition(partition)) },
        try await refusal { try await session.apply(put("a", "2"), checkpoint: 2) },
        try await refusal { _ = try await session.scanAll(prefix: []) },
      ] {
        guard case .unusable(let reason) = damaged else {
          Issue.record("\(damaged)")
          continue
        }
        #expect(reason.contains(stateKey) && reason.contains("noeviction"), "\(reason)")
      }
      try await state.remove(partition)
      #expect(try await state.open(.partition(partition)).checkpoint == 0)
      try await state.remove(partition)
    }
    await state.close()
  }

  @Test func keysOfAnotherProgramAreNotTouched() async throws {
    let server = try await RedisServer()
    try server.cli("SET", "databus:{p}:state", "mine")
    let state = try await open(server)
    let foreign = try await refusal { _ = try await state.open(.pipeline) }
    guard case .unusable(let reason) = foreign else { return #expect(Bool(false), "\(foreign)") }
    #expect(reason.contains("another program"))
    #expect(try server.cli("GET", "databus:{p}:state") == "mine")
    await state.close()
  }
}
