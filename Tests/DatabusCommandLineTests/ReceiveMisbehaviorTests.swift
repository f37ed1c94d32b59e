import Foundation
import RawHTTPClient
import Testing

@Suite("databus receive, told to misbehave", .serialized)
struct ReceiveMisbehaviorTests {
  @Test("a request's own query says how it is answered, and leaves other requests alone")
  func statusAndHeaders() async throws {
    try await ReceiverProcess.with("--quiet") { receiver async throws in
      for (target, status, header) in [
        ("/?status=503", 503, nil), ("/?status=429&retry-after=2", 429, "Retry-After: 2"),
        ("/?status=503&retry-after=1500ms", 503, "Retry-After: 2"),
        (
          "/?status=503&retry-after=Wed,%2021%20Oct%202026%2007:28:00%20GMT", 503,
          "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT"
        ), ("/?status=503&retry-after=soon", 503, "Retry-After: soon"),
        ("/?status=302&location=http://169.254.169.254/", 302, "Location: http://169.254.169.254/"),
        ("/?status=204", 204, nil), ("/?token=status%3D500&q", 200, nil), ("/", 200, nil),
      ] as [(String, Int, String?)] {
        let answer = try await receiver.post(target)
        #expect(answer.status == status, "\(target)")
        if let header { #expect(answer.contains(header + "\r\n"), "\(target): \(answer)") }
      }
      #expect(try await receiver.post("/?status=503").body == "told to answer 503\n")
      #expect(try await receiver.post("/?status=503&body=a%20b").body == "a b")
    }
  }

  @Test(
    "a query that cannot be followed is answered with 400 that says why",
    arguments: [
      "status=99", "status=x", "fail=-1", "fail-rate=101", "hang=soon", "hang=25h", "drip=1", "endless=maybe",
      "close=2",
      "location=a%0D%0Ab", "retry-after=%01",
    ])
  func wrongQueries(_ query: String) async throws {
    try await ReceiverProcess.with("--json") { receiver async throws in
      let answer = try await receiver.post("/?\(query)")
      #expect(answer.status == 400)
      #expect(answer.body.hasPrefix("The URL's query: \(query.prefix { $0 != "=" }): "), "\(answer.body)")
      #expect(try await receiver.shown(1).first?["status"] as? Int == 400)
    }
  }

  @Test("options are for all requests, and a query overrides them")
  func options() async throws {
    try await ReceiverProcess.with("--quiet", "--status", "429", "--retry-after", "2s", "--body", "later") {
      receiver async throws in
      let answer = try await receiver.post("/")
      #expect(answer.status == 429)
      #expect(answer.contains("Retry-After: 2\r\n"))
      #expect(answer.body == "later")
      #expect(try await receiver.post("/?status=200").status == 200)
    }
    try await ReceiverProcess.with("--quiet", "--close") { receiver async throws in
      #expect(try await receiver.post("/").isEmpty)
      #expect(try await receiver.post("/?close=false").status == 200)
      #expect(try await receiver.sums()["requests"] == 2)
    }
  }

  @Test("the first requests of each delivery fail, then it is taken")
  func failFirst() async throws {
    try await ReceiverProcess.with("--json", "--fail", "1") { receiver async throws in
      func statuses(_ target: String, _ id: String) async throws -> [Int] {
        var statuses: [Int] = []
        for _ in 0..<4 { statuses.append(try await receiver.post(target, id: id).status) }
        return statuses
      }
      #expect(try await statuses("/", "a") == [503, 200, 200, 200])
      #expect(try await statuses("/?fail=3", "b") == [503, 503, 503, 200])
      #expect(try await statuses("/?fail=2&status=500", "c") == [500, 500, 200, 200])
      #expect(try await statuses("/?fail=1&close", "d") == [0, 200, 200, 200])
      #expect(try await statuses("/?fail=0", "e") == [200, 200, 200, 200])
      let lines = try await receiver.shown(20)
      #expect(lines.prefix(4).map { $0["duplicate"] as? Bool } == [false, false, true, true])
      #expect(
        try await receiver.sums() == [
          "requests": 20, "deliveries": 5, "repeats": 15, "duplicates": 2 + 0 + 1 + 2 + 3, "withoutID": 0,
          "badSignatures": 0,
        ])
    }
  }

  @Test("a share of the requests fails")
  func failRate() async throws {
    try await ReceiverProcess.with("--quiet", "--fail-rate", "100") { receiver async throws in
      #expect(try await receiver.post("/").status == 503)
      #expect(try await receiver.post("/?fail-rate=0").status == 200)
      var statuses: Set<Int> = []
      // Both come up among so many, but for one run in 2^199.
      for _ in 0..<200 { statuses.insert(try await receiver.post("/?fail-rate=50&status=500").status) }
      #expect(statuses == [200, 500])
    }
  }

  @Test("a request hangs and others do not wait for it")
  func hang() async throws {
    try await ReceiverProcess.with("--json") { receiver async throws in
      let hanging = try RawClient(port: receiver.port)
      try hanging.send(ReceiverProcess.request("/?hang=1h"))
      _ = try await receiver.shown(1)
      let answer = try await receiver.post("/?hang=50ms&status=500", id: "a")
      #expect(answer.status == 500)
      let lines = try await receiver.shown(2)
      #expect(lines.map { $0["answer"] as? String } == ["200 after 1h", "500 after 50ms"])
      withExtendedLifetime(hanging) {}
    }
  }

  @Test("a body drips, byte by byte")
  func drip() async throws {
    try await ReceiverProcess.with("--quiet") { receiver async throws in
      let answer = try await receiver.post("/?drip=1ms&body=hello")
      #expect(answer.contains("Content-Length: 5\r\n"))
      #expect(answer.body == "hello")
      let client = try RawClient(port: receiver.port)
      try client.send(ReceiverProcess.request("/?drip=1h&body=hello&status=500"))
      #expect(try await client.read { $0.hasSuffix("\r\n\r\nh") }.status == 500)
      #expect(try await receiver.post("/").status == 200)
    }
  }

  @Test("a body never ends")
  func endless() async throws {
    try await ReceiverProcess.with("--quiet") { receiver async throws in
      for target in ["/?endless", "/?endless&drip=1ms"] {
        let client = try RawClient(port: receiver.port)
        try client.send(ReceiverProcess.request(target))
        let wanted = target == "/?endless" ? 1 << 20 : 200
        #expect(try await client.read { $0.utf8.count > wanted }.status == 200)
      }
      #expect(try await receiver.post("/").status == 200)
    }
  }
}
