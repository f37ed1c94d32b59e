import Foundation
import RawHTTPClient
import Testing

@testable import DatabusCommandLine

@Suite("databus receive", .serialized)
struct ReceiveTests {
  // MARK: What it shows

  @Test("each request is a JSON line with everything that came and what was answered")
  func jsonLines() async throws {
    let result = try await ReceiverProcess.with("--json") { receiver async throws in
      let body = #"{"a": "é"}"#
      #expect(try await receiver.post("/hook?x=1", id: "msg_1", ["X-Other": "v"], body: body).body == "received\n")
      _ = try await receiver.post("/hook", id: "msg_1")
      _ = try await receiver.post("/hook")
      let lines = try await receiver.shown(3)
      #expect(lines.map { $0["id"] as? String } == ["msg_1", "msg_1", nil])
      #expect(lines.map { $0["seen"] as? Int } == [1, 2, 0])
      #expect(lines.map { $0["duplicate"] as? Bool } == [false, true, false])
      let first = lines[0]
      #expect(first["method"] as? String == "POST")
      #expect(first["target"] as? String == "/hook?x=1")
      #expect(first["body"] as? String == body)
      #expect(first["signature"] as? String == "unchecked")
      #expect(first["status"] as? Int == 200)
      #expect((first["time"] as? String)?.hasSuffix("Z") == true)
      let headers = try #require(first["headers"] as? [[String: String]])
      #expect(headers.contains(["name": "X-Other", "value": "v"]))
      #expect(headers.contains(["name": "webhook-id", "value": "msg_1"]))
    }
    let last = try #require(try result.errors.objects.last)
    let sums: [String: Int] = [
      "requests": 3, "deliveries": 1, "repeats": 1, "duplicates": 1, "withoutID": 1, "badSignatures": 0,
    ]
    #expect(last["fields"] as? [String: Int] == sums)
  }

  @Test("lines for people: compact, and nothing in them steers a terminal")
  func textLines() async throws {
    try await ReceiverProcess.with { receiver async throws in
      _ = try await receiver.post("/hook", id: "msg_1", body: "{\n  \"a\": 1,\n  \"b\": \"\u{1B}[2J\u{7}\"\n}")
      _ = try await receiver.post("/hook?status=429&retry-after=2", id: "msg_1")
      _ = try await receiver.post("/x")
      let text = try await receiver.running.waitForOutput { $0.count(where: { $0 == "\n" }) >= 3 }
      let lines = text.split(separator: "\n").map { $0.dropFirst("2026-11-25T00:00:00.000Z".count) }
      #expect(lines[0] == #"  POST /hook  msg_1  seen once  -> 200  { "a": 1, "b": " [2J " }"#)
      #expect(
        lines[1]
          == "  POST /hook?status=429&retry-after=2  msg_1  seen 2 times, a duplicate  -> 429, Retry-After 2  (no body)"
      )
      #expect(lines[2] == "  POST /x  no webhook-id  -> 200  (no body)")
    }
  }

  @Test("at a terminal: a line of text each, cut to fit, and the sums at the end")
  func atATerminal() async throws {
    try await DatabusProcess.with { databus in
      let session = try TerminalSession(["receive", "--port", "0"], in: databus, columns: 60)
      try await session.wait("the address") { $0.contains("stats=/_stats\r\n") }
      let port = try #require(session.text.firstMatch(of: /port=(\d+)/).flatMap { Int($0.1) })
      let request = ReceiverProcess.request("/hook", id: "msg_1", body: String(repeating: "x", count: 100))
      #expect(try await RawClient.ask(port, request).status == 200)
      try await session.wait("the request") { $0.contains("…") }
      let plain = session.text.replacing(/\u{1B}\[[0-9]*m/, with: "")
      let line = try #require(plain.split(whereSeparator: \.isNewline).last)
      #expect(line.count == 60)
      #expect(line.dropFirst("00:00:00.000".count).hasPrefix("  POST /hook  msg_1  seen once  -> 200  xx"))
      session.signal(SIGINT)
      try await session.wait("the sums") { $0.contains("requests=1 deliveries=1 repeats=0 duplicates=0") }
      #expect(try await session.end() == 0)
    }
  }

  @Test("control characters of JSON lines are escapes, and come back")
  func controlCharacters() async throws {
    try await ReceiverProcess.with("--json") { receiver async throws in
      _ = try await receiver.post("/hook", body: "\u{1B}[2J\u{7F}\u{9B}31m")
      let line = try #require(try await receiver.shown(1).first)
      #expect(line["body"] as? String == "\u{1B}[2J\u{7F}\u{9B}31m")
      let text = try receiver.running.output()
      #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || $0.value >= 0x20 && !(0x7F..<0xA0).contains($0.value) })
    }
  }

  @Test("a body that is no text stands in base64")
  func binaryBody() async throws {
    try await ReceiverProcess.with("--json") { receiver async throws in
      let client = try RawClient(port: receiver.port)
      try client.send("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 3\r\n\r\n")
      try client.send(bytes: [0xFF, 0x00, 0xFE])
      #expect(try await client.read().status == 200)
      let line = try #require(try await receiver.shown(1).first)
      #expect(line["body"] == nil)
      #expect(line["bodyBase64"] as? String == "/wD+")
    }
  }

  @Test("quiet: nothing is shown, and still counted")
  func quiet() async throws {
    let result = try await ReceiverProcess.with("--quiet") { receiver async throws in
      for id in ["a", "b", "a"] { #expect(try await receiver.post("/", id: id).status == 200) }
      #expect(
        try await receiver.sums() == [
          "requests": 3, "deliveries": 2, "repeats": 1, "duplicates": 1, "withoutID": 0, "badSignatures": 0,
        ])
    }
    #expect(result.output == "")
    #expect(result.errorLines.count == 1)
  }

  // MARK: Its end

  @Test("--count ends it after so many answers, also those that had to wait")
  func count() async throws {
    try await DatabusProcess.with { databus in
      let receiver = try await ReceiverProcess(databus, ["--json", "--count", "3"])
      #expect(try await receiver.post("/").status == 200)
      #expect(try await receiver.post("/?close").isEmpty)
      #expect(try await receiver.post("/?hang=100ms&status=201").status == 201)
      let result = try await receiver.running.end()
      #expect(result.code == 0, "\(result.errors)")
      #expect(try result.output.objects.map { $0["status"] as? Int } == [200, nil, 201])
    }
  }

  @Test("a signal ends it in order, whatever hangs, drips or never ends")
  func signals() async throws {
    for signal in [SIGINT, SIGTERM] {
      try await DatabusProcess.with { databus in
        let receiver = try await ReceiverProcess(databus, ["--json"])
        let clients = try ["/?hang=1h", "/?drip=1h", "/?endless"].map { target in
          let client = try RawClient(port: receiver.port)
          try client.send(ReceiverProcess.request(target))
          return client
        }
        _ = try await receiver.shown(3)
        receiver.running.signal(signal)
        let result = try await receiver.running.end()
        #expect(result.code == 0, "\(result.errors)")
        #expect(result.errors.contains("the receiver has ended"))
        withExtendedLifetime(clients) {}
      }
    }
  }

  @Test("an output that takes no more ends it with a word")
  func fullOutput() async throws {
    try await DatabusProcess.with { databus in
      let running = try databus.start(["receive", "--port", "0"], output: "/dev/full")
      let errors = try await running.waitForErrors { $0.contains("\n") }
      let port = try #require(errors.firstMatch(of: /"port":(\d+)/).flatMap { Int($0.1) })
      _ = try? await RawClient.ask(port, ReceiverProcess.request("/"))
      let result = try await running.end()
      #expect(result.code == 1)
      #expect(result.errors.contains("the output cannot be written"))
    }
  }

  // MARK: What cannot be

  @Test("a port that is taken is told, with what to do")
  func portTaken() async throws {
    try await ReceiverProcess.with { receiver async throws in
      try await DatabusProcess.with { databus in
        let result = try await databus.run("receive", "--port", "\(receiver.port)")
        #expect(result.code == 1)
        #expect(result.errors.contains("127.0.0.1:\(receiver.port) cannot be listened on"))
        #expect(result.errors.contains("another --port"))
      }
    }
  }

  @Test(
    "what is wrong with an option is told",
    arguments: [
      (["--secret", "whsec_@"], "--secret is not base64"), (["--fail", "1", "--fail-rate", "2"], "exclude each other"),
      (["--status", "99"], "--status"), (["--hang", "25h"], "--hang: \"25h\" is no duration up to 24h"),
      (["--location", "a\nb"], "--location"), (["--retry-after", "é"], "--retry-after: \"é\" is not printable ASCII"),
      (["--address", "here"], "\"here\" is not an IPv4 or IPv6 address"),
    ])
  func wrongOptions(_ options: [String], _ message: String) async throws {
    try await DatabusProcess.with { databus in
      let result = try await databus.run(["receive", "--port", "0"] + options)
      #expect(result.code == (options[0] == "--address" ? 1 : 2))
      #expect(result.errors.contains(message), "\(result.errors)")
    }
  }

  // MARK: Hostile senders

  @Test("requests that are too large, no HTTP or never whole disturb nobody")
  func hostile() async throws {
    try await ReceiverProcess.with("--json", "--maximum-body", "1KiB") { receiver async throws in
      let slow = try RawClient(port: receiver.port)
      try slow.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf of i")
      let head = try RawClient(port: receiver.port)
      try head.send("POST / HTTP/1.1\r\nHo")
      let large = try await receiver.post("/", body: String(repeating: "x", count: 1025))
      #expect(large.status == 413)
      #expect(try await receiver.post("/", ["X-Long": String(repeating: "x", count: 100_000)]).status == 431)
      for garbage in ["\u{16}\u{3}\u{1}\u{2}\u{0}\r\n\r\n", "POST\r\n\r\n", "\r\n\r\n\r\n\r\nx y z\r\n\r\n"] {
        let client = try RawClient(port: receiver.port)
        try client.send(garbage)
        try client.finish()
        let answer = try await client.read()
        #expect(answer.isEmpty || (400..<600).contains(answer.status), "\(answer)")
      }
      let fits = String(repeating: "x", count: 1024)
      #expect(try await receiver.post("/", id: String(repeating: "i", count: 5000), body: fits).status == 200)
      #expect(try await receiver.sums()["requests"] == 1)
      withExtendedLifetime((slow, head)) {}
    }
  }

  // MARK: What it remembers

  @Test("ids are remembered up to a limit: what came last is known, what is too old is new again")
  func seenDeliveries() {
    var seen = SeenDeliveries(limit: 10)
    func note(_ number: Int) -> (Int, Bool) {
      seen.note("id-\(number)") { entry in
        defer { entry.isAcknowledged = true }
        return (Int(entry.count), entry.isAcknowledged)
      }
    }
    for number in 0..<20 { #expect(note(number) == (1, false)) }
    #expect(!seen.isForgetting)
    #expect(note(0) == (2, true))
    #expect(note(19) == (2, true))
    for number in 100..<140 { #expect(note(number) == (1, false)) }
    #expect(seen.isForgetting)
    #expect(note(139) == (2, true))
    #expect(note(130) == (2, true))
    #expect(note(19) == (1, false))
  }
}
