import DatabusCommandLine
import Foundation
import Testing

/// `databus destinations`, `dispatch cancel`, `dlq` and `ping`, with real dispatchers and real receivers.
@Suite("commands beside a dispatcher", .serialized)
struct DispatchOperatorTests {
  // MARK: Destinations

  @Test("a URL that answers 410 is disabled with its reason, and gets the next delivery once it is enabled")
  func gone() async throws {
    try await DispatchBench.with(["--status", "410", "--quiet"]) { bench in
      let url = bench.address + "/a?key=hush"
      let shown = bench.address + "/a?…"
      try await bench.put("a", url)
      try await bench.sendAndDeliver(1)
      let list = try await bench.databus.run("destinations", "list")
      #expect(list.code == 0 && list.output.contains("disabled") && list.output.contains("410"), "\(list.output)")
      #expect(list.output.contains(shown) && !list.output.contains("hush"), "\(list.output)")
      let json = try await bench.databus.run("destinations", "list", "--json")
      let mark = try #require(try json.output.objects.first)
      #expect(mark["mark"] as? String == "disabled" && mark["destination"] as? String == shown, "\(json.output)")
      #expect((mark["why"] as? String)?.contains("410") == true && mark["since"] is String, "\(json.output)")
      for name in [url, shown] {
        let show = try await bench.databus.run("destinations", "show", name)
        #expect(show.code == 0 && show.output == list.output, "\(show.output)")
      }
      let other = try await bench.databus.run("destinations", "show", bench.address + "/b?key=hush")
      #expect(other.output == "\(bench.address)/b?… has no marks: everything is delivered.\n")

      try await bench.sendAndDeliver(1)
      #expect(try await bench.receiver.sums()["requests"] == 1)
      #expect(try await bench.letters().map { $0["reason"] as? String } == ["gone", "disabled"])

      try await bench.restartReceiver([])
      let enable = try await bench.databus.run("destinations", "enable", url)
      #expect(enable.code == 0 && !enable.output.contains("hush"), "\(enable.output)")
      #expect(enable.output.hasPrefix("\(shown): enabled; "), "\(enable.output)")
      #expect(enable.output.hasSuffix("databus dlq replay --reason gone --reason disabled --dest \"\(shown)\"\n"))
      let again = try await bench.databus.run("destinations", "enable", url)
      #expect(again.code == 1 && again.errors.contains("\(shown) is not disabled"), "\(again.errors)")
      try await bench.sendAndDeliver(1)
      #expect(try await bench.receiver.sums()["deliveries"] == 1)

      // What came meanwhile, by the command that was told and by the whole URL.
      let ids = try await bench.letters().compactMap { $0["id"] as? String }
      let reasons = ["--reason", "gone", "--reason", "disabled"]
      let told = try await bench.databus.run(["dlq", "replay"] + reasons + ["--dest", shown, "--dry-run"])
      #expect(told.output == "2 dead letters would be put back\n", "\(told.output)")
      let replay = try await bench.databus.run(["dlq", "replay"] + reasons + ["--dest", url])
      #expect(replay.code == 0 && replay.output == "2 dead letters put back\n", "\(replay.output)\(replay.errors)")
      try await bench.deliver()
      let sums = try await bench.receiver.sums()
      #expect(sums["deliveries"] == 3 && sums["requests"] == 3, "\(sums)")
      #expect(try bench.deliveredIDs().isSuperset(of: ids))
    }
  }

  @Test("a destination is paused before its first dispatcher runs, then resumed and disabled beside it")
  func paused() async throws {
    try await DispatchBench.with([]) { bench in
      let databus = bench.databus
      let url = bench.address + "/a"
      let none = try await databus.run("destinations", "list")
      #expect(none.code == 0 && none.output == "There are no marks: everything is delivered.\n", "\(none.errors)")
      #expect(try await databus.run("destinations", "list", "--json").output.isEmpty)
      #expect(!FileManager.default.fileExists(atPath: databus.path("deduplication.db")))
      let pause = try await databus.run("destinations", "pause", url, "--detail", "moving house")
      #expect(pause.code == 0, "\(pause.errors)")
      #expect(pause.output == "\(url): paused; deliveries wait in the retry streams\n")
      let list = try await databus.run("destinations", "list")
      #expect(list.output.contains("paused") && list.output.contains("moving house"), "\(list.output)")

      try await bench.put("a", url)
      let run = try databus.start(["run", "--with-dispatcher"])
      defer { run.signal(SIGKILL) }
      #expect(try await databus.run("events", "send", #"{"type": "x"}"#).code == 0)
      try await bench.until("it waits in the retry stream") {
        try await databus.run("tail", "results-http-retry-1s", "--from-start", "--until-end", "--json").lines.count > 0
      }
      #expect(try await bench.receiver.sums()["requests"] == 0)
      let resume = try await databus.run("destinations", "resume", url)
      #expect(resume.code == 0 && resume.output.hasPrefix("\(url): resumed;"), "\(resume.output)\(resume.errors)")
      try await DeliveryProcessTests.wait(for: 1, at: bench.receiver)

      let disable = try await databus.run("destinations", "disable", url)
      #expect(disable.code == 0 && disable.output == "\(url): disabled; deliveries become dead letters\n")
      try await bench.until("it is disabled") {
        #expect(try await databus.run("events", "send", #"{"type": "x"}"#).code == 0)
        return try await bench.letters().contains { $0["reason"] as? String == "disabled" }
      }
      let spelled = try await databus.run("destinations", "enable", url + "b")
      #expect(spelled.code == 1 && spelled.errors.contains("did you mean \"\(url)\"?"), "\(spelled.errors)")
      #expect(try await run.terminate().code == 0)
    }
  }

  @Test("of several URLs that are shown alike the whole one has to be written")
  func shownAlike() async throws {
    try await DispatchBench.with([]) { bench in
      for key in ["a", "b"] {
        #expect(try await bench.databus.run("destinations", "disable", "https://a.example/?key=\(key)").code == 0)
      }
      let both = try await bench.databus.run("destinations", "show", "https://a.example/?…", "--json")
      #expect(both.lines.count == 2, "\(both.output)")
      let enable = try await bench.databus.run("destinations", "enable", "https://a.example/?…")
      #expect(enable.code == 2 && enable.errors.contains("2 destinations are shown as https://a.example/?…"))
      #expect(try await bench.databus.run("destinations", "enable", "https://a.example/?key=a").code == 0)
      #expect(try await bench.databus.run("destinations", "enable", "https://a.example/?…").code == 0)
      #expect(try await bench.databus.run("destinations", "list").output.hasPrefix("There are no marks"))
    }
  }

  // MARK: Cancelling

  @Test("what was routed before a cancellation becomes a dead letter, what is routed later is sent")
  func cancelled() async throws {
    try await DispatchBench.with([]) { bench in
      let databus = bench.databus
      for name in ["a", "b"] { try await bench.put(name, bench.address + "/\(name)") }
      try await bench.route(1)
      let rule = try await databus.run("dispatch", "cancel", "--rule", "a", "--detail", "wrong payload")
      #expect(rule.code == 0 && rule.output.hasPrefix("rule a: deliveries routed before "), "\(rule.errors)")
      try await bench.sendAndDeliver(1)
      #expect(try await bench.receiver.sums()["deliveries"] == 3)

      try await bench.route(1)
      let destination = try await databus.run("dispatch", "cancel", "--destination", bench.address + "/b")
      #expect(destination.code == 0, "\(destination.errors)")
      try await bench.sendAndDeliver(1)
      #expect(try await bench.receiver.sums()["deliveries"] == 6)

      let letters = try await bench.letters()
      #expect(letters.map { $0["reason"] as? String } == ["rule_gone", "rule_gone"])
      #expect(letters.map { $0["rule"] as? String } == ["a", "b"])
      #expect((letters.first?["detail"] as? String)?.contains("wrong payload") == true, "\(letters)")
      #expect(try await databus.run("destinations", "list", "--json").lines.count == 2)

      let replay = try await databus.run("dlq", "replay", "--reason", "rule_gone")
      #expect(replay.output == "2 dead letters put back\n", "\(replay.output)\(replay.errors)")
      try await bench.deliver()
      #expect(try await bench.receiver.sums()["deliveries"] == 8)
    }
  }

  // MARK: Dead letters

  @Test("dead letters are listed by what they are, and shown whole")
  func deadLetters() async throws {
    try await DispatchBench.with(["--status", "400", "--body", "no thanks", "--quiet"]) { bench in
      let databus = bench.databus
      let none = try await databus.run("dlq", "list")
      #expect(none.code == 0 && none.output == "There are no dead letters.\n", "\(none.errors)")
      try await bench.put("a", bench.address + "/a?key=hush")
      try await bench.put("inner", "http://10.0.0.1/b")
      try await bench.sendAndDeliver(3)

      func count(_ options: String...) async throws -> Int {
        let result = try await databus.run(["dlq", "list", "--json"] + options)
        #expect(result.code == 0, "\(result.errors)")
        return result.lines.count
      }
      #expect(try await count() == 6)
      #expect(try await count("--reason", "http_4xx") == 3)
      #expect(try await count("--reason", "http_4xx", "--reason", "ssrf_denied") == 6)
      #expect(try await count("--dest", bench.address) == 3)
      #expect(try await count("--dest", bench.address + "/a?key=hush") == 3)
      #expect(try await count("--dest", bench.address + "/b") == 0)
      #expect(try await count("--since", "1h") == 6)
      #expect(try await count("--since", "2200-01-01T00:00:00Z") == 0)
      #expect(try await count("--until", "1h") == 0)
      #expect(try await count("--until", "2200-01-01T00:00:00Z") == 6)
      let table = try await databus.run("dlq", "list", "--limit", "2")
      #expect(table.lines.count == 3 && table.errors == "the latest 2 of 6; --limit shows more\n", "\(table.errors)")
      #expect(!table.output.contains("hush"))
      let empty = try await databus.run("dlq", "list", "--until", "1h")
      #expect(empty.output == "There are no such dead letters.\n")

      let letter = try #require(try await bench.letters().first { $0["reason"] as? String == "http_4xx" })
      let id = try #require(letter["id"] as? String)
      let place = try #require(letter["deadLetter"] as? String)
      for name in [id, place] {
        let page = try await databus.run("dlq", "show", name)
        #expect(page.code == 0, "\(page.errors)")
        for text in [id, place, "http_4xx", "400", "no thanks", bench.address + "/a?…", "results-http/0/"] {
          #expect(page.output.contains(text), "\(text) is missing: \(page.output)")
        }
      }
      let whole = try #require(try await databus.run("dlq", "show", id, "--json").output.objects.first)
      #expect(whole["status"] as? Int == 400 && whole["response"] as? String == "no thanks", "\(whole)")
      #expect((whole["value"] as? String)?.contains(id) == true)
      let unknown = try await databus.run("dlq", "show", "nothing")
      #expect(unknown.code == 1 && unknown.errors.contains(#"has no dead letter "nothing""#), "\(unknown.errors)")
    }
  }

  @Test("dead letters that are put back twice are sent once each, and what has arrived only by force")
  func replayed() async throws {
    try await DispatchBench.with(["--status", "400", "--quiet"]) { bench in
      let databus = bench.databus
      try await bench.put("a", bench.address + "/a")
      try await bench.sendAndDeliver(3)
      let ids = Set(try await bench.letters().compactMap { $0["id"] as? String })
      #expect(ids.count == 3)
      func results() async throws -> Int {
        try await databus.run("tail", "results-http", "--from-start", "--until-end", "--json").lines.count
      }
      let dry = try await databus.run("dlq", "replay", "--reason", "http_4xx", "--dry-run")
      #expect(dry.code == 0 && dry.output == "3 dead letters would be put back\n", "\(dry.errors)")
      #expect(try await results() == 3)

      try await bench.restartReceiver([])
      for _ in 0..<2 {
        let replay = try await databus.run("dlq", "replay", "--reason", "http_4xx", "--dest", bench.address)
        #expect(replay.code == 0 && replay.output == "3 dead letters put back\n", "\(replay.output)\(replay.errors)")
      }
      #expect(try await results() == 9)
      try await bench.deliver()
      let sums = try await bench.receiver.sums()
      #expect(sums["requests"] == 3 && sums["deliveries"] == 3, "\(sums)")
      #expect(try bench.deliveredIDs() == ids)

      let done = try await databus.run("dlq", "replay")
      #expect(done.code == 0 && done.output.hasPrefix("0 dead letters put back\n3 not put back: arrived meanwhile; "))
      try await bench.deliver()
      #expect(try await bench.receiver.sums()["requests"] == 3)
      let id = try #require(ids.first)
      let forced = try await databus.run("dlq", "replay", id, "--force")
      #expect(forced.code == 0 && forced.output == "1 dead letter put back\n", "\(forced.output)\(forced.errors)")
      try await bench.deliver()
      let after = try await bench.receiver.sums()
      #expect(after["requests"] == 4 && after["deliveries"] == 3 && after["duplicates"] == 1, "\(after)")
      #expect(try await bench.letters().count == 3)
    }
  }

  @Test("what is given up once more counts from then on, at a rate and no more of them than was asked for")
  func replayedInVain() async throws {
    try await DispatchBench.with([]) { bench in
      let databus = bench.databus
      try await bench.put("inner", "http://10.0.0.1/b")
      try await bench.sendAndDeliver(3)
      let start = ContinuousClock.now
      let replay = try await databus.run("dlq", "replay", "--rate", "2", "--reason", "ssrf_denied")
      #expect(replay.code == 0 && replay.output == "3 dead letters put back\n", "\(replay.output)\(replay.errors)")
      #expect(ContinuousClock.now - start >= .seconds(1))
      try await bench.deliver()
      let letters = try await bench.letters()
      #expect(letters.map { $0["replays"] as? Int } == [0, 0, 0, 1, 1, 1], "\(letters)")
      let some = try await databus.run("dlq", "replay", "--limit", "2")
      #expect(some.code == 0 && some.output.hasPrefix("2 dead letters put back\n3 not put back: replayed before"))
      try await bench.deliver()
      #expect(try await bench.letters().map { $0["replays"] as? Int } == [0, 0, 0, 1, 1, 1, 2, 2])
      let narrow = try await databus.run("dlq", "replay", "--until", "1h")
      #expect(narrow.code == 0 && narrow.output == "0 dead letters put back\n", "\(narrow.output)")
    }
  }

  @Test("of a dead letter so old that it is forgotten nobody knows whether it has arrived: only by force")
  func forgotten() async throws {
    try await DispatchBench.with(["--status", "400", "--quiet"]) { bench in
      let databus = bench.databus
      try await bench.put("a", bench.address + "/a")
      try await bench.sendAndDeliver(1)
      try bench.age("p-dispatcher-dead-letters")
      for ending in ["", "-wal", "-shm", ".lock"] {
        try? FileManager.default.removeItem(atPath: databus.path("deduplication.db" + ending))
      }
      let old = try await databus.run("dlq", "replay")
      #expect(old.code == 1, "\(old.output)")
      #expect(old.output.hasPrefix("0 dead letters put back\n1 not put back: older than deduplication.ttl (1d)"))
      let forced = try await databus.run("dlq", "replay", "--force")
      #expect(forced.code == 0 && forced.output == "1 dead letter put back\n", "\(forced.output)\(forced.errors)")
      try await bench.deliver()
      #expect(try await bench.receiver.sums()["requests"] == 2)
    }
  }

  @Test("the pipeline's own dead letters are looked at and put back by their stream's name")
  func pipelineDeadLetters() async throws {
    try await DispatchBench.with([]) { bench in
      let databus = bench.databus
      #expect(try await databus.run("events", "send", input: "not json\n").code == 0)
      try await bench.deliver()
      let options = ["--stream", "p-dead-letters"]
      let list = try await databus.run(["dlq", "list", "--reason", "not_json"] + options)
      #expect(list.lines.count == 2 && list.output.contains("not_json"), "\(list.output)\(list.errors)")
      let wrong = try await databus.run(["dlq", "list", "--reason", "exhausted"] + options)
      #expect(wrong.code == 2 && wrong.errors.contains("no dead letter of p-dead-letters has the reason"))
      let replay = try await databus.run(["dlq", "replay"] + options)
      #expect(replay.code == 0 && replay.output == "1 dead letter put back\n", "\(replay.output)\(replay.errors)")
      let events = try await databus.run("tail", "events", "--from-start", "--until-end", "--json")
      #expect(try events.output.objects.map { $0["value"] as? String } == ["not json", "not json"])
      let unknown = try await databus.run("dlq", "list", "--stream", "p-dead-lettres")
      #expect(unknown.code == 2 && unknown.errors.contains("did you mean \"p-dead-letters\"?"), "\(unknown.errors)")
    }
  }

  // MARK: Ping

  @Test("a test delivery tells what came of it, and remembers nothing")
  func ping() async throws {
    try await DispatchBench.with(["--secret", DeliveryProcessTests.secret]) { bench in
      let databus = bench.databus
      func ping(_ path: String, _ options: String...) async throws -> DatabusProcess.Result {
        try await databus.run(["ping", bench.address + path] + options)
      }
      let good = try await ping("/a?key=hush", "--secret", "receiver")
      #expect(good.code == 0 && good.output.hasPrefix("\(bench.address)/a?…: delivered\n"), "\(good.output)")
      for text in ["status: 200", "webhook-id: ", "with the secret \"receiver\""] {
        #expect(good.output.contains(text), "\(good.output)")
      }
      let received = try #require(try await bench.receiver.shown(1).first)
      #expect(received["signature"] as? String == "good")
      #expect((received["body"] as? String)?.contains("databus.ping") == true)

      let unsigned = try await ping("/a")
      #expect(unsigned.code == 1 && unsigned.output.contains("it would be a dead letter (auth)"), "\(unsigned.output)")
      let busy = try await ping("/a?status=503", "--secret", "receiver")
      #expect(busy.code == 1 && busy.output.contains("not delivered; it would be tried again"), "\(busy.output)")
      #expect(busy.output.contains("status: 503"), "\(busy.output)")
      let gone = try await ping("/a?status=410&key=hush", "--secret", "receiver", "--json")
      let json = try #require(try gone.output.objects.first)
      #expect(gone.code == 1 && json["verdict"] as? String == "rejected" && json["reason"] as? String == "gone")
      #expect(json["status"] as? Int == 410 && json["url"] as? String == bench.address + "/a?…", "\(gone.output)")
      let start = ContinuousClock.now
      let slow = try await ping("/a?hang=30s", "--secret", "receiver", "--timeout", "300ms")
      #expect(slow.code == 1 && ContinuousClock.now - start < .seconds(10))
      #expect(slow.output.contains("it would be tried again") && slow.output.contains("300 ms"), "\(slow.output)")

      let inner = try await databus.run("ping", "http://10.0.0.1/a")
      #expect(inner.code == 1 && inner.output.contains("it would be a dead letter (ssrf_denied)"), "\(inner.output)")
      #expect(inner.output.contains("a private address"), "\(inner.output)")
      #expect(inner.output.contains("list its address, block of addresses or host in dispatcher.channels.http.allow"))
      let unknown = try await ping("/a", "--secret", "reciever")
      #expect(unknown.code == 2 && unknown.errors.contains("did you mean \"receiver\"?"), "\(unknown.errors)")
      let endless = try await ping("/a", "--timeout", "2h")
      #expect(endless.code == 2 && endless.errors.contains("is not between"), "\(endless.errors)")
      try await bench.restartReceiver([])
      _ = try await bench.receiver.running.terminate()
      let refused = try await ping("/a")
      #expect(refused.code == 1 && refused.output.contains("it would be tried again"), "\(refused.output)")
      for file in ["deduplication.db", "state.db", "log.db"] {
        #expect(!FileManager.default.fileExists(atPath: databus.path(file)), "\(file)")
      }
    }
  }

  // MARK: What is wrong with the command line or the configuration

  private static let valid = """
    {"pipeline": {"name": "p"}, "state": {"type": "memory"}, "transports": {"t": {"type": "sqlite-log", "path": "l"}},
     "dispatcher": {"deduplication": {"type": "sqlite", "path": "d.db"}}}
    """

  private static let url = "https://a.example/a"

  private static let commands = [
    ["destinations", "list"], ["destinations", "show", url], ["destinations", "enable", url],
    ["destinations", "disable", url], ["destinations", "pause", url], ["destinations", "resume", url],
    ["dispatch", "cancel", "--rule", "a"], ["dlq", "list"], ["dlq", "show", "a"], ["dlq", "replay"], ["ping", url],
  ]

  @Test("without a dispatcher in the configuration the section is asked for", arguments: commands)
  func noSection(_ words: [String]) async throws {
    let text = """
      {"pipeline": {"name": "p"}, "state": {"type": "memory"}, "transports": {"t": {"type": "sqlite-log", "path": "l"}}}
      """
    try await withFile(text) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run(words + ["--config", path]) == .usage)
      let errors = fixture.errors.text
      #expect(errors.contains(#"the configuration has no section "dispatcher""#), "\(errors)")
      let remedy = words[0] == "dlq" ? "--stream p-dead-letters" : #"add one: "dispatcher": "#
      #expect(errors.contains(remedy), "\(errors)")
    }
  }

  @Test("a configuration that is wrong is told with its place", arguments: commands)
  func wrongConfiguration(_ words: [String]) async throws {
    let text = Self.valid.replacingOccurrences(of: #""type": "sqlite", "path": "d.db""#, with: #""type": "sqlit""#)
    try await withFile(text) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run(words + ["--config", path]) == .usage)
      let errors = fixture.errors.text
      #expect(errors.contains("\(path):2:") && errors.contains(#"did you mean "sqlite"?"#), "\(errors)")
    }
  }

  private static let mistakes: [([String], String)] = [
    (["destinations", "show"], "URL"), (["destinations", "show", "a.example"], "the URL is not an absolute URL"),
    (["destinations", "pause", "https://"], "the URL has no host"),
    (["destinations", "pause", "https://a b/"], "the URL contains a space"),
    (["destinations", "disable", "https://me:hush@a.example/"], "the URL contains user information"),
    (["destinations", "enable", "gopher://a.example/"], #"nothing delivers to "gopher" URLs"#),
    (["destinations", "enable", "gopher://a.example/"], "its scheme is one of: http, https"),
    (["destinations", "pause", "https://a.example/?…"], "it is shown so where its query is left out"),
    (["dispatch", "cancel"], "one of --rule ID and --destination URL"),
    (["dispatch", "cancel", "--rule", "a", "--destination", url], "one of --rule ID and --destination URL"),
    (["dispatch", "cancel", "--destination", "a.example"], "the URL is not an absolute URL"),
    (["dlq", "list", "--reason", "http4xx"], #"did you mean "http_4xx"?"#),
    (["dlq", "replay", "--reason", "hope"], "there are: ambiguous, auth, bad_url, disabled, exhausted, expired"),
    (["dlq", "list", "--since", "yesterday"], #"--since: "yesterday" is no moment"#),
    (["dlq", "replay", "--until", "-"], #"--until: "-" is no moment"#), (["dlq", "replay", "--rate", "0"], "--rate"),
    (["ping", "a.example"], "the URL is not an absolute URL"),
  ]

  @Test("a mistake on the command line is told before anything is done", arguments: mistakes)
  func mistake(_ words: [String], _ says: String) async throws {
    try await withFile(Self.valid) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run(words + ["--config", path]) == .usage)
      #expect(fixture.errors.text.contains(says) && !fixture.errors.text.contains("hush"), "\(fixture.errors.text)")
    }
  }
}
