import HTTPClient
import Synchronization
import Testing

#if canImport(Glibc)
  import Glibc
#endif

struct HTTPClientLimitTests {
  /// What comes of a request to a server that behaves so.
  private func exchange(
    timeout: Duration = .seconds(20), path: String = "/secret?token=secret",
    _ serve: @escaping @Sendable (RawConnection) -> Void
  ) async throws -> Result<HTTPClientResponse, HTTPClientFailure> {
    let server = try RawServer { connection in
      if connection.readRequest() != nil { serve(connection) }
    }
    defer { server.stop() }
    let client = try HTTPClient(.local())
    let answer = await client.exchange("http://127.0.0.1:\(server.port)\(path)", timeout: timeout)
    await client.close()
    if let failure = answer.failure {
      #expect(failure.message.contains("127.0.0.1:\(server.port)"))
      #expect(!failure.message.contains("secret"))
      #expect(!failure.isProxyFault)
    }
    return answer
  }

  @Test func aBodyIsCutOffAtItsLimitAndItsStatusCounts() async throws {
    let wasClosed = Mutex(false)
    let answer = try await exchange { connection in
      connection.send("HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 100000\r\n\r\n")
      connection.send(String(repeating: "a", count: 20 << 10))
      connection.waitForEnd()
      wasClosed.withLock { $0 = true }
    }
    let response = try answer.get()
    #expect(response.status == 503)
    #expect(response.retryAfter == "7")
    #expect(response.body == [UInt8](repeating: 0x61, count: 1 << 10))
    while !wasClosed.withLock({ $0 }) { await Task.yield() }
  }

  @Test func aBodyUnderTheLimitLeavesTheConnectionAsItIs() async throws {
    let server = try RawServer { connection in
      while connection.readRequest() != nil {
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n" + String(repeating: "a", count: 16 << 10))
      }
    }
    defer { server.stop() }
    try await withClient { client in
      for _ in 0..<3 { #expect(await client.exchange("http://127.0.0.1:\(server.port)/").status == 200) }
      #expect(server.connections == 1)
    }
  }

  @Test(arguments: ["Transfer-Encoding: chunked\r\n", ""])
  func anEndlessBodyIsCutOff(_ header: String) async throws {
    let answer = try await exchange { connection in
      connection.send("HTTP/1.1 200 OK\r\n\(header)\r\n")
      let piece = String(repeating: "a", count: 0x1000)
      while connection.send(header.isEmpty ? piece : "1000\r\n\(piece)\r\n") {}
    }
    #expect(answer.status == 200)
  }

  @Test func aBodyThatDripsEndsAtTheDeadline() async throws {
    let answer = try await exchange(timeout: .milliseconds(400)) { connection in
      connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
      while connection.send("a") { usleep(20_000) }
    }
    #expect(answer.failure?.kind == .timeout)
    #expect(answer.failure?.message.contains("had not ended after 400 ms (status 200 had come)") == true)
  }

  @Test func aHeadThatDripsEndsAtTheDeadline() async throws {
    let answer = try await exchange(timeout: .milliseconds(400)) { connection in
      connection.send("HTTP/1.1 200 OK\r\nX-Long: ")
      while connection.send("a") { usleep(20_000) }
    }
    #expect(answer.failure?.kind == .timeout)
  }

  @Test func aServerThatHangsEndsAtTheDeadline() async throws {
    let answer = try await exchange(timeout: .milliseconds(300)) { $0.waitForEnd() }
    #expect(answer.failure?.kind == .timeout)
    #expect(answer.failure?.message.hasSuffix("did not answer within 300 ms") == true)
  }

  @Test func aServerThatDoesNotReadEndsAtTheDeadline() async throws {
    let server = try RawServer { connection in
      // Nothing is read until the client has gone (POLLRDHUP).
      var descriptor = pollfd(fd: connection.descriptor, events: 0x2000, revents: 0)
      _ = poll(&descriptor, 1, 30_000)
    }
    defer { server.stop() }
    try await withClient { client in
      let answer = await client.exchange(
        HTTPClientRequest(
          number: 1, url: "http://127.0.0.1:\(server.port)/", bytes: [UInt8](repeating: 0, count: 32 << 20),
          timeout: .milliseconds(400)))
      #expect(answer.failure?.kind == .timeout)
    }
  }

  @Test func aRequestWhoseTurnDoesNotComeEndsAtItsDeadline() async throws {
    let server = try RawServer { $0.waitForEnd() }
    defer { server.stop() }
    var configuration = try HTTPClient.Configuration.local()
    configuration.maximumConnections = 1
    try await withClient(configuration) { client in
      let (first, second) = (Collector(), Collector())
      let url = "http://127.0.0.1:\(server.port)/"
      client.send([HTTPClientRequest(number: 1, url: url, timeout: .seconds(600))], first)
      client.send([HTTPClientRequest(number: 2, url: url, timeout: .milliseconds(300))], second)
      let failure = try #require(await second.wait(for: 1)[0].outcome.failure)
      #expect(failure.kind == .timeout)
      #expect(failure.message.contains("no connection was free"))
      #expect(first.results.isEmpty)
    }
  }

  @Test func oneHostGetsNoMoreConnectionsThanItMay() async throws {
    let server = try RawServer { $0.waitForEnd() }
    let other = try RawServer { connection in
      if connection.readRequest() != nil { connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
    }
    defer {
      server.stop()
      other.stop()
    }
    var configuration = try HTTPClient.Configuration.local()
    configuration.maximumConnectionsPerHost = 2
    try await withClient(configuration) { client in
      let collector = Collector()
      let url = "http://127.0.0.1:\(server.port)/"
      client.send((0..<6).map { HTTPClientRequest(number: $0, url: url, timeout: .milliseconds(500)) }, collector)
      #expect(await client.exchange("http://127.0.0.1:\(other.port)/").status == 200)
      // Those that libcurl keeps back are not under its own watch.
      let results = await collector.wait(for: 6)
      #expect(results.allSatisfy { $0.outcome.failure?.kind == .timeout })
      // A connection that is free again may be taken at the last moment.
      #expect(server.connections >= 2)
    }
  }

  @Test func connectionsThatNobodyUsesGiveWayToOthers() async throws {
    let servers = try (0..<6).map { _ in
      try RawServer { connection in
        while connection.readRequest() != nil { connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
      }
    }
    defer { for server in servers { server.stop() } }
    var configuration = try HTTPClient.Configuration.local()
    configuration.maximumConnections = 2
    try await withClient(configuration) { client in
      for _ in 0..<2 {
        let collector = Collector()
        client.send(
          servers.map { HTTPClientRequest(number: UInt64($0.port), url: "http://127.0.0.1:\($0.port)/") }, collector)
        for result in await collector.wait(for: servers.count) { #expect(result.outcome.status == 200) }
      }
    }
  }

  @Test func aRequestWithoutTimeLeftIsNotSent() async throws {
    let server = try RawServer(nil)
    try await withClient { client in
      let answer = await client.exchange("http://127.0.0.1:\(server.port)/", timeout: .zero)
      #expect(answer.failure?.kind == .timeout)
      #expect(!server.hasCaller)
    }
  }

  @Test(arguments: ["X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", "aaaaaaaaaaaaaaaaaaaa"])
  func anEndlessHeadIsCutOff(_ part: String) async throws {
    let answer = try await exchange { connection in
      connection.send("HTTP/1.1 200 OK\r\nX-Long: b\(part.hasSuffix("\n") ? "\r\n" : "")")
      while connection.send(part) {}
    }
    let kind = try #require(answer.failure?.kind)
    // libcurl has a limit of its own for one line.
    #expect(kind == .notHTTP || (kind == .connection && !part.hasSuffix("\n")))
  }

  @Test func interimAnswersWithoutEndAreCutOff() async throws {
    let answer = try await exchange { connection in
      while connection.send("HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n") {}
    }
    #expect(answer.failure?.kind == .notHTTP)
  }

  @Test(arguments: ["\u{0}\u{1}\u{2}\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "hello", "<html></html>"])
  func whatIsNoHTTPIsToldSo(_ text: String) async throws {
    let answer = try await exchange { $0.send(text) }
    #expect(answer.failure?.kind == .notHTTP)
  }

  @Test func anEndWithoutAnswerIsTold() async throws {
    let answer = try await exchange { _ in }
    #expect(answer.failure?.kind == .connection)
    #expect(answer.failure?.message.hasSuffix("closed the connection without an answer") == true)
  }

  @Test func anEndInTheMiddleOfTheBodyIsTold() async throws {
    let answer = try await exchange { $0.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") }
    #expect(answer.failure?.kind == .connection)
    #expect(answer.failure?.message.hasSuffix("closed the connection before its answer's end") == true)
  }

  @Test func badChunksAreTold() async throws {
    let answer = try await exchange { $0.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n") }
    #expect([.connection, .notHTTP].contains(answer.failure?.kind))
  }

  @Test func aPortThatNobodyListensOnIsTold() async throws {
    let port = try RawServer.freePort()
    try await withClient { client in
      let failure = try #require(await client.exchange("http://127.0.0.1:\(port)/secret").failure)
      #expect(failure.kind == .connection)
      #expect(
        failure.message == "127.0.0.1:\(port) cannot be connected to: it refuses the connection: nothing listens there")
    }
  }

  @Test func aNameThatLeadsNowhereIsTold() async throws {
    try await withClient { client in
      let failure = try #require(
        await client.exchange("http://no-such-host.invalid/secret", timeout: .seconds(60)).failure)
      // A machine without a name server may take long to say so.
      #expect(failure.kind == .resolution || failure.kind == .timeout)
      #expect(failure.message.contains("no-such-host.invalid"))
    }
  }
}
