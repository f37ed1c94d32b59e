import Foundation
import HTTPClient
import HTTPServer
import Synchronization
import Testing

struct HTTPClientAddressTests {
  @Test func aNameThatLeadsToADeniedAddressIsNotConnectedTo() async throws {
    let server = try RawServer(nil)
    try await withClient(HTTPClient.Configuration()) { client in
      let failure = try #require(await client.exchange("http://localhost:\(server.port)/secret").failure)
      #expect(failure.kind == .addressDenied)
      #expect(
        failure.message
          == "nothing may be sent to localhost:\(server.port): "
          + "its name leads to a loopback address, which the configuration does not allow"
      )
      #expect(!server.hasCaller)
    }
  }

  @Test(
    "an address is refused in whatever way it is written",
    arguments: [
      "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0X7F.0x0.0.1", "0177.0.0.1",
      "017700000001", "%31%32%37.0.0.1", "127.0.0.1.", "0.0.0.0", "0", "[::1]", "[::]", "[::ffff:127.0.0.1]",
      "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[0:0:0:0:0:0:0:1]",
    ])
  func notations(_ host: String) async throws {
    let server = try RawServer(nil)
    try await withClient(HTTPClient.Configuration()) { client in
      #expect(await client.exchange("http://\(host):\(server.port)/").failure?.kind == .addressDenied)
      #expect(!server.hasCaller)
    }
  }

  @Test func whatIsAllowedIsConnectedTo() async throws {
    let server = try HTTPServer(.init(), respond: { _ in HTTPResponse(status: 200) })
    for allowed in ["127.0.0.0/8", "127.0.0.1", "::ffff:127.0.0.1"] {
      try await withClient(HTTPClient.Configuration(policy: try AddressPolicy(allow: [allowed]))) { client in
        #expect(await client.exchange("http://127.0.0.1:\(server.port)/").status == 200)
        #expect(await client.exchange("http://localhost:\(server.port)/").status == 200)
        #expect(await client.exchange("http://0x7f.1:\(server.port)/").status == 200)
      }
    }
    try await withClient(HTTPClient.Configuration(policy: try AddressPolicy(allow: ["LocalHost."]))) { client in
      #expect(await client.exchange("http://localhost:\(server.port)/").status == 200)
      // It is the name that may lead there, and nothing else.
      #expect(await client.exchange("http://127.0.0.1:\(server.port)/").failure?.kind == .addressDenied)
      #expect(await client.exchange("http://x.localhost:\(server.port)/").failure?.kind == .addressDenied)
    }
    await server.stop()
  }

  @Test func connectionsOfOnePolicyAreNotThoseOfAnother() async throws {
    let server = try RawServer { connection in
      while connection.readRequest() != nil { connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
    }
    defer { server.stop() }
    try await withClient { allowing in
      #expect(await allowing.exchange("http://localhost:\(server.port)/").status == 200)
      try await withClient(HTTPClient.Configuration()) { client in
        #expect(await client.exchange("http://localhost:\(server.port)/").failure?.kind == .addressDenied)
      }
      #expect(await allowing.exchange("http://localhost:\(server.port)/").status == 200)
      #expect(server.connections == 1)
    }
  }

  @Test func aRedirectToADeniedAddressIsNotFollowed() async throws {
    let denied = try RawServer(nil)
    let location = HTTPHeader("Location", "http://127.0.0.1:\(denied.port)/")
    let server = try HTTPServer(.init(), respond: { _ in HTTPResponse(status: 307, headers: [location]) })
    try await withClient { client in
      #expect(await client.exchange("http://127.0.0.1:\(server.port)/").status == 307)
      #expect(!denied.hasCaller)
    }
    await server.stop()
  }

  // MARK: Proxies

  @Test func theEnvironmentNamesNoProxy() async throws {
    await #expect(processExitsWith: .success) {
      let trap = try RawServer(nil)
      for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        setenv(name, "http://127.0.0.1:\(trap.port)", 1)
      }
      let server = try HTTPServer(.init(), respond: { _ in HTTPResponse(status: 200) })
      let client = try HTTPClient(.local())
      let plain = await client.exchange("http://127.0.0.1:\(server.port)/")
      let secure = await client.exchange("https://127.0.0.1:\(try RawServer.freePort())/")
      guard plain.status == 200, secure.failure?.message.contains("nothing listens there") == true, !trap.hasCaller
      else { exit(1) }
      await client.close()
      exit(0)
    }
  }

  @Test func whatGoesThroughAProxyIsLookedAtWhereItsHostIsAnAddress() async throws {
    let targets = Mutex<[String]>([])
    let proxy = try HTTPServer(.init()) { request in
      targets.withLock { $0.append("\(request.method) \(request.target)") }
      return HTTPResponse(status: request.method == "CONNECT" ? 403 : 200)
    }
    // The proxy's own address needs no permission, and the environment no word.
    var configuration = HTTPClient.Configuration()
    configuration.proxy = "http://user:secret@127.0.0.1:\(proxy.port)"
    try await withClient(configuration) { client in
      #expect(await client.exchange("http://no-such-host.invalid/a").status == 200)
      #expect(targets.withLock { $0 } == ["POST http://no-such-host.invalid/a"])
      for host in ["127.0.0.1", "10.0.0.1", "[::1]", "0x7f.1", "localhost", "a.localhost"] {
        #expect(await client.exchange("http://\(host)/").failure?.kind == .addressDenied)
        #expect(await client.exchange("https://\(host)/").failure?.kind == .addressDenied)
      }
      #expect(targets.withLock { $0.count } == 1)
      let refused = try #require(await client.exchange("https://no-such-host.invalid/").failure)
      #expect(refused.kind == .connection)
      #expect(refused.isProxyFault)
      #expect(refused.message.contains("the proxy 127.0.0.1:\(proxy.port)"))
      #expect(!refused.message.contains("secret"))
    }
    await proxy.stop()
  }

  @Test func aProxyThatIsAwayIsTheProxysFault() async throws {
    var configuration = HTTPClient.Configuration()
    configuration.proxy = "http://127.0.0.1:\(try RawServer.freePort())"
    try await withClient(configuration) { client in
      for url in ["http://example.invalid/", "https://example.invalid/"] {
        let failure = try #require(await client.exchange(url).failure)
        #expect(failure.kind == .connection)
        #expect(failure.isProxyFault)
        #expect(failure.message.hasPrefix("the proxy 127.0.0.1:"))
      }
    }
  }
}
