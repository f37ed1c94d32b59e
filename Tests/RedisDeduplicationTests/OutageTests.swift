import DatabusCore
import Dispatcher
import Foundation
import RedisDeduplication
import RedisServerFixture
import Testing

/// Redis away, slow, full, locked: it is never an answer, and the same store works on.
@Suite struct OutageTests {
  @Test(arguments: [RedisServer.Listening.socket, .port])
  func aStoreGoesOnAfterRedisWasKilledAndStartedAgain(_ listening: RedisServer.Listening) async throws {
    let server = try await RedisServer(listening, settings: ["--appendonly", "yes", "--appendfsync", "always"])
    let store = try await open(server)
    #expect(try await store.process([claim(id(1), 1), claim(id(2), 1), settle(id(2), 1, .done)])[1] == granted)
    try await server.kill()
    let away = try await unavailable { _ = try await store.answer(claim(id(3), 1)) }
    #expect(away.contains(server.url), "\(away)")
    #expect(try await !unavailable { _ = try await store.marks() }.isEmpty)
    try await server.start()
    // The same call again, as the dispatcher makes it.
    #expect(try await retrying { try await store.answer(claim(id(3), 1)) } == granted)
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    #expect(try await store.answer(claim(id(2), 2)) == .done)
    await store.close()
  }

  @Test func redisThatIsAwayAtTheStartIsWaitedFor() async throws {
    let server = try await RedisServer(.port, starts: false)
    #expect(try await unavailable { _ = try await open(server) }.contains("cannot be reached (Connection refused)"))
    try await server.start()
    let store = try await retrying { try await open(server) }
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    await store.close()
  }

  @Test func redisThatStandsStillIsUnavailable() async throws {
    let server = try await RedisServer(.port)
    let store = try await retrying { try await open(server, timeout: .milliseconds(500)) }
    server.pause()
    // Done once Redis goes on, on a connection that nobody listens to any more.
    let late = try await unavailable { _ = try await store.answer(claim(id(1), 1)) }
    #expect(late.contains("did not answer within 0.5 seconds"), "\(late)")
    server.resume()
    #expect(try await retrying { try await store.answer(claim(id(1), 1)) } == granted)
    #expect(try await retrying { try await store.answer(settle(id(1), 1, .done)) } == .settled)
    await store.close()
  }

  /// The script has run, and its answer never arrives.
  @Test func whatIsAskedAgainAfterALostAnswerIsAnsweredTheSame() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let store = try await open(server, url: proxy.url)
    let claims = (0..<20).map { claim(id($0), 100 + $0, attempts: Int($0)) }
    let ends: [DeduplicationRequest] = (0..<20).map { number in
      settle(id(number), 100 + number, [.done, .dead, .stored, .waiting(.seconds(600))][Int(number % 4)], attempts: 30)
    }
    for losses in 1...3 {
      proxy.loseAnswers(losses)
      let lost = try await unavailable { _ = try await store.process(claims) }
      #expect(lost.contains("was lost"), "\(lost)")
      #expect(
        try await retrying { try await store.process(claims) }
          == (0..<20).map { .granted(attempts: $0, isOutcomeUnknown: false) })
    }
    for losses in 1...3 {
      proxy.loseAnswers(losses)
      #expect(try await unavailable { _ = try await store.process(ends) }.contains("was lost"))
      #expect(try await retrying { try await store.process(ends) } == ends.map { _ in .settled })
    }
    await store.close()
    proxy.stop()
  }

  @Test func aRedisThatWasEmptiedKnowsNothing() async throws {
    let server = try await RedisServer()
    let store = try await open(server)
    _ = try await store.process([claim(id(1), 1), claim(id(2), 1)])
    try server.cli("FLUSHALL")
    #expect(try await store.answer(settle(id(1), 1, .stored)) == .refused)
    #expect(try await store.answer(settle(id(2), 1, .done)) == .settled)
    #expect(try await store.answer(claim(id(1), 2)) == granted)
    #expect(try await store.answer(claim(id(2), 2)) == .done)
    await store.close()
  }

  @Test func scriptsThatRedisHasForgottenAreSentAgainAndTheOrderStays() async throws {
    let server = try await RedisServer()
    let store = try await open(server)
    for number: UInt64 in 1...5 {
      try server.cli("SCRIPT", "FLUSH")
      #expect(
        try await store.process([claim(id(number), 1), settle(id(number), 1, .done), claim(id(number), 2)]) == [
          granted, .settled, .done,
        ])
    }
    await store.close()
  }

  @Test func aFullRedisIsUnavailableAndTakesTheEndsOfWhatWasClaimed() async throws {
    let server = try await RedisServer()
    let store = try await open(server)
    let all: [DeduplicationRequest] = (1...4).map { claim(id($0), 1) }
    #expect(try await store.process(all) == all.map { _ in granted })
    try server.cli("CONFIG", "SET", "maxmemory", "1")
    let full = try await unavailable { _ = try await store.answer(claim(id(9), 1)) }
    #expect(full.contains("is full") && full.contains("raise maxmemory") && full.contains("dedup.ttl"), "\(full)")
    #expect(
      try await unavailable { _ = try await store.set(DispatchMark(.rule("a"), .paused, at: 1)) }.contains("full"))
    #expect(try await unavailable { _ = try await open(server) }.contains("maxmemory"))
    #expect(
      try await store.process([
        settle(id(1), 1, .done), settle(id(2), 1, .dead), settle(id(3), 1, .stored, attempts: 2),
        settle(id(4), 1, .waiting(.seconds(600))),
      ]) == [.settled, .settled, .settled, .settled])
    // What is done without a claim is new.
    #expect(try await unavailable { _ = try await store.answer(settle(id(8), 1, .done)) }.contains("is full"))
    try server.cli("CONFIG", "SET", "maxmemory", "0")
    #expect(
      try await store.process([claim(id(1), 2), claim(id(2), 2), claim(id(3), 2), claim(id(8), 2), claim(id(9), 1)])
        == [
          .done, .dead, .stale, granted, granted,
        ])
    await store.close()
  }

  @Test func aReplicaTakesNothingUntilItIsThePrimary() async throws {
    let server = try await RedisServer()
    let store = try await open(server)
    _ = try await store.answer(claim(id(1), 1))
    try server.cli("REPLICAOF", "127.0.0.1", "1")
    #expect(try await unavailable { _ = try await store.answer(settle(id(1), 1, .done)) }.contains("is a replica"))
    try server.cli("REPLICAOF", "NO", "ONE")
    #expect(try await retrying { try await store.answer(settle(id(1), 1, .done)) } == .settled)
    await store.close()
  }

  @Test func replicasAreWaitedForWhereTheyAreAskedFor() async throws {
    let server = try await RedisServer(.port, settings: ["--repl-diskless-sync-delay", "0"])
    let store = try await open(server, timeout: .milliseconds(600), replicas: 1)
    let alone = try await unavailable { _ = try await store.answer(claim(id(1), 1)) }
    #expect(alone.contains("0 of 1 replicas"), "\(alone)")
    let port = try #require(server.port)
    let replica = try await RedisServer(settings: ["--replicaof", "127.0.0.1 \(port)"])
    #expect(try await retrying { try await store.answer(claim(id(1), 1)) } == granted)
    #expect(try await retrying { try await store.answer(settle(id(1), 1, .done)) } == .settled)
    #expect(try replica.cli("DBSIZE") == "1")
    try await retrying { try await store.set(DispatchMark(.rule("a"), .paused, at: 1)) }
    #expect(try replica.cli("HGETALL", "p:marks") == "paused rule a\n1 ")
    await store.close()
  }

  @Test func aPasswordThatIsMissingEndsTheStartAndIsAnOutageLater() async throws {
    let server = try await RedisServer(.port, settings: ["--requirepass", "hush"])
    #expect(try await unusable { _ = try await open(server) }.contains("asks for a password"))
    let store = try await open(server, url: server.url.replacingOccurrences(of: "redis://", with: "redis://:hush@"))
    #expect(try await store.answer(claim(id(1), 1)) == granted)
    try server.cli("CONFIG", "SET", "requirepass", "other", password: "hush")
    try server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password: "other")
    let exchanged = try await unavailable { while true { _ = try await store.answer(claim(id(1), 1)) } }
    #expect(!exchanged.contains("hush"))
    #expect(try await !unavailable { _ = try await store.answer(claim(id(1), 1)) }.isEmpty)
    try server.cli("CONFIG", "SET", "requirepass", "hush", password: "other")
    #expect(try await retrying { try await store.answer(claim(id(1), 1)) } == granted)
    await store.close()
  }
}
