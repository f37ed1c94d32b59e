import Foundation
import HTTPClient
import HTTPServer
import Synchronization
import Testing

struct HTTPClientTests {
  /// Runs `body` with a server and the requests that it has taken.
  private func withServer(
    _ respond: @escaping @Sendable (HTTPRequest) -> HTTPResponse,
    _ body: (HTTPServer, @escaping @Sendable () -> [HTTPRequest]) async throws -> Void
  ) async throws {
    let requests = Mutex<[HTTPRequest]>([])
    let server = try HTTPServer(.init(maximumConnections: 256, maximumBodyBytes: 1 << 20)) { request in
      requests.withLock { $0.append(request) }
      return respond(request)
    }
    do { try await body(server) { requests.withLock { $0 } } } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }

  @Test func aRequestArrivesAsItWasGivenAndItsAnswerComesBack() async throws {
    try await withServer { _ in
      HTTPResponse(status: 202, headers: [HTTPHeader("retry-AFTER", " 120 ")], body: Array("taken".utf8))
    } _: { server, requests in
      try await withClient { client in
        let answer = await client.exchange(
          HTTPClientRequest(
            number: 7, url: "http://127.0.0.1:\(server.port)/a%20b?c=d#e",
            headers: ["webhook-id: msg_1", "Content-Type: application/json", "X-Empty:", "X-Text: \u{e9} ;,\t."],
            bytes: Array("xx{\"a\":1}yy".utf8), body: 2..<9))
        let response = try answer.get()
        #expect(response == HTTPClientResponse(status: 202, retryAfter: "120", body: Array("taken".utf8)))
        let request = try #require(requests().first)
        #expect(request.method == "POST")
        #expect(request.target == "/a%20b?c=d")
        #expect(String(decoding: request.body, as: UTF8.self) == "{\"a\":1}")
        #expect(request.header("Host") == "127.0.0.1:\(server.port)")
        #expect(request.header("webhook-id") == "msg_1")
        #expect(request.header("Content-Type") == "application/json")
        #expect(request.header("Content-Length") == "7")
        #expect(request.header("User-Agent") == "databus")
        #expect(request.header("X-Empty") == "")
        #expect(request.header("X-Text") == "\u{e9} ;,\t.")
        for name in ["Expect", "Accept-Encoding", "Cookie", "Authorization"] { #expect(request.header(name) == nil) }
      }
    }
  }

  @Test func aHandleThatIsUsedAgainKeepsNothingOfTheRequestBefore() async throws {
    try await withServer {
      HTTPResponse(status: 200, text: "\($0.method) \($0.body.count)")
    } _: { server, requests in
      try await withClient { client in
        let url = "http://127.0.0.1:\(server.port)/"
        // One after another: each takes the handle of the one before.
        let large = [UInt8](repeating: 0x61, count: 300 << 10)
        for (method, count) in [
          ("POST", 3), ("GET", 0), ("PUT", 5), ("DELETE", 0), ("HEAD", 0), ("PATCH", 0), ("POST", 300 << 10),
          ("DELETE", 2), ("GET", 0), ("OPTIONS", 0), ("POST", 1),
        ] {
          let answer = await client.exchange(
            HTTPClientRequest(
              number: 1, method: method, url: url, headers: count == 3 ? ["X-Once: yes"] : [], bytes: large,
              body: 0..<count))
          let response = try answer.get()
          #expect(response.status == 200)
          #expect(String(decoding: response.body, as: UTF8.self) == (method == "HEAD" ? "" : "\(method) \(count)"))
          let request = try #require(requests().last)
          #expect(request.method == method)
          #expect(request.header("X-Once") == (count == 3 ? "yes" : nil))
          #expect(request.header("Content-Type") == nil)
          let isUsual = ["POST", "PUT", "PATCH"].contains(method)
          #expect(request.header("Content-Length") == (count > 0 || isUsual ? String(count) : nil))
        }
      }
    }
  }

  @Test(arguments: [200, 204, 301, 302, 308, 400, 401, 404, 410, 418, 429, 500, 503, 599])
  func everyStatusIsAnAnswer(_ status: Int) async throws {
    let elsewhere = try RawServer(nil)
    let location = "http://127.0.0.1:\(elsewhere.port)/"
    try await withServer { _ in
      HTTPResponse(status: status, headers: [HTTPHeader("Location", location)])
    } _: {
      server, requests in
      try await withClient { client in
        #expect(await client.exchange("http://127.0.0.1:\(server.port)/").status == status)
        #expect(requests().count == 1)
        #expect(!elsewhere.hasCaller)
      }
    }
  }

  @Test func manyRequestsGoSideBySideOverFewConnections() async throws {
    let server = try RawServer { connection in
      while let request = connection.readRequest() {
        let body = request.components(separatedBy: "\r\n\r\n").last ?? ""
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
      }
    }
    defer { server.stop() }
    var configuration = try HTTPClient.Configuration.local()
    configuration.maximumConnections = 8
    try await withClient(configuration) { client in
      let collectors = [Collector(), Collector(), Collector()]
      for (index, collector) in collectors.enumerated() {
        client.send(
          (0..<500).map { number in
            let body = Array("\(index)-\(number)".utf8)
            return HTTPClientRequest(number: UInt64(number), url: "http://127.0.0.1:\(server.port)/", bytes: body)
          }, collector)
      }
      for (index, collector) in collectors.enumerated() {
        let results = await collector.wait(for: 500)
        #expect(results.count == 500)
        #expect(Set(results.map(\.number)).count == 500)
        for result in results {
          let response = try result.outcome.get()
          #expect(String(decoding: response.body, as: UTF8.self) == "\(index)-\(result.number)")
        }
      }
      #expect((1...8).contains(server.connections))
    }
  }

  @Test func requestsAreTakenFromManyThreadsAtOnce() async throws {
    var configuration = try HTTPClient.Configuration.local()
    configuration.maximumConnections = 64
    try await withServer { _ in
      HTTPResponse(status: 200)
    } _: { server, _ in
      try await withClient(configuration) { client in
        let url = "http://127.0.0.1:\(server.port)/"
        let collector = Collector()
        await withTaskGroup(of: Void.self) { group in
          for task in 0..<8 {
            group.addTask {
              for number in 0..<50 {
                client.send([HTTPClientRequest(number: UInt64(task * 50 + number), url: url)], collector)
              }
            }
          }
        }
        let results = await collector.wait(for: 400)
        #expect(Set(results.map(\.number)).count == 400)
        #expect(results.allSatisfy { $0.outcome.status == 200 })
      }
    }
  }

  @Test func aRequestIsSentOnceThoughItsConnectionIsLost() async throws {
    let taken = Mutex(0)
    let server = try RawServer { connection in
      if connection.readRequest() != nil {
        taken.withLock { $0 += 1 }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      }
      // The next one on the same connection is taken, and not answered.
      if connection.readRequest() != nil { taken.withLock { $0 += 1 } }
    }
    defer { server.stop() }
    try await withClient { client in
      let url = "http://127.0.0.1:\(server.port)/"
      #expect(await client.exchange(url).status == 200)
      let failure = try #require(await client.exchange(url).failure)
      #expect(failure.kind == .connection)
      #expect(failure.message.contains("whether it took the request is not known"))
      #expect(taken.withLock { $0 } == 2)
    }
  }

  @Test func aConnectionThatWasClosedWhileNobodyUsedItHarmsNobody() async throws {
    let ended = Mutex(0)
    let server = try RawServer { connection in
      if connection.readRequest() != nil { connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") }
      shutdown(connection.descriptor, Int32(SHUT_RDWR))
      ended.withLock { $0 += 1 }
    }
    defer { server.stop() }
    try await withClient { client in
      for number in 1...5 {
        #expect(await client.exchange("http://127.0.0.1:\(server.port)/").status == 200)
        while ended.withLock({ $0 }) < number { await Task.yield() }
      }
      #expect(server.connections == 5)
    }
  }

  @Test func closeEndsWhatIsUnderWayAndWhatWaitsAndWhatComesLater() async throws {
    let server = try RawServer { $0.waitForEnd() }
    defer { server.stop() }
    var configuration = try HTTPClient.Configuration.local()
    configuration.maximumConnections = 2
    let client = try HTTPClient(configuration)
    let collector = Collector()
    let url = "http://127.0.0.1:\(server.port)/"
    client.send((0..<5).map { HTTPClientRequest(number: $0, url: url, timeout: .seconds(600)) }, collector)
    while server.connections < 2 { await Task.yield() }
    await client.close()
    #expect(collector.results.count == 5)
    #expect(collector.results.allSatisfy { $0.outcome.failure?.kind == .closed })
    #expect(await client.exchange(url).failure?.kind == .closed)
    await client.close()
  }

  @Test func aClientThatIsDroppedEndsItsRequests() async throws {
    let server = try RawServer { $0.waitForEnd() }
    defer { server.stop() }
    let collector = Collector()
    do {
      let client = try HTTPClient(.local())
      client.send(
        [HTTPClientRequest(number: 1, url: "http://127.0.0.1:\(server.port)/", timeout: .seconds(600))], collector)
    }
    #expect(await collector.wait(for: 1)[0].outcome.failure?.kind == .closed)
  }

  @Test(
    "a request that would not be what it says is refused",
    arguments: [
      ("POST", ["X-A: b\r\nX-C: d"]), ("POST", ["X-A: b\nX-C: d"]), ("POST", ["X-A: \u{0}"]), ("POST", ["no colon"]),
      ("POST", [": empty"]), ("POST", ["X A: b"]), ("POST", ["X-A : b"]), ("POST", ["Host: other"]),
      ("POST", ["content-LENGTH: 1"]), ("POST", ["Transfer-Encoding: chunked"]), ("POST", ["Connection: close"]),
      ("POST", ["Expect: 100-continue"]), ("POST", [" folded: x"]), ("GET /x HTTP/1.1\r\nX: y", []), ("", []),
      ("CONNECT", []),
    ] as [(String, [String])])
  func headsAreChecked(_ method: String, _ headers: [String]) async throws {
    try await expectRefused(method, headers)
  }

  // No arguments: they would be printed.
  @Test func aHeadThatIsTooLargeIsRefused() async throws {
    try await expectRefused("POST", [String](repeating: "X: y", count: 200))
    try await expectRefused("POST", ["X: " + String(repeating: "y", count: 70_000)])
  }

  func expectRefused(_ method: String, _ headers: [String]) async throws {
    let server = try RawServer(nil)
    try await withClient { client in
      let url = "http://127.0.0.1:\(server.port)/secret"
      let answer = await client.exchange(HTTPClientRequest(number: 1, method: method, url: url, headers: headers))
      let failure = try #require(answer.failure)
      #expect(failure.kind == .badURL)
      #expect(failure.message.hasPrefix("the request cannot be sent: "))
      #expect(!server.hasCaller)
    }
  }

  @Test func configurationsThatCannotWorkAreRefused() throws {
    func message(_ change: (inout HTTPClient.Configuration) -> Void) -> String? {
      var configuration = HTTPClient.Configuration()
      change(&configuration)
      do throws(HTTPClientError) {
        _ = try HTTPClient(configuration)
        return nil
      } catch { return error.message }
    }
    #expect(message { _ in } == nil)
    #expect(message { $0.authorityFile = "/nonexistent/ca.pem" }?.contains("/nonexistent/ca.pem") == true)
    for proxy in ["", "proxy:3128", "socks5://proxy:1080", "http://user:secret@proxy", "http://pro xy:1"] {
      let text = message { $0.proxy = proxy }
      #expect(text?.contains("proxy") == true)
      #expect(text?.contains("secret") == false)
    }
    #expect(message { $0.userAgent = "a\r\nb" } != nil)
    #expect(message { $0.maximumConnections = 0 } != nil)
    #expect(message { $0.connectTimeout = .zero } != nil)
  }
}
