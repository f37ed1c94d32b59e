import HTTPServer
import RawHTTPClient
import Synchronization
import Testing

/// Answers that come in pieces, that never end, and that never come.
struct HTTPAnswerTests {
  private static func request(_ target: String, method: String = "GET", _ headers: String = "") -> String {
    "\(method) \(target) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(headers)\r\n"
  }

  /// Runs `body` with a server that answers by the path.
  private func with(
    _ configuration: HTTPServer.Configuration = .init(), _ answers: [String: HTTPResponse] = [:],
    _ body: (HTTPServer) async throws -> Void
  ) async throws {
    try await with(
      try HTTPServer(
        configuration, respond: { answers[$0.path ?? ""] ?? HTTPResponse(status: 200, text: "ordinary") }), body)
  }

  private func with(_ server: HTTPServer, _ body: (HTTPServer) async throws -> Void) async throws {
    do { try await body(server) } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }

  private func paced(_ text: String, _ pace: HTTPPace) -> HTTPResponse {
    HTTPResponse(status: 200, body: Array(text.utf8), pace: pace)
  }

  // MARK: Pieces

  @Test func aBodyInPiecesComesWholeAndWithItsLength() async throws {
    let text = String((0..<40).flatMap { "\($0) " })
    let answers = [
      "/bytes": paced(text, HTTPPace(pieceBytes: 1, pause: .milliseconds(1))),
      "/sevens": paced(text, HTTPPace(pieceBytes: 7, pause: .microseconds(10))),
      "/none": paced(text, HTTPPace(pieceBytes: 3)),
      "/empty": paced("", HTTPPace(pieceBytes: 1, pause: .seconds(3600))),
      "/short": paced("x", HTTPPace(pieceBytes: 1, pause: .seconds(3600))),
    ]
    try await with(.init(), answers) { server async throws in
      for path in ["/bytes", "/sevens", "/none"] {
        let answer = try await RawClient.ask(server.port, Self.request(path))
        #expect(answer.status == 200)
        #expect(answer.contains("Content-Length: \(text.utf8.count)\r\n"))
        #expect(answer.body == text, "\(path)")
      }
      // Pauses lie between pieces: none before the first, none behind the last.
      #expect(try await RawClient.ask(server.port, Self.request("/empty")).contains("Content-Length: 0\r\n"))
      #expect(try await RawClient.ask(server.port, Self.request("/short")).body == "x")
      let head = try await RawClient.ask(server.port, Self.request("/bytes", method: "HEAD"))
      #expect(head.contains("Content-Length: \(text.utf8.count)\r\n"))
      #expect(head.body.isEmpty)
    }
  }

  @Test func whileABodyPausesOthersAreServed() async throws {
    let answers = ["/slow": paced("hello", HTTPPace(pieceBytes: 2, pause: .seconds(3600)))]
    try await with(.init(), answers) { server async throws in
      let slow = try RawClient(port: server.port)
      try slow.send(Self.request("/slow"))
      #expect(try await slow.read { $0.hasSuffix("\r\n\r\nhe") }.status == 200)
      for _ in 0..<10 { #expect(try await RawClient.ask(server.port, Self.request("/")).body == "ordinary") }
    }
  }

  @Test func manyBodiesInPiecesAtOnce() async throws {
    let text = String(repeating: "0123456789", count: 5)
    let answers = ["/": paced(text, HTTPPace(pieceBytes: 1, pause: .milliseconds(2)))]
    try await with(.init(maximumConnections: 200), answers) { server async throws in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for _ in 0..<100 {
          group.addTask {
            let answer = try await RawClient.ask(server.port, Self.request("/"))
            #expect(answer.body == text)
          }
        }
        try await group.waitForAll()
      }
    }
  }

  @Test func aConnectionGoesOnAfterABodyInPieces() async throws {
    let answers = ["/": paced("abc", HTTPPace(pieceBytes: 1, pause: .milliseconds(1)))]
    try await with(.init(), answers) { server async throws in
      let client = try RawClient(port: server.port)
      for _ in 0..<3 {
        try client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        #expect(try await client.read { $0.hasSuffix("abc") }.status == 200)
      }
    }
  }

  @Test func aBodyWithoutEndGoesOnUntilTheClientGoes() async throws {
    let answers = [
      "/": paced("abc", HTTPPace(repeats: true)),
      "/drips": paced("abc", HTTPPace(pieceBytes: 1, pause: .milliseconds(1), repeats: true)),
      "/empty": paced("", HTTPPace(repeats: true)),
    ]
    // One place only: whoever comes next is served once the client before has been let go.
    try await with(.init(maximumConnections: 1), answers) { server async throws in
      for path in ["/", "/drips"] {
        let client = try RawClient(port: server.port)
        try client.send(Self.request(path))
        let wanted = path == "/" ? 1 << 20 : 100
        let answer = try await client.read { $0.utf8.count > wanted }
        #expect(answer.status == 200)
        #expect(answer.contains("Transfer-Encoding: chunked\r\n"))
      }
      #expect(try await RawClient.ask(server.port, Self.request("/empty")).contains("Content-Length: 0\r\n"))
      #expect(try await RawClient.ask(server.port, Self.request("/ordinary")).body == "ordinary")
    }
  }

  @Test func aClientThatDoesNotReadABodyWithoutEndIsLetGo() async throws {
    let answers = ["/": paced("abc", HTTPPace(repeats: true))]
    try await with(.init(maximumConnections: 1, transferTimeout: .milliseconds(300)), answers) { server async throws in
      let client = try RawClient(port: server.port)
      try client.send(Self.request("/"))
      #expect(try await RawClient.ask(server.port, Self.request("/ordinary")).body == "ordinary")
      withExtendedLifetime(client) {}
    }
  }

  // MARK: No answer

  @Test func aRequestCanBeEndedWithoutAnAnswer() async throws {
    let waiting = Mutex<[HTTPResponder]>([])
    let server = try HTTPServer(.init()) { request, responder in
      switch request.path {
      case "/now": responder.abort()
      case "/late": waiting.withLock { $0.append(responder) }
      default: responder.respond(HTTPResponse(status: 200, text: "ordinary"))
      }
    }
    try await with(server) { server async throws in
      #expect(try await RawClient.ask(server.port, Self.request("/now")) == "")
      let client = try RawClient(port: server.port)
      try client.send(Self.request("/late"))
      try await eventually("it waits") { waiting.withLock { $0.count } == 1 }
      for responder in waiting.withLock({ $0 }) {
        responder.abort()
        responder.respond(HTTPResponse(status: 200, text: "too late"))
      }
      #expect(try await client.read() == "")
      #expect(try await RawClient.ask(server.port, Self.request("/")).body == "ordinary")
    }
  }

  @Test("a client that hangs up while it waits makes room", arguments: ["/answer", "/piece"])
  func hangingUp(_ path: String) async throws {
    let waiting = Mutex<[HTTPResponder]>([])
    let slow = paced("abc", HTTPPace(pieceBytes: 1, pause: .seconds(3600)))
    let server = try HTTPServer(.init(maximumConnections: 1, answerTimeout: .seconds(3600))) { request, responder in
      switch request.path {
      case "/answer": waiting.withLock { $0.append(responder) }
      case "/piece":
        responder.respond(slow)
        waiting.withLock { $0.append(responder) }
      default: responder.respond(HTTPResponse(status: 200, text: "ordinary"))
      }
    }
    try await with(server) { server async throws in
      var client: RawClient? = try RawClient(port: server.port)
      try client?.send(Self.request(path))
      try await eventually("it waits") { waiting.withLock { $0.count } == 1 }
      client = nil
      #expect(try await RawClient.ask(server.port, Self.request("/")).body == "ordinary")
      for responder in waiting.withLock({ $0 }) { responder.respond(HTTPResponse(status: 200)) }
    }
  }

  @Test func atTheStopBodiesWithoutEndAndPausesAreCut() async throws {
    let answers = [
      "/endless": paced("abc", HTTPPace(repeats: true)),
      "/pause": paced("abc", HTTPPace(pieceBytes: 1, pause: .seconds(3600))),
    ]
    let server = try HTTPServer(.init(), respond: { answers[$0.path ?? ""] ?? HTTPResponse(status: 404) })
    let clients = try answers.keys.map { path in
      let client = try RawClient(port: server.port)
      try client.send(Self.request(path))
      return client
    }
    for client in clients { #expect(try await client.read { $0.contains("\r\n\r\n") }.status == 200) }
    await server.stop()
    for client in clients { _ = try await client.read() }
    #expect(throws: RawClient.Failure.self) { _ = try RawClient(port: server.port) }
  }

  // MARK: Others

  @Test func onlyTheHeadersThatAreWantedAreHandedOver() async throws {
    let names = ["X-B", "content-length", "x-missing"]
    let server = try HTTPServer(
      .init(maximumBodyBytes: 10, headerNames: names),
      respond: { request in
        HTTPResponse(status: 200, text: request.headers.map { "\($0.name)=\($0.value)" }.joined(separator: " "))
      })
    try await with(server) { server async throws in
      let answer = try await RawClient.ask(
        server.port, Self.request("/", method: "POST", "X-A: 1\r\nx-b: 2\r\nX-B: 3\r\nContent-Length: 2\r\n") + "hi")
      #expect(answer.body == "X-B=2 content-length=2")
      let tooLarge = try await RawClient.ask(server.port, Self.request("/", method: "POST", "Content-Length: 11\r\n"))
      #expect(tooLarge.status == 413)
    }
  }

  @Test func answersThatAreAlikeAndThatDifferAreNotMixedUp() async throws {
    let server = try HTTPServer(
      .init(),
      respond: { request in
        let number = Int(request.query ?? "") ?? 0
        return HTTPResponse(
          status: 200 + number / 2 % 2, text: "\(number / 4)", headers: [HTTPHeader("X-N", "\(number / 3)")])
      })
    try await with(server) { server async throws in
      let client = try RawClient(port: server.port)
      for number in 0..<40 {
        try client.send("GET /?\(number) HTTP/1.1\r\nHost: x\r\n\r\n")
        let answer = try await client.read { $0.contains("\r\n\r\n\(number / 4)") }
        #expect(answer.status == 200 + number / 2 % 2)
        #expect(answer.contains("X-N: \(number / 3)\r\n"))
        #expect(answer.body == "\(number / 4)")
      }
    }
  }

  private func eventually(_ what: String, _ condition: () throws -> Bool) async throws {
    for _ in 0..<5000 {
      if try condition() { return }
      try await Task.sleep(for: .milliseconds(2))
    }
    Issue.record("never: \(what)")
  }
}
