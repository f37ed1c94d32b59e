import Foundation
import Testing

/// A router with a dispatcher, and a receiver, in one directory.
final class DispatchBench {
  let databus: DatabusProcess
  private(set) var receiver: ReceiverProcess
  private var former: [RunningDatabus] = []

  var address: String { "http://127.0.0.1:\(receiver.port)" }

  /// Runs the body with a receiver that was started with these options.
  static func with(_ options: [String], _ body: (DispatchBench) async throws -> Void) async throws {
    try await DatabusProcess.with { databus in
      let bench = DispatchBench(databus, try await ReceiverProcess(databus, shown(options)))
      defer { for running in bench.former + [bench.receiver.running] { running.signal(SIGKILL) } }
      try databus.write(
        """
        {"pipeline": {"name": "p", "results": {"streams": {"http": "results-http"}}},
         "transports": {"local": {"type": "sqlite-log", "path": "log.db"}}, "state": {"type": "sqlite", "path": "state.db"},
         "dispatcher": {
          "deduplication": {"type": "sqlite", "path": "deduplication.db"},
          "secrets": {"receiver": {"value": "\(DeliveryProcessTests.secret)", "urls": ["\(bench.address)/"]}},
          "channels": {"http": {"allow": ["127.0.0.0/8"]}},
          "retry": {"base": "1ms", "inMemory": "100ms", "tiers": ["1s"]}}}
        """, to: "databus.json")
      try await body(bench)
    }
  }

  private init(_ databus: DatabusProcess, _ receiver: ReceiverProcess) {
    self.databus = databus
    self.receiver = receiver
  }

  private static func shown(_ options: [String]) -> [String] {
    options.contains("--quiet") ? options : options + ["--json"]
  }

  /// Another one on the same port, which knows nothing of what came before.
  func restartReceiver(_ options: [String]) async throws {
    let port = receiver.port
    former.append(receiver.running)
    #expect(try await receiver.running.terminate().code == 0)
    receiver = try await ReceiverProcess(databus, DispatchBench.shown(options), port: port)
  }

  func put(_ rule: String, _ destination: String) async throws {
    let rule = #"{"ruleId": "\#(rule)", "events": ["*"], "destinationUrl": "\#(destination)"}"#
    let put = try await databus.run("rules", "put", rule)
    try #require(put.code == 0, "\(put.errors)")
  }

  /// Sends so many events and routes them.
  func route(_ events: Int) async throws {
    try await send(events)
    let run = try await databus.run("run", "--until-idle")
    try #require(run.code == 0, "\(run.errors)")
  }

  private func send(_ events: Int) async throws {
    let text = String(repeating: "{\"type\": \"x\"}\n", count: events)
    #expect(try await databus.run("events", "send", input: text).code == 0)
  }

  func sendAndDeliver(_ events: Int) async throws {
    try await send(events)
    try await deliver()
  }

  /// Routes and delivers all that is there.
  @discardableResult
  func deliver() async throws -> DatabusProcess.Result {
    let run = try await databus.run("run", "--with-dispatcher", "--until-idle")
    try #require(run.code == 0, "\(run.errors)")
    return run
  }

  /// The dispatcher's dead letters.
  func letters() async throws -> [[String: Any]] {
    let list = try await databus.run("dlq", "list", "--json")
    try #require(list.code == 0, "\(list.errors)")
    return try list.output.objects
  }

  /// What the receiver has said yes to.
  func deliveredIDs() throws -> Set<String> {
    Set(try receiver.running.output().objects.compactMap { $0["status"] as? Int == 200 ? $0["id"] as? String : nil })
  }

  /// Makes a stream's records two days older.
  func age(_ stream: String) throws {
    let script = """
      import sqlite3, sys
      log = sqlite3.connect(sys.argv[1])
      topic = log.execute("SELECT id FROM topics WHERE name = ?", (sys.argv[2],)).fetchone()[0]
      log.execute(f"UPDATE log_{topic}_0 SET timestamp = timestamp - 172800000")
      log.commit()
      """
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, databus.path("log.db"), stream]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  /// Asks again and again; a minute at most.
  func until(_ happening: String, _ holds: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while try await !holds() {
      try #require(ContinuousClock.now < deadline, "\(happening)")
      try await Task.sleep(for: .milliseconds(50))
    }
  }
}
