import DatabusCore
import Foundation
import RedisClient
import RedisServerFixture
import Testing

@testable import RedisState

/// What stands in Redis, as docs/decisions/state-in-redis.md says it, and what its configuration puts at risk.
@Suite struct LayoutTests {
  @Test func theKeysAreThoseOfTheGuide() async throws {
    let server = try await RedisServer()
    let state = try await open(server, "orders")
    let session = try await state.open(.partition(PartitionID(stream: "a/b{c}", incarnation: "é 1", index: 2)))
    try await session.apply(put("position", "7"), checkpoint: 1)
    try await state.open(.pipeline).apply(put("rule/a", "r"), checkpoint: nil)
    let scope = "databus:{orders/a%2Fb%7Bc%7D/%C3%A9%201/2}"
    #expect(
      try server.cli("KEYS", "*").split(separator: "\n").map(String.init).sorted() == [
        "\(scope):order", "\(scope):state", "databus:{orders}:id", "databus:{orders}:order",
        "databus:{orders}:partitions",
        "databus:{orders}:state",
      ])
    #expect(try server.cli("GET", "databus:{orders}:id") == state.id)
    #expect(try server.cli("SMEMBERS", "databus:{orders}:partitions") == "a%2Fb%7Bc%7D/%C3%A9%201/2")
    #expect(try server.cli("HGET", "\(scope):state", "epoch") == "\(session.epoch)")
    #expect(
      try server.cli("HMGET", "\(scope):state", "format", "checkpoint", "revision", "=position").split(separator: "\n")
        == [
          "1", "1", "1", "7",
        ])
    #expect(try server.cli("ZRANGE", "databus:{orders}:order", "0", "-1", "WITHSCORES") == "=rule/a\n0")
    #expect(
      try server.cli("HKEYS", "databus:{orders}:state").split(separator: "\n").sorted() == [
        "=rule/a", "checkpoint", "epoch", "format", "revision", "session", "writer",
      ])
    await state.close()
  }

  @Test func namesOfPartitionsAreReadAgain() {
    for partition in [
      PartitionID(stream: "events", incarnation: "", index: 0), PartitionID(stream: "", incarnation: "i", index: 7),
      PartitionID(stream: "a/b", incarnation: "c", index: 1), PartitionID(stream: "a", incarnation: "b/c", index: 1),
      PartitionID(stream: "100%", incarnation: "{}\u{0}é", index: .max),
    ] {
      #expect(StateKeys.partition(named: StateKeys.name(of: partition)) == partition)
    }
    for name in ["", "a/b", "a/b/c", "a/b/1/2", "a%2/b/1", "a%zz/b/1", "%ff/b/1"] {
      #expect(StateKeys.partition(named: name) == nil, "\(name)")
    }
  }

  /// One round trip a call: everything of it goes together.
  @Test func everyCallIsOneRoundTrip() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let state = try await open(server, url: proxy.url)
    // Scripts are sent at their first use.
    let first = try await state.open(.partition(partition))
    try await first.apply(put("a", "0"), checkpoint: 1)
    _ = try await first.scanAll(prefix: [])
    let pipeline = try await state.open(.pipeline)
    func trips(_ body: () async throws -> Void) async throws -> Int {
      let before = proxy.roundTrips
      try await body()
      return proxy.roundTrips - before
    }
    #expect(try await trips { _ = try await state.open(.partition(partition)) } == 1)
    let session = try await state.open(.partition(partition))
    #expect(try await trips { try await session.apply(put("a", "1"), checkpoint: 2) } == 1)
    #expect(
      try await trips {
        try await pipeline.apply(
          batch { for number in 0..<1000 { $0.put(key("\(number)"), key("v")) } }, checkpoint: nil)
      } == 1)
    #expect(try await trips { _ = try await pipeline.multiGet((0..<1000).map { key("\($0)") }) } == 1)
    #expect(try await trips { _ = try await pipeline.scan(prefix: [], after: nil, limit: 1000) } == 1)
    await state.close()
    proxy.stop()
  }

  /// A node of a cluster refuses a script whose keys are of several slots. This one has all slots.
  @Test func theKeysOfAScopeAreOnOneNodeOfACluster() async throws {
    let port = try RedisServer.freePort()
    let server = try await RedisServer(settings: ["--cluster-enabled", "yes", "--cluster-port", "\(port)"])
    try server.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    let state = try await retrying { try await open(server) }
    let odd = PartitionID(stream: "}{", incarnation: "}", index: 0)
    for scope: StateScope in [.pipeline, .partition(partition), .partition(odd)] {
      let session = try await state.open(scope)
      try await session.apply(put("a", "1"), checkpoint: 1)
      #expect(try await session.scanAll(prefix: []).map(\.value) == [key("1")])
    }
    #expect(try await Set(state.partitions()) == [partition, odd])
    try await state.remove(partition)
    await state.close()
    try server.cli("CLUSTER", "DELSLOTSRANGE", "0", "16383")
    #expect(try await outcome { _ = try await open(server) } == .unavailable)
  }

  @Test func aNewerFormatIsRefused() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let session = try await state.open(.partition(partition))
    try server.cli("HSET", "databus:{p/events/i-1/3}:state", "format", "2")
    for newer in [
      try await refusal { _ = try await state.open(.partition(partition)) },
      try await refusal { try await session.apply(put("a", "1"), checkpoint: 1) },
    ] {
      #expect("\(newer)".contains("newer release (format 2)"), "\(newer)")
    }
    await state.close()
  }

  @Test func epochsGoUpAlsoWhereTheClockOfRedisDoesNot() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let session = try await state.open(.partition(partition))
    let future = session.epoch + 1_000_000_000_000
    try server.cli("HSET", "databus:{p/events/i-1/3}:state", "epoch", "\(future)")
    #expect(try await state.open(.partition(partition)).epoch == future + 1)
    #expect(try await state.open(.partition(partition)).epoch == future + 2)
    await state.close()
  }

  /// What was sent on a connection that was given up can be done after what followed it.
  @Test func aRequestThatWasOvertakenEndsNoSession() async throws {
    let server = try await RedisServer()
    let keys = StateKeys(prefix: "databus", pipeline: "p").both(.partition(partition))
    let redis = RedisConnection(.init(try RedisEndpoint(url: server.url)))
    func open(_ nonce: String, _ number: Int) throws -> String? {
      var call = RedisCommand(StateScripts.open, keys: keys)
      call.append(nonce)
      call.append(number)
      return try redis.call(call).elements.first?.text
    }
    #expect(try open("a", 2) == "ok")
    #expect(try open("a", 1) == "overtaken")
    #expect(try open("a", 2) == "overtaken")
    #expect(try open("a", 10) == "ok")
    #expect(try open("b", 1) == "ok")
    #expect(try open("a", 11) == "ok")
  }

  // MARK: Risks

  private func warnings(_ settings: [String]) async throws -> [String] {
    let server = try await RedisServer(settings: settings)
    let log = LogLines()
    let state = try await open(server, log: log.logger)
    await state.close()
    #expect(log.all.allSatisfy { $0.level == .warning && $0.remedy != nil && $0.place != nil })
    return log.all.map(\.what)
  }

  @Test func whatCanLoseStateIsWarnedOf() async throws {
    #expect(try await warnings(["--appendonly", "yes"]) == [])
    #expect(try await warnings(["--save", "60 1"]) == [])
    let nothing = try await warnings([])
    #expect(nothing.count == 1 && nothing[0].contains("keeps nothing on the disk"))
    let evicting = try await warnings(
      ["--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"])
    #expect(evicting.count == 1 && evicting[0].contains("may evict"))
    // These evict only keys that expire, which ours do not; and without a limit nothing is evicted.
    #expect(
      try await warnings(["--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"]) == [])
    #expect(try await warnings(["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"]) == [])
    // A server that does not tell.
    #expect(try await warnings(["--rename-command", "CONFIG", "", "--rename-command", "INFO", ""]) == [])
  }
}
