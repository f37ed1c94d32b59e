import Foundation
import HTTPServer
import RawHTTPClient
import Synchronization
import Testing

struct HTTPServerTests {
  private static func request(
    _ target: String, method: String = "GET", _ headers: String = "", body: String = ""
  ) -> String {
    "\(method) \(target) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\(headers)\r\n\(body)"
  }

  /// Runs `body` with a server that says what it was asked.
  private func withEcho(
    _ configuration: HTTPServer.Configuration = .init(), _ body: (HTTPServer) async throws -> Void
  ) async throws {
    try await with(
      try HTTPServer(
        configuration,
        respond: { request in
          HTTPResponse(
            status: 200,
            text: "\(request.method) \(request.path ?? "?") \(request.query ?? "-") \(request.header("X-A") ?? "-") "
              + String(decoding: request.body, as: UTF8.self))
        }), body)
  }

  private func with(_ server: HTTPServer, _ body: (HTTPServer) async throws -> Void) async throws {
    do { try await body(server) } catch {
      await server.stop()
      throw error
    }
    await server.stop()
  }

  @Test func aRequestIsHandedOverWholeAndItsAnswerComesBack() async throws {
    try await withEcho(.init(maximumBodyBytes: 100)) { server async throws in
      #expect(server.port > 0)
      let answer = try await RawClient.ask(
        server.port, Self.request("/a%20b?c=%20d", method: "POST", "X-A: v\r\nContent-Length: 5\r\n", body: "hello"))
      #expect(answer.status == 200)
      #expect(answer.body == "POST /a b c=%20d v hello")
      #expect(answer.contains("Content-Type: text/plain; charset=utf-8\r\n"))
      let chunked = try await RawClient.ask(
        server.port,
        Self.request("/", method: "PUT", "Transfer-Encoding: chunked\r\n", body: "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"))
      #expect(chunked.body == "PUT / - - abcde")
    }
  }

  @Test func theAnswerToHeadHasTheLengthAndNoBody() async throws {
    try await withEcho { server async throws in
      let answer = try await RawClient.ask(server.port, Self.request("/x", method: "HEAD"))
      #expect(answer.status == 200)
      #expect(answer.contains("Content-Length: 12\r\n"))
      #expect(answer.body.isEmpty)
    }
  }

  @Test func aConnectionTakesOneRequestAfterAnother() async throws {
    try await withEcho { server async throws in
      let client = try RawClient(port: server.port)
      for number in 0..<3 {
        try client.send("GET /\(number) HTTP/1.1\r\nHost: x\r\n\r\n")
        let answer = try await client.read { $0.contains("GET /\(number) - - ") }
        #expect(answer.status == 200)
      }
      // Two that come at once are answered in their order.
      try client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n" + Self.request("/b"))
      let answers = try await client.read()
      let first = try #require(answers.range(of: "GET /a"))
      let second = try #require(answers.range(of: "GET /b"))
      #expect(first.lowerBound < second.lowerBound)
    }
  }

  @Test func aBodyThatIsTooLargeIsToldSo() async throws {
    try await withEcho(.init(maximumBodyBytes: 4)) { server async throws in
      let told = try await RawClient.ask(
        server.port, Self.request("/", method: "POST", "Content-Length: 5\r\n", body: "hello"))
      #expect(told.status == 413)
      #expect(told.body.contains("4 bytes"))
      let found = try await RawClient.ask(
        server.port,
        Self.request("/", method: "POST", "Transfer-Encoding: chunked\r\n", body: "5\r\nhello\r\n0\r\n\r\n"))
      #expect(found.status == 413)
      let fits = try await RawClient.ask(
        server.port, Self.request("/", method: "POST", "Content-Length: 4\r\n", body: "hell"))
      #expect(fits.status == 200)
    }
  }

  @Test func aBodyWithoutEndIsCutOff() async throws {
    try await withEcho(.init(maximumBodyBytes: 4)) { server async throws in
      let client = try RawClient(port: server.port)
      try client.send(Self.request("/", method: "POST", "Transfer-Encoding: chunked\r\n"))
      let piece = "10000\r\n" + String(repeating: "x", count: 65_536) + "\r\n"
      var pieces = 0
      while pieces < 2000 {
        do { try client.send(piece) } catch { break }
        pieces += 1
      }
      #expect(pieces < 2000)
    }
  }

  @Test func aHeadThatIsTooLargeIsRefusedAndOneThatFitsIsNot() async throws {
    try await withEcho(.init(maximumHeadBytes: 8 << 10)) { server async throws in
      let fits = "X-A: " + String(repeating: "a", count: 7 << 10) + "\r\n"
      #expect(try await RawClient.ask(server.port, Self.request("/", fits)).status == 200)
      let tooLarge = "X-A: " + String(repeating: "a", count: 40 << 10) + "\r\n"
      #expect(try await RawClient.ask(server.port, Self.request("/", tooLarge)).status == 431)
      let target = "/" + String(repeating: "a", count: 40 << 10)
      #expect(try await RawClient.ask(server.port, Self.request(target)).status == 414)
    }
  }

  @Test func whatIsNoHTTPIsRefused() async throws {
    try await withEcho(.init(transferTimeout: .milliseconds(500))) { server async throws in
      for text in ["\u{0}\u{1}\u{2}\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\nHost: x\r\n\r\n"] {
        let answer = try await RawClient.ask(server.port, text)
        #expect(answer.isEmpty || (400..<600).contains(answer.status), "\(text): \(answer)")
      }
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 200)
    }
  }

  // MARK: Answers that wait

  @Test func anAnswerMayComeLaterFromAnyThreadWhileOthersAreServed() async throws {
    let waiting = Mutex<[HTTPResponder]>([])
    let server = try HTTPServer(.init()) { request, responder in
      if request.path == "/wait" {
        waiting.withLock { $0.append(responder) }
      } else {
        responder.respond(HTTPResponse(status: 200, text: "at once"))
      }
    }
    try await with(server) { server async throws in
      let clients = try (0..<20).map { _ in try RawClient(port: server.port) }
      for client in clients { try client.send(Self.request("/wait")) }
      try await eventually("all of them wait") { waiting.withLock { $0.count } == 20 }
      #expect(try await RawClient.ask(server.port, Self.request("/")).body == "at once")
      let responders = waiting.withLock { waiting in
        defer { waiting = [] }
        return waiting
      }
      await withTaskGroup(of: Void.self) { group in
        for (index, responder) in responders.enumerated() {
          group.addTask {
            responder.respond(HTTPResponse(status: 201, text: "later \(index)"))
            responder.respond(HTTPResponse(status: 500, text: "a second answer"))
          }
        }
      }
      var bodies: Set<String> = []
      for client in clients {
        let answer = try await client.read()
        #expect(answer.status == 201)
        bodies.insert(answer.body)
      }
      #expect(bodies.count == 20)
    }
  }

  @Test func aRequestThatIsDroppedIsAnsweredWith500() async throws {
    try await with(try HTTPServer(.init()) { _, _ in }) { server async throws in
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 500)
    }
  }

  @Test func anAnswerThatNobodyGivesIs503() async throws {
    let waiting = Mutex<[HTTPResponder]>([])
    let server = try HTTPServer(.init(answerTimeout: .milliseconds(100))) { _, responder in
      waiting.withLock { $0.append(responder) }
    }
    try await with(server) { server async throws in
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 503)
      // It comes too late, and changes nothing.
      for responder in waiting.withLock({ $0 }) { responder.respond(HTTPResponse(status: 200)) }
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 503)
    }
  }

  @Test func aClientThatGoesWhileItWaitsHarmsNobody() async throws {
    let waiting = Mutex<[HTTPResponder]>([])
    let server = try HTTPServer(.init()) { request, responder in
      if request.path == "/" { return responder.respond(HTTPResponse(status: 200)) }
      waiting.withLock { $0.append(responder) }
    }
    try await with(server) { server async throws in
      for _ in 0..<10 {
        let client = try RawClient(port: server.port)
        try client.send(Self.request("/wait"))
      }
      try await eventually("all of them wait") { waiting.withLock { $0.count } == 10 }
      for responder in waiting.withLock({ $0 }) {
        responder.respond(HTTPResponse(status: 200, text: "nobody reads it"))
      }
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 200)
    }
  }

  // MARK: Limits in time and number

  @Test func aRequestThatDoesNotArriveIsEnded() async throws {
    try await withEcho(.init(transferTimeout: .milliseconds(300))) { server async throws in
      // A byte now and then does not help.
      let slow = try RawClient(port: server.port)
      let start = ContinuousClock.now
      var sent = 0
      for byte in Self.request("/a/long/path/that/takes/its/time") {
        do { try slow.send(String(byte)) } catch { break }
        sent += 1
        try await Task.sleep(for: .milliseconds(50))
      }
      #expect(sent < 40)
      #expect(ContinuousClock.now - start >= .milliseconds(300))
      let silent = try RawClient(port: server.port)
      #expect(try await silent.read() == "")
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 200)
    }
  }

  @Test func connectionsAboveTheLimitWaitUntilOneEnds() async throws {
    try await withEcho(.init(maximumConnections: 2)) { server async throws in
      var held: [RawClient] = []
      for _ in 0..<2 {
        let client = try RawClient(port: server.port)
        try client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        _ = try await client.read { $0.contains("GET / ") }
        held.append(client)
      }
      let third = try RawClient(port: server.port)
      try third.send(Self.request("/third"))
      held = []
      #expect(try await third.read().body == "GET /third - - ")
    }
  }

  // MARK: Start and stop

  @Test func anAddressThatIsTakenIsToldByItsName() async throws {
    try await withEcho { server async throws in
      let error = #expect(throws: HTTPServerError.self) {
        _ = try HTTPServer(.init(port: server.port), respond: { _ in HTTPResponse(status: 200) })
      }
      #expect(error?.kind == .addressInUse)
      #expect(error?.message.contains("127.0.0.1:\(server.port)") == true)
    }
    for address in ["192.0.2.1", "no-address", "2001:db8::1"] {
      let error = #expect(throws: HTTPServerError.self) {
        _ = try HTTPServer(.init(address: address), respond: { _ in HTTPResponse(status: 200) })
      }
      #expect(error?.kind == .addressUnknown || error?.kind == .other, "\(address): \(String(describing: error))")
      #expect(error?.message.contains(address) == true)
    }
  }

  @Test func aPortIsFreeAgainOnceItsServerHasStopped() async throws {
    let first = try HTTPServer(.init(), respond: { _ in HTTPResponse(status: 200) })
    #expect(try await RawClient.ask(first.port, Self.request("/")).status == 200)
    await first.stop()
    await first.stop()
    #expect(throws: RawClient.Failure.self) { _ = try RawClient(port: first.port) }
    let second = try HTTPServer(.init(port: first.port), respond: { _ in HTTPResponse(status: 204) })
    #expect(try await RawClient.ask(second.port, Self.request("/")).status == 204)
    await second.stop()
  }

  @Test func atTheStopWhatWaitsIsAnswered() async throws {
    let waiting = Mutex<[HTTPResponder]>([])
    let server = try HTTPServer(.init()) { _, responder in waiting.withLock { $0.append(responder) } }
    let clients = try (0..<5).map { _ in try RawClient(port: server.port) }
    for client in clients { try client.send(Self.request("/")) }
    try await eventually("all of them wait") { waiting.withLock { $0.count } == 5 }
    await server.stop()
    for client in clients { #expect(try await client.read().status == 503) }
    for responder in waiting.withLock({ $0 }) { responder.respond(HTTPResponse(status: 200)) }
  }

  @Test func aServerThatIsDroppedStops() async throws {
    var server: HTTPServer? = try HTTPServer(.init(), respond: { _ in HTTPResponse(status: 200) })
    let port = try #require(server?.port)
    server = nil
    try await eventually("nobody listens") { (try? RawClient(port: port)) == nil }
  }

  @Test func allAddressesOfBothKinds() async throws {
    try await withEcho(.init(address: "::")) { server async throws in
      #expect(try await RawClient.ask(server.port, Self.request("/")).status == 200)
      #expect(try await RawClient.ask(server.port, Self.request("/"), address: "::1").status == 200)
    }
  }

  @Test func manyRequestsFromManyClientsAtOnce() async throws {
    let server = try HTTPServer(.init(maximumConnections: 200)) { request, responder in
      Task { responder.respond(HTTPResponse(status: 200, text: request.target)) }
    }
    try await with(server) { server async throws in
      try await withThrowingTaskGroup(of: Void.self) { group in
        for client in 0..<50 {
          group.addTask {
            let connection = try RawClient(port: server.port)
            for number in 0..<40 {
              try connection.send("GET /\(client)/\(number) HTTP/1.1\r\nHost: x\r\n\r\n")
              let answer = try await connection.read { $0.hasSuffix("/\(client)/\(number)") }
              #expect(answer.status == 200)
            }
          }
        }
        try await group.waitForAll()
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
