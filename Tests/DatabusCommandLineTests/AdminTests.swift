import Foundation
import Testing

/// The admin pages of a real process, asked by a real client.
@Suite("admin pages", .serialized)
struct AdminTests {
  private static let rule = #"{"ruleId": "a", "events": ["x"], "destinationUrl": "https://foo.bar/baz"}"#

  /// The quickstart's configuration with admin pages on a free port.
  private static let configuration = """
    {"pipeline": {"name": "quickstart"},
     "transports": {"local": {"type": "sqlite-log", "path": "log.db"}},
     "state": {"type": "sqlite", "path": "state.db"},
     "admin": {"port": 0}}
    """

  /// Events and rules in files that are followed.
  private static let files = """
    {"pipeline": {"name": "f"},
     "transports": {"files": {"type": "file", "path": ".", "follow": true}},
     "state": {"type": "sqlite", "path": "state.db"},
     "admin": {"port": 0}}
    """

  @Test("a process that works is alive and ready, and its metrics are what was sent")
  func working() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.configuration, to: "databus.json")
      #expect(try await databus.run("rules", "put", Self.rule).code == 0)
      let lines = (0..<7).map { "{\"type\": \"x\", \"n\": \($0)}\n" }.joined() + "{\"type\": \"y\"}\nnot json\n"
      #expect(try await databus.run("events", "send", input: lines).code == 0)
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      let admin = try await AdminClient(process)
      #expect(try await admin.get("live").status == 200)
      try await admin.wait("ready", "it is ready") { $0.status == 200 && $0.text == "ready\n" }
      let json = try await admin.get("ready", accept: "application/json")
      #expect(json.text == #"{"ready": true, "reasons": []}"# + "\n")
      #expect(json.headers["content-type"] == "application/json")
      try await admin.wait("metrics", "all is counted") {
        let metrics = PrometheusParser($0.text)
        return metrics.value("databus_events_total") == 9
          && metrics.value("databus_position", ["stream": "events", "partition": "0"]) == 10
          && metrics.value("databus_lag_records", ["stream": "events", "partition": "0"]) == 0
          && metrics.value("databus_rules_lag_records", ["stream": "rules", "partition": "0"]) == 0
      }
      let metrics = try await admin.metrics()
      #expect(metrics.value("databus_results_total") == 7)
      #expect(metrics.value("databus_events_filtered_total") == 1)
      #expect(metrics.value("databus_dead_letters_total", ["reason": "not_json"]) == 1)
      #expect(metrics.value("databus_dead_letters_total", ["reason": "gap"]) == 0)
      #expect(metrics.value("databus_rules_in_force") == 1)
      #expect(metrics.value("databus_rules_refused") == 0)
      #expect(metrics.value("databus_ready") == 1)
      #expect(metrics.value("databus_event_latency_seconds_count") == 8)
      #expect(metrics.value("databus_processing_latency_seconds_count") == 8)
      #expect(metrics.value("databus_build_info", ["version": "0.1.0"]) == 1)
      #expect(metrics.value("process_resident_memory_bytes") ?? 0 > 1_000_000)
      // The same from beside.
      let status = try await databus.run("status", "--json")
      let object = try #require(try JSONSerialization.jsonObject(with: Data(status.output.utf8)) as? [String: Any])
      let seen = try #require((object["processes"] as? [[String: Any]])?.first)
      #expect(seen["events"] as? Int == 9)
      #expect(seen["results"] as? Int == 7)
      let end = try await process.terminate()
      #expect(end.code == 0, "\(end.errors)")
      await #expect(throws: (any Error).self) { _ = try await admin.get("live") }
    }
  }

  @Test("the pages are GET and HEAD only, and what is not there is told")
  func pages() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.configuration, to: "databus.json")
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      let admin = try await AdminClient(process)
      let index = try await admin.get("/")
      #expect(index.status == 200)
      #expect(index.text.contains("/metrics"))
      let head = try await admin.get("live", method: "HEAD")
      #expect(head.status == 200)
      #expect(head.text.isEmpty)
      #expect(head.headers["content-length"] == "6")
      let refused = try await admin.get("ready", method: "DELETE")
      #expect(refused.status == 405)
      #expect(refused.headers["allow"] == "GET, HEAD")
      let missing = try await admin.get("health")
      #expect(missing.status == 404)
      #expect(missing.text.contains("/ready"))
      #expect(try await process.terminate().code == 0)
    }
  }

  @Test("while the rules stream is away it is alive, not ready, and says why; then it goes on by itself")
  func rulesAway() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.files, to: "databus.json")
      try databus.write("{\"type\":\"x\"}\n", to: "events.jsonl")
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      let admin = try await AdminClient(process)
      let away = try await admin.wait("ready", "it says why") { $0.status == 503 && $0.text.contains("rules.jsonl") }
      #expect(away.text.hasPrefix("not ready\n"))
      let json = try await admin.get("ready", accept: "application/json")
      #expect(json.status == 503)
      let object = try #require(try json.text.objects.first)
      #expect(object["ready"] as? Bool == false)
      #expect((object["reasons"] as? [[String: String]])?.contains { $0["part"] == "rules" } == true)
      #expect(try await admin.get("live").status == 200)
      let metrics = try await admin.metrics()
      #expect(metrics.value("databus_ready") == 0)
      #expect(metrics.value("databus_results_total") == 0)
      try databus.write(Self.rule + "\n", to: "rules.jsonl")
      try await admin.wait("ready", "it is ready") { $0.status == 200 }
      try await admin.wait("metrics", "it routes") { PrometheusParser($0.text).value("databus_results_total") == 1 }
      #expect(try await process.terminate().code == 0)
    }
  }

  @Test("a parked partition makes it not ready, and shows in status, log and metrics")
  func parked() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.configuration, to: "databus.json")
      #expect(try await databus.run("events", "send", "{\"type\":\"x\"}").code == 0)
      #expect(try await databus.run("run", "--until-idle").code == 0)
      // What an expired group leaves behind: state, and no commit.
      try databus.python(
        "import sqlite3; c = sqlite3.connect('log.db'); c.execute('DELETE FROM positions'); c.commit()")
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      let admin = try await AdminClient(process)
      let answer = try await admin.wait("ready", "it is parked") { $0.status == 503 && $0.text.contains("parked") }
      #expect(answer.text.contains("parked events/0: "))
      #expect(answer.text.contains("databus positions set"))
      try await admin.wait("metrics", "it is counted") {
        PrometheusParser($0.text).value("databus_partition_parked", ["stream": "events", "partition": "0"]) == 1
      }
      #expect(try await admin.metrics().value("databus_partitions", ["status": "parked"]) == 1)
      #expect(try await admin.get("live").status == 200)
      let status = try await databus.run("status")
      #expect(status.output.contains("is not ready"))
      #expect(try process.errors().contains("the partition is parked"))
      #expect(try await process.terminate().code == 0)
    }
  }

  @Test("an address that is in use is an error that names it, before anything is opened")
  func addressInUse() async throws {
    try await DatabusProcess.with { databus in
      try databus.write(Self.configuration, to: "databus.json")
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      let port = try #require(try await AdminClient(process).root.port)
      try databus.write(
        Self.configuration.replacingOccurrences(of: "\"port\": 0", with: "\"port\": \(port)")
          .replacingOccurrences(of: "state.db", with: "other.db"), to: "second.json")
      let second = try await databus.run("run", "--config", "second.json")
      #expect(second.code == 1)
      #expect(second.errors.contains("127.0.0.1:\(port) cannot be listened on: another program listens there"))
      #expect(second.errors.contains("\"port\" in the configuration's \"admin\""))
      #expect(!FileManager.default.fileExists(atPath: databus.path("other.db")))
      let validate = try await databus.run("validate", "--config", "second.json")
      #expect(validate.output.contains("Health and metrics: http://127.0.0.1:\(port)/"))
      #expect(try await process.terminate().code == 0)
    }
  }

  @Test("a secret of the configuration is on no page")
  func secrets() async throws {
    try await DatabusProcess.with { databus in
      try databus.write("hush-hush.db\n", to: "secret")
      try databus.write(
        Self.configuration.replacingOccurrences(of: "log.db", with: "${file:secret}"), to: "databus.json")
      let process = try databus.start(["run"])
      defer { process.signal(SIGKILL) }
      let admin = try await AdminClient(process)
      try await admin.wait("ready", "it is ready") { $0.status == 200 }
      #expect(FileManager.default.fileExists(atPath: databus.path("hush-hush.db")))
      for path in ["/", "live", "ready", "metrics", "hush"] {
        #expect(!(try await admin.get(path).text.contains("hush-hush")))
      }
      #expect(try await process.terminate().code == 0)
    }
  }
}
