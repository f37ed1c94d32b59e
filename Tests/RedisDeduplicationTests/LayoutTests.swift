import DatabusCore
import Dispatcher
import Foundation
import RedisClient
import RedisDeduplication
import RedisServerFixture
import Testing

/// What stands in Redis, what it weighs, and what its configuration puts at risk.
@Suite struct LayoutTests {
  @Test func aDeliveryIsOneKeyThatRedisForgets() async throws {
    let server = try await RedisServer()
    let store = try await open(server, "orders")
    let id = DeliveryID(high: 0x6162_6364_6566_6768, low: 0x696A_6B6C_6D6E_6F70)
    let key = "orders:d:abcdefghijklmnop"
    #expect(try server.cli("DBSIZE") == "0")
    #expect(try await store.answer(claim(id, 7)) == granted)
    #expect(try server.cli("KEYS", "*") == key)
    // Lease and retention: the claim is forgotten an hour after its lease.
    let claimed = try #require(Int(try server.cli("PTTL", key)))
    #expect((4_100_000...4_200_000).contains(claimed))
    #expect(try server.cli("STRLEN", key) == "23")
    _ = try await store.answer(settle(id, 7, .waiting(.seconds(10_000))))
    let waiting = try #require(Int(try server.cli("PTTL", key)))
    #expect((13_500_000...13_600_000).contains(waiting))
    _ = try await store.answer(settle(id, 7, .done))
    #expect(try server.cli("GET", key) == "0")
    // The number is Redis's own, shared by all keys.
    #expect(try server.cli("OBJECT", "ENCODING", key) == "int")
    #expect(try #require(Int(try server.cli("OBJECT", "REFCOUNT", key))) > 1)
    let done = try #require(Int(try server.cli("PTTL", key)))
    #expect((3_500_000...3_600_000).contains(done))
    await store.close()
  }

  @Test func marksAreOneHashThatPeopleCanRead() async throws {
    let server = try await RedisServer()
    let store = try await open(server, "orders")
    try await store.set(DispatchMark(.destination("https://a.example/x"), .disabled, at: 17, detail: "it answered 410"))
    #expect(try server.cli("KEYS", "*") == "orders:marks")
    #expect(
      try server.cli("HGETALL", "orders:marks") == "disabled destination https://a.example/x\n17 it answered 410")
    #expect(try server.cli("TTL", "orders:marks") == "-1")
    try server.cli("HSET", "orders:marks", "muted rule a", "1 x")
    #expect(try await unusable { _ = try await store.marks() }.contains("\"muted rule a\""))
    await store.close()
  }

  @Test func pipelinesAreApart() async throws {
    let server = try await RedisServer()
    let (one, two) = (try await open(server, "one"), try await open(server, "two"))
    for store in [one, two] { #expect(try await store.answer(claim(id(1), 1)) == granted) }
    try await one.set(DispatchMark(.rule("a"), .paused, at: 1))
    #expect(try await two.marks() == [])
    await one.close()
    await two.close()
  }

  @Test func aCallIsOneRoundTrip() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let store = try await open(server, url: proxy.url)
    let before = proxy.roundTrips
    _ = try await store.process((0..<100).map { claim(id($0), 1) })
    #expect(proxy.roundTrips == before + 1)
    await store.close()
    proxy.stop()
  }

  @Test func moreRequestsThanOneRoundTripTakesAreAnsweredInTheirOrder() async throws {
    let server = try await RedisServer()
    let store = try await open(server)
    let count: UInt64 = 40_000
    let answers = try await store.process((0..<count).map { claim(id($0), 1, attempts: Int($0)) })
    #expect(answers == (0..<Int(count)).map { .granted(attempts: $0, isOutcomeUnknown: false) })
    await store.close()
  }

  /// What a person must give Redis: stated in docs, in the store and in its messages.
  @Test func aRememberedDeliveryWeighsWhatIsSaid() async throws {
    let server = try await RedisServer()
    let store = try await open(server, "orders")
    func used() throws -> Int {
      let line = try server.cli("INFO", "memory").split(whereSeparator: \.isNewline).first {
        $0.hasPrefix("used_memory:")
      }
      return try #require(line.flatMap { Int($0.dropFirst("used_memory:".count)) })
    }
    let before = try used()
    let count: UInt64 = 100_000
    for start in stride(from: 0, to: count, by: 10_000) {
      _ = try await store.process((start..<start + 10_000).map { claim(id($0), $0) })
    }
    let claimed = Double(try used() - before) / Double(count)
    for start in stride(from: 0, to: count, by: 10_000) {
      _ = try await store.process((start..<start + 10_000).map { settle(id($0), $0, .done) })
    }
    let done = Double(try used() - before) / Double(count)
    // 117 and 165 with the jemalloc of Debian 12.
    #expect(done < 130 && claimed < 190, "\(done), \(claimed)")
    await store.close()
  }

  /// A node of a cluster refuses a script whose key is in another's slot. This one has all slots.
  @Test func aClusterNeedsNoTags() async throws {
    let port = try RedisServer.freePort()
    let server = try await RedisServer(settings: ["--cluster-enabled", "yes", "--cluster-port", "\(port)"])
    try server.cli("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    let store = try await retrying { try await open(server) }
    let ids = [id(1), DeliveryID(high: 0x7B7D_7B41_7D00_7B7D, low: 0x7D7B_7D7B_7D7B_7D7B)] + (0..<100).map(id)
    for id in Set(ids) {
      #expect(
        try await store.process([claim(id, 1), settle(id, 1, .done), claim(id, 2)]) == [granted, .settled, .done])
    }
    try await store.set(DispatchMark(.rule("a"), .paused, at: 1))
    // A part of the keys is another node's.
    try server.cli("CLUSTER", "DELSLOTSRANGE", "0", "8000")
    try server.cli("CONFIG", "SET", "cluster-require-full-coverage", "no")
    let moved = try await retryingUntilRefused { _ = try await store.process((0..<100).map { claim(id($0), 3) }) }
    #expect(moved.lowercased().contains("cluster"), "\(moved)")
    await store.close()
  }

  /// The cluster's view changes a moment later.
  private func retryingUntilRefused(_ body: () async throws -> Void) async throws -> String {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      do { try await body() } catch DeduplicationError.unavailable(let reason) { return reason }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw RedisServer.Failure(description: "it was never refused")
  }

  @Test func whatNobodyWroteIsToldAndLeftAsItIs() async throws {
    let server = try await RedisServer()
    let store = try await open(server, "orders")
    let id = DeliveryID(high: 0x6162_6364_6566_6768, low: 0x696A_6B6C_6D6E_6F70)
    let key = "orders:d:abcdefghijklmnop"
    for value in ["", "Z2345678901234567890123", "C1", "1x", "-1"] {
      try server.cli("SET", key, value)
      for request in [claim(id, 1), settle(id, 1, .done)] {
        let told = try await unusable { _ = try await store.answer(request) }
        #expect(told.contains("\(id)") && told.contains("newer release"), "\(told)")
      }
      #expect(try server.cli("GET", key) == value)
    }
    try server.cli("DEL", key)
    try server.cli("LPUSH", key, "x")
    #expect(try await unusable { _ = try await store.answer(claim(id, 1)) }.contains("another program"))
    await store.close()
  }

  @Test func theRightsThatAreNamedAreEnough() async throws {
    let server = try await RedisServer(.port)
    try server.cli("ACL", "SETUSER", "databus", "on", ">s3cret", "~orders:*", "+@connection")
    for right in ["evalsha", "script|load", "get", "set", "pexpire", "time", "hgetall", "hset", "hdel"] {
      try server.cli("ACL", "SETUSER", "databus", "+" + right)
    }
    let url = server.url.replacingOccurrences(of: "redis://", with: "redis://databus:s3cret@")
    let store = try await open(server, "orders", url: url)
    #expect(try await store.process([claim(id(1), 1), settle(id(1), 1, .done)]) == [granted, .settled])
    try await store.set(DispatchMark(.rule("a"), .paused, at: 1))
    #expect(try await store.marks().count == 1)
    try await store.remove(.rule("a"), .paused)
    // What it may not ask for it cannot tell.
    #expect(try await store.risks() == [])
    for right in ["get", "set", "time", "evalsha"] {
      try server.cli("ACL", "SETUSER", "databus", "-" + right)
      let told = try await unusable { _ = try await open(server, "orders", url: url) }
      #expect(told.contains("The user may not do this"), "\(right): \(told)")
      try server.cli("ACL", "SETUSER", "databus", "+" + right)
    }
    await store.close()
  }

  // MARK: Risks

  private func risks(_ settings: [String]) async throws -> [String] {
    let server = try await RedisServer(settings: settings)
    let store = try await open(server)
    let risks = try await store.risks()
    await store.close()
    return risks
  }

  @Test func whatForgetsDeliveriesIsTold() async throws {
    #expect(try await risks(["--appendonly", "yes"]) == [])
    #expect(try await risks(["--save", "60 1"]) == [])
    let nothing = try await risks([])
    #expect(nothing.count == 1 && nothing[0].contains("keeps nothing on the disk"))
    for policy in ["allkeys-lru", "volatile-lru", "volatile-ttl", "volatile-random"] {
      let evicting = try await risks(["--appendonly", "yes", "--maxmemory", "100mb", "--maxmemory-policy", policy])
      #expect(evicting.count == 1 && evicting[0].contains(policy) && evicting[0].contains("noeviction"), "\(evicting)")
    }
    // Without a limit nothing is evicted.
    #expect(try await risks(["--appendonly", "yes", "--maxmemory-policy", "allkeys-lru"]) == [])
    #expect(try await risks(["--appendonly", "yes", "--maxmemory", "100mb"]) == [])
    // CONFIG is often forbidden.
    let silent = try await risks(["--rename-command", "CONFIG", ""])
    #expect(silent.count == 1 && silent[0].contains("no append-only file"))
    #expect(try await risks(["--appendonly", "yes", "--rename-command", "CONFIG", ""]) == [])
    #expect(try await risks(["--rename-command", "CONFIG", "", "--rename-command", "INFO", ""]) == [])
  }
}
