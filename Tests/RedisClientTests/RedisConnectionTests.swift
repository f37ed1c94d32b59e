import Foundation
import RedisClient
import RedisServerFixture
import Testing

/// Its calls block: one test after another, so that one thread of the pool is held up at a time.
@Suite(.serialized) struct RedisConnectionTests {
  private func connection(
    _ url: String, timeout: Duration = .seconds(5), change: (inout RedisEndpoint) -> Void = { _ in }
  ) throws -> RedisConnection {
    var endpoint = try RedisEndpoint(url: url)
    change(&endpoint)
    return RedisConnection(.init(endpoint, connectTimeout: .seconds(2), timeout: timeout))
  }

  private func error(_ body: () throws -> some Any) -> RedisError? {
    do {
      Issue.record("it succeeded: \(try body())")
    } catch let error as RedisError {
      return error
    } catch {
      Issue.record("\(error)")
    }
    return nil
  }

  /// Tries until it succeeds, as a caller does.
  private func eventually<R>(_ body: () throws -> R) async throws -> R {
    let deadline = ContinuousClock.now + .seconds(20)
    while true {
      do { return try body() } catch {
        if ContinuousClock.now > deadline { throw error }
        try await Task.sleep(for: .milliseconds(10))
      }
    }
  }

  @Test(arguments: [RedisServer.Listening.socket, .port])
  func commandsAreAnsweredInTheirOrder(_ listening: RedisServer.Listening) async throws {
    let server = try await RedisServer(listening)
    let redis = try connection(server.url)
    let replies = try redis.send([
      RedisCommand("SET", "a", "1"), RedisCommand("INCR", "a"), RedisCommand("GET", "none"),
      RedisCommand("LPUSH", "l", "x", "y"),
      RedisCommand("LRANGE", "l", "0", "-1"), RedisCommand("INCR", "l"), RedisCommand("GET", "a"),
    ])
    #expect(replies[0] == .status("OK"))
    #expect(replies[1] == .integer(2))
    #expect(replies[2] == .null)
    #expect(replies[4] == .array([.bytes([0x79]), .bytes([0x78])]))
    guard case .error(let refused) = replies[5] else { return #expect(Bool(false), "\(replies[5])") }
    #expect(refused.kind == .wrongType)
    #expect(replies[6].integer == 2 && replies[6].text == "2")
    #expect(try redis.send([]) == [])
    #expect(error { try redis.call(RedisCommand("INCR", "l")) }?.kind == .wrongType)
  }

  @Test func argumentsAndAnswersAreBytes() async throws {
    let server = try await RedisServer()
    let redis = try connection(server.url)
    let values: [[UInt8]] = [
      [], [0], [0, 0, 1], Array(0...255), Array("\r\n$5\r\n".utf8), [UInt8](repeating: 0, count: 5 << 20),
    ]
    for value in values {
      var command = RedisCommand("ECHO")
      command.append(value)
      #expect(try redis.call(command) == .bytes(value))
      var set = RedisCommand("SET")
      set.append(UInt8(7), value)
      set.append(value)
      _ = try redis.call(set)
      var get = RedisCommand("GET")
      get.append([7] + value)
      #expect(try redis.call(get).bytes == value)
    }
  }

  @Test func thousandsOfCommandsAndOfArgumentsGoInOneRoundTrip() async throws {
    let server = try await RedisServer()
    let redis = try connection(server.url)
    let replies = try redis.send((0..<20_000).map { RedisCommand("SET", "k\($0)", "\($0)") })
    #expect(replies.count == 20_000 && replies.allSatisfy { $0 == .status("OK") })
    var all = RedisCommand("MGET")
    for index in 0..<20_000 { all.append("k\(index)") }
    #expect(try redis.call(all).elements.compactMap(\.integer) == Array(0..<20_000))
  }

  @Test func aScriptIsSentOnceAndAgainWhereItWasForgotten() async throws {
    let server = try await RedisServer()
    let redis = try connection(server.url)
    let add = RedisScript("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    func call(_ number: Int) -> RedisCommand {
      var command = RedisCommand(add, keys: ["n"])
      command.append(number)
      return command
    }
    #expect(try redis.call(call(1)) == .integer(1))
    #expect(try redis.send([call(1), RedisCommand("GET", "n"), call(2)]).map(\.integer) == [2, 2, 4])
    #expect(try server.cli("INFO", "commandstats").contains("cmdstat_script|load:calls=1"))
    try server.cli("SCRIPT", "FLUSH")
    // What was not refused is not repeated.
    #expect(
      try redis.send([RedisCommand("INCR", "other"), call(5), RedisCommand("INCR", "other")]).map(\.integer) == [
        1, 9, 2,
      ])
    #expect(try server.cli("GET", "other") == "2")
    #expect(try server.cli("INFO", "commandstats").contains("cmdstat_script|load:calls=2"))
  }

  @Test func aPipelineSaysWhatItsCommandsSay() async throws {
    let server = try await RedisServer()
    let redis = try connection(server.url)
    let join = RedisScript("return KEYS[1] .. '|' .. table.concat(ARGV, '|')")
    var pipeline = RedisPipeline()
    #expect(try redis.send(pipeline) == [])
    // Filled twice: nothing of the first time is left.
    for round in 1...2 {
      pipeline.removeAll()
      for number in [0, 9, 10, 12_345, -1, -10, .min, .max] {
        pipeline.begin("ECHO", arguments: 1)
        pipeline.append(number)
      }
      pipeline.begin(join, keys: 1, arguments: 3)
      pipeline.append(Array("key:".utf8), words: (0x4142_4344_4546_4748, 0x6162_6364_6566_6768))
      pipeline.append(word: 0x3031_3233_3435_3637)
      pipeline.append("")
      pipeline.append(round)
      pipeline.append(RedisCommand(join, keys: ["k"]))
      pipeline.append(RedisCommand("ECHO", "end"))
      #expect(pipeline.count == 11)
      try server.cli("SCRIPT", "FLUSH")
      #expect(
        try redis.send(pipeline).map(\.text) == [
          "0", "9", "10", "12345", "-1", "-10", "\(Int.min)", "\(Int.max)", "key:ABCDEFGHabcdefgh|01234567||\(round)",
          "k|",
          "end",
        ])
    }
  }

  @Test func theDatabaseOfTheURLIsUsed() async throws {
    let server = try await RedisServer()
    let redis = try connection(server.url + "?db=3")
    _ = try redis.call(RedisCommand("SET", "a", "1"))
    #expect(try server.cli("-n", "3", "GET", "a") == "1")
    #expect(try server.cli("GET", "a") == "")
    let far = error { try connection(server.url + "?db=99").call(RedisCommand("PING")) }
    #expect(far?.message.contains("has no database 99") == true)
  }

  // MARK: Passwords

  @Test func passwordsAreAskedForRefusedAndTaken() async throws {
    let server = try await RedisServer(.port, settings: ["--requirepass", "hush"])
    func ping(_ user: String?, _ password: String?) throws -> RedisReply {
      try connection(server.url) { ($0.username, $0.password) = (user, password) }.call(RedisCommand("PING"))
    }
    let missing = error { try ping(nil, nil) }
    #expect(missing?.kind == .authentication && missing?.message.contains("asks for a password") == true)
    let wrong = error { try ping(nil, "wr0ng") }
    #expect(wrong?.kind == .authentication && wrong?.message.contains("refuses the user name or the password") == true)
    #expect(wrong?.message.contains("wr0ng") == false)
    #expect(try ping(nil, "hush") == .status("PONG"))
    try server.cli("ACL", "SETUSER", "worker", "on", ">s3cret", "+ping", password: "hush")
    #expect(try ping("worker", "s3cret") == .status("PONG"))
    #expect(error { try ping("worker", "hush") }?.kind == .authentication)
    let forbidden = error {
      try connection(server.url) { ($0.username, $0.password) = ("worker", "s3cret") }.call(RedisCommand("GET", "a"))
    }
    #expect(forbidden?.kind == .forbidden)
  }

  @Test func aPasswordThatIsNotAskedForIsTold() async throws {
    let server = try await RedisServer()
    let refused = error { try connection(server.url) { $0.password = "hush" }.call(RedisCommand("PING")) }
    #expect(refused?.kind == .authentication)
    #expect(refused?.message.contains("has none set") == true && refused?.message.contains("hush") == false)
  }

  // MARK: Away, and back

  @Test func aServerThatIsNotThereIsToldAndFoundOnceItIs() async throws {
    let server = try await RedisServer(.port, starts: false)
    let redis = try connection(server.url)
    let away = error { try redis.call(RedisCommand("PING")) }
    #expect(away?.kind == .unreachable && away?.message.contains("Connection refused") == true)
    #expect(away?.message.contains(server.url) == true)
    // At once again it is not tried, and says the same.
    #expect(error { try redis.call(RedisCommand("PING")) } == away)
    try await server.start()
    #expect(try await eventually { try redis.call(RedisCommand("PING")) } == .status("PONG"))
    let nobody = error { try connection("redis://no-such-host.invalid").call(RedisCommand("PING")) }
    #expect(nobody?.kind == .unreachable)
    #expect(error { try connection("unix:///no/such/socket").call(RedisCommand("PING")) }?.kind == .unreachable)
  }

  // At a socket the write fails (and raises SIGPIPE), at a port the read.
  @Test(arguments: [RedisServer.Listening.socket, .port])
  func aConnectionThatWasLostIsMadeAnewAtTheNextCall(_ listening: RedisServer.Listening) async throws {
    let server = try await RedisServer(listening, settings: ["--appendonly", "yes"])
    let redis = try connection(server.url)
    _ = try redis.call(RedisCommand("SET", "a", "1"))
    try await server.kill()
    #expect(error { try redis.call(RedisCommand("GET", "a")) }?.kind == .connectionLost)
    let away = try await eventually {
      let away = error { try redis.call(RedisCommand("GET", "a")) }
      guard let away, away.kind == .unreachable else {
        throw RedisServer.Failure(description: "it is still \(away as Any)")
      }
      return away
    }
    #expect(away.message.contains(server.url))
    try await server.start()
    #expect(try await eventually { try redis.call(RedisCommand("GET", "a")) }.text == "1")
  }

  @Test func aServerThatStandsStillIsGivenUpAfterTheTimeout() async throws {
    let server = try await RedisServer(.port)
    let redis = try connection(server.url, timeout: .milliseconds(500))
    _ = try await eventually { try redis.call(RedisCommand("PING")) }
    server.pause()
    let start = ContinuousClock.now
    let late = error { try redis.call(RedisCommand("INCR", "n")) }
    #expect(late?.kind == .timedOut && late?.isKnownNotDone == false)
    #expect(ContinuousClock.now - start < .seconds(5))
    server.resume()
    #expect(try await eventually { try redis.call(RedisCommand("PING")) } == .status("PONG"))
  }

  @Test func anAnswerThatIsLostIsNotAskedForAgain() async throws {
    let server = try await RedisServer()
    let proxy = try CuttingProxy(server)
    let redis = try connection(proxy.url)
    _ = try redis.call(RedisCommand("INCR", "n"))
    proxy.loseAnswers(1)
    let lost = error { try redis.call(RedisCommand("INCR", "n")) }
    #expect(lost?.kind == .connectionLost && lost?.isKnownNotDone == false)
    #expect(try server.cli("GET", "n") == "2")
    #expect(try await eventually { try redis.call(RedisCommand("INCR", "n")) } == .integer(3))
    proxy.stop()
  }

  @Test func whatIsNotRedisIsTold() async throws {
    let port = try RedisServer.freePort()
    let other = Process()
    other.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    other.arguments = ["python3", "-m", "http.server", "\(port)", "--bind", "127.0.0.1"]
    other.standardError = FileHandle.nullDevice
    other.standardOutput = FileHandle.nullDevice
    try other.run()
    defer { other.terminate() }
    let redis = try connection("redis://127.0.0.1:\(port)", timeout: .seconds(2))
    var told: RedisError?
    let deadline = ContinuousClock.now + .seconds(20)
    while told?.kind != .notRedis, ContinuousClock.now < deadline {
      do { _ = try redis.call(RedisCommand("PING")) } catch { told = error }
      try await Task.sleep(for: .milliseconds(20))
    }
    #expect(told?.kind == .notRedis)
  }

  // MARK: What the server refuses for a reason of its own

  @Test func aFullServerAReplicaAndOneWithoutReplicasAreTold() async throws {
    let server = try await RedisServer(.port)
    let redis = try connection(server.url)
    let write = RedisScript("return redis.call('SET', KEYS[1], '1')")
    try server.cli("CONFIG", "SET", "maxmemory", "1")
    #expect(error { try redis.call(RedisCommand("SET", "a", "1")) }?.kind == .outOfMemory)
    #expect(error { try redis.call(RedisCommand(write, keys: ["a"])) }?.kind == .outOfMemory)
    try server.cli("CONFIG", "SET", "maxmemory", "0")
    _ = try redis.call(RedisCommand(write, keys: ["a"]))
    // A primary that is not there: the server is a replica all the same.
    try server.cli("REPLICAOF", "127.0.0.1", "1")
    #expect(error { try redis.call(RedisCommand(write, keys: ["a"])) }?.kind == .readOnly)
    try server.cli("REPLICAOF", "NO", "ONE")
    _ = try redis.call(RedisCommand(write, keys: ["a"]))
    try server.cli("CONFIG", "SET", "min-replicas-to-write", "1")
    #expect(error { try redis.call(RedisCommand(write, keys: ["a"])) }?.kind == .tooFewReplicas)
  }
}
