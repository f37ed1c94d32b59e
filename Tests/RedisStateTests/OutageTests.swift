import DatabusCore
import Foundation
import RedisServerFixture
import RedisState
import Testing

/// Redis away, slow, full, locked: nothing is lost, and the same session works on.
@Suite struct OutageTests {
  @Test(arguments: [RedisServer.Listening.socket, .port])
  func aSessionGoesOnAfterRedisWasKilledAndStartedAgain(_ listening: RedisServer.Listening) async throws {
    let server = try await RedisServer(listening, settings: ["--appendonly", "yes"])
    let state = try await open(server)
    let session = try await state.open(.partition(partition))
    let pipeline = try await state.open(.pipeline)
    try await session.apply(put("a", "1"), checkpoint: 1)
    for number: UInt64 in 2...4 {
      try await server.kill()
      let away = try await refusal { try await session.apply(put("a", "\(number)"), checkpoint: number) }
      guard case .unavailable(let reason) = away else { return #expect(Bool(false), "\(away)") }
      #expect(reason.contains(server.url.split(separator: "?")[0]), "\(reason)")
      try await server.start()
      // The same call again, as the engine makes it.
      try await retrying { try await session.apply(put("a", "\(number)"), checkpoint: number) }
      #expect(try await session.text("a") == "\(number)")
      try await pipeline.apply(put("rule", "\(number)"), checkpoint: nil)
    }
    await state.close()
    // And so it is for the next process.
    let next = try await open(server)
    #expect(next.id == state.id)
    #expect(try await next.open(.partition(partition)).checkpoint == 4)
    #expect(try await next.open(.pipeline).text("rule") == "4")
    await next.close()
  }

  @Test func redisThatIsAwayAtTheStartIsWaitedFor() async throws {
    let server = try await RedisServer(.port, starts: false)
    let away = try await refusal { _ = try await open(server) }
    #expect("\(away)".contains("cannot be reached (Connection refused)"), "\(away)")
    #expect(try await outcome { _ = try await open(server) } == .unavailable)
    try await server.start()
    let state = try await retrying { try await open(server) }
    try await state.open(.partition(partition)).apply(put("a", "1"), checkpoint: 1)
    await state.close()
  }

  @Test func redisThatStandsStillIsUnavailableAndItsLateAnswersHarmNothing() async throws {
    let server = try await RedisServer(.port)
    let state = try await retrying { try await open(server, timeout: .milliseconds(500)) }
    let session = try await retrying { try await state.open(.partition(partition)) }
    try await retrying { try await session.apply(put("a", "1"), checkpoint: 1) }
    server.pause()
    // All of these are done once Redis goes on, on connections that nobody listens to any more.
    let late = try await refusal { try await session.apply(put("a", "2"), checkpoint: 2) }
    #expect("\(late)".contains("did not answer within 0.5 seconds"), "\(late)")
    #expect(try await outcome { try await session.apply(put("a", "2"), checkpoint: 2) } == .unavailable)
    #expect(try await outcome { _ = try await state.open(.pipeline) } == .unavailable)
    server.resume()
    try await retrying { try await session.apply(put("a", "2"), checkpoint: 2) }
    try await retrying { try await session.apply(put("a", "3"), checkpoint: 3) }
    #expect(try await retrying { try await session.text("a") } == "3")
    await state.close()
  }

  /// The script has run, and its answer never arrives.
  @Test func aWriteWhoseAnswerWasLostIsKnownAtItsRepeat() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let state = try await open(server, url: proxy.url)
    let session = try await state.open(.partition(partition))
    for number: UInt64 in 1...20 {
      // None, or the first one, two or three of the tries.
      let losses = Int(number % 4)
      proxy.loseAnswers(losses)
      if losses > 0 {
        let lost = try await refusal { try await session.apply(put("a", "\(number)"), checkpoint: number) }
        #expect("\(lost)".contains("was lost"), "\(lost)")
      }
      try await retrying { try await session.apply(put("a", "\(number)"), checkpoint: number) }
      #expect(try await session.text("a") == "\(number)")
    }
    // A write without a number, lost and followed by another one.
    proxy.loseAnswers(1)
    #expect(try await outcome { try await session.apply(put("b", "1"), checkpoint: nil) } == .unavailable)
    try await retrying { try await session.apply(put("b", "2"), checkpoint: nil) }
    try await session.apply(put("a", "21"), checkpoint: 21)
    #expect(try await session.text("b") == "2")
    await state.close()
    proxy.stop()
  }

  @Test func aRequestThatComesTooLateEndsNoLaterSession() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let state = try await open(server, url: proxy.url)
    // Done, and its answer lost: the engine opens again, and has the partition.
    proxy.loseAnswers(1)
    #expect(try await outcome { _ = try await state.open(.partition(partition)) } == .unavailable)
    let session = try await retrying { try await state.open(.partition(partition)) }
    try await session.apply(put("a", "1"), checkpoint: 1)
    await state.close()
    proxy.stop()
  }

  @Test func aFullRedisIsUnavailableWritesNothingAndGoesOnOnceThereIsRoom() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let session = try await state.open(.partition(partition))
    try await session.apply(put("a", "1"), checkpoint: 1)
    try server.cli("CONFIG", "SET", "maxmemory", "1")
    let full = try await refusal {
      try await session.apply(
        batch { for number in 0..<3000 { $0.put(key("\(number)"), key("1")) } }, checkpoint: 2)
    }
    #expect("\(full)".contains("is full"), "\(full)")
    guard case .unavailable = full else { return #expect(Bool(false), "\(full)") }
    #expect(try await session.scanAll(prefix: []).map(\.key) == [key("a")])
    try server.cli("CONFIG", "SET", "maxmemory", "0")
    try await session.apply(put("b", "2"), checkpoint: 2)
    #expect(try await session.text("b") == "2")
    await state.close()
  }

  @Test func aReplicaTakesNoWritesUntilItIsThePrimary() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let session = try await state.open(.partition(partition))
    try await session.apply(put("a", "1"), checkpoint: 1)
    try server.cli("REPLICAOF", "127.0.0.1", "1")
    let replica = try await refusal { try await session.apply(put("a", "2"), checkpoint: 2) }
    #expect("\(replica)".contains("is a replica"), "\(replica)")
    try server.cli("REPLICAOF", "NO", "ONE")
    try await retrying { try await session.apply(put("a", "2"), checkpoint: 2) }
    await state.close()
  }

  @Test func scriptsThatRedisHasForgottenAreSentAgain() async throws {
    let server = try await RedisServer()
    let state = try await open(server)
    let session = try await state.open(.partition(partition))
    for number: UInt64 in 1...5 {
      try server.cli("SCRIPT", "FLUSH")
      try await session.apply(put("a", "\(number)"), checkpoint: number)
      try server.cli("SCRIPT", "FLUSH")
      #expect(try await session.scanAll(prefix: []).map(\.value) == [key("\(number)")])
      try server.cli("SCRIPT", "FLUSH")
      #expect(try await state.open(.pipeline).checkpoint == 0)
    }
    await state.close()
  }

  // MARK: Passwords and rights

  private func url(_ server: RedisServer, _ credentials: String) -> String {
    server.url.replacingOccurrences(of: "redis://", with: "redis://\(credentials)@")
  }

  @Test func aPasswordThatIsMissingOrWrongEndsTheStartAndIsNotShown() async throws {
    let server = try await RedisServer(.port, settings: ["--requirepass", "hush"])
    let missing = try await refusal { _ = try await open(server) }
    #expect("\(missing)".contains("asks for a password"), "\(missing)")
    guard case .unusable = missing else { return #expect(Bool(false), "\(missing)") }
    let wrong = try await refusal { _ = try await open(server, url: url(server, ":wr0ng")) }
    #expect("\(wrong)".contains("refuses the user name or the password") && !"\(wrong)".contains("wr0ng"), "\(wrong)")
    let state = try await open(server, url: url(server, ":hush"))
    let session = try await state.open(.partition(partition))
    try await session.apply(put("a", "1"), checkpoint: 1)
    // Exchanged while we run: an outage, until it is right again.
    try server.cli("CONFIG", "SET", "requirepass", "other", password: "hush")
    try server.cli("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", password: "other")
    let exchanged = try await refusal {
      while true { try await session.apply(put("a", "2"), checkpoint: 2) }
    }
    guard case .unavailable(let reason) = exchanged else { return #expect(Bool(false), "\(exchanged)") }
    #expect(!reason.contains("hush"))
    #expect(try await outcome { try await session.apply(put("a", "2"), checkpoint: 2) } == .unavailable)
    try server.cli("CONFIG", "SET", "requirepass", "hush", password: "other")
    try await retrying { try await session.apply(put("a", "2"), checkpoint: 2) }
    await state.close()
  }

  @Test func theRightsThatTheGuideNamesAreEnoughAndWithoutThemNothingIsHalfWritten() async throws {
    let server = try await RedisServer(.port)
    try server.cli("ACL", "SETUSER", "databus", "on", ">s3cret", "~databus:*", "+@connection")
    let rights = [
      "evalsha", "script|load", "time", "get", "set", "exists", "del", "sadd", "smembers", "hget", "hmget", "hset",
      "hdel", "hlen",
      "zadd", "zrem", "zcard", "zrangebylex",
    ]
    try server.cli("ACL", "SETUSER", "databus", "+" + rights[0])
    for right in rights { try server.cli("ACL", "SETUSER", "databus", "+" + right) }
    let state = try await open(server, url: url(server, "databus:s3cret"))
    let session = try await state.open(.partition(partition))
    try await session.apply(put("a", "1"), checkpoint: 1)
    try await session.apply(batch { $0.delete(key("a")) }, checkpoint: 2)
    try await state.open(.pipeline).apply(put("rule", "1"), checkpoint: nil)
    #expect(try await state.open(.pipeline).scanAll(prefix: []).count == 1)
    #expect(try await state.partitions() == [partition])
    try await state.remove(partition)
    for right in ["hset", "hdel", "zadd", "zrem"] {
      try server.cli("ACL", "SETUSER", "databus", "-" + right)
      let refused = try await refusal { _ = try await state.open(.partition(partition)) }
      #expect("\(refused)".contains("The user may not do this"), "\(right): \(refused)")
      try server.cli("ACL", "SETUSER", "databus", "+" + right)
    }
    try await state.open(.partition(partition)).apply(put("a", "1"), checkpoint: 1)
    await state.close()
  }
}
