import Foundation
import Testing

/// What documentation and dashboard say of metrics is what a process shows.
@Suite("metrics that are documented", .serialized)
struct MetricsCatalogueTests {
  private static let repository = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent()
    .deletingLastPathComponent()

  private static func text(_ path: String) throws -> String {
    String(decoding: try Data(contentsOf: repository.appendingPathComponent(path)), as: UTF8.self)
  }

  /// The metrics of a process that has routed an event and tried to deliver it, with every partition seen.
  private func metrics() async throws -> PrometheusParser {
    try await DatabusProcess.with { databus in
      try databus.write(
        """
        {"pipeline": {"name": "p"}, "transports": {"local": {"type": "sqlite-log", "path": "log.db"}},
         "state": {"type": "sqlite", "path": "state.db"}, "admin": {"port": 0},
         "dispatcher": {
           "deduplication": {"type": "sqlite", "path": "deduplication.db"}, "attempts": {"path": "attempts.db"},
           "channels": {"http": {"allow": ["127.0.0.1"]}}}}
        """, to: "databus.json")
      // Nobody listens there.
      let rule = #"{"ruleId": "a", "events": ["*"], "destinationUrl": "http://127.0.0.1:1/"}"#
      #expect(try await databus.run("rules", "put", rule).code == 0)
      #expect(try await databus.run("events", "send", #"{"type": "x"}"#).code == 0)
      let process = try databus.start(["run", "--with-dispatcher"])
      defer { process.signal(SIGKILL) }
      let admin = try await AdminClient(process)
      try await admin.wait("metrics", "all of them are there") {
        $0.text.contains("\ndatabus_lag_records{stream=") && $0.text.contains("\ndatabus_lag_records{part=")
          && $0.text.contains("\ndatabus_rules_lag_records{") && $0.text.contains("\ndatabus_dispatch_attempts_total{")
      }
      let metrics = try await admin.metrics()
      #expect(try await process.terminate().code == 0)
      return metrics
    }
  }

  private static func names(in text: String) -> Set<String> {
    Set(text.matches(of: /\b(?:databus|process)_[a-z0-9_]+/).map { String($0.0) })
  }

  @Test("every query of the dashboard asks for metrics and labels that exist, and every metric is on it")
  func dashboard() async throws {
    let shown = try await metrics()
    let text = try Self.text("docs/grafana/databus.json")
    let dashboard = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    let panels = try #require(dashboard["panels"] as? [[String: Any]])
    let targets = panels.flatMap { $0["targets"] as? [[String: Any]] ?? [] }
    #expect(targets.count > 20)
    // What Prometheus adds when it scrapes, and what a histogram's buckets have.
    let scraped: Set<String> = ["job", "instance", "le"]
    for target in targets {
      let query = try #require(target["expr"] as? String)
      let names = Self.names(in: query)
      #expect(!names.isEmpty, "\(query)")
      for name in names {
        #expect(shown.names.contains(name), "\(name) does not exist: \(query)")
        let labels = Set(shown.families.flatMap(\.samples).filter { $0.name == name }.flatMap(\.labels.keys))
        let grouped = query.matches(of: /by \(([a-z, ]+)\)/).flatMap { $0.1.split(separator: ",") }
        let legend = (target["legendFormat"] as? String ?? "").matches(of: /\{\{([a-z]+)\}\}/).map(\.1)
        for label in (grouped + legend).map({ $0.trimmingCharacters(in: .whitespaces) }) {
          #expect(labels.contains(label) || scraped.contains(label), "\(name) has no label \(label): \(query)")
        }
      }
      // Counters are shown as rates, gauges are not.
      for match in query.matches(of: /(rate|increase)\(((?:databus|process)_[a-z0-9_]+)/) {
        let name = String(match.2)
        #expect(name.hasSuffix("_total") || name.hasSuffix("_bucket"), "\(name) is no counter: \(query)")
      }
    }
    for variable in (dashboard["templating"] as? [String: [[String: Any]]])?["list"] ?? [] {
      for name in Self.names(in: variable["definition"] as? String ?? "") { #expect(shown.names.contains(name)) }
    }
    let used = Self.names(in: text)
    for family in shown.families {
      #expect(used.contains { $0 == family.name || $0 == family.name + "_bucket" }, "\(family.name) is on no panel")
    }
  }

  @Test("the documentation's table has every metric with its type, and no other")
  func table() async throws {
    let shown = try await metrics()
    let text = try Self.text("docs/operations.md")
    var documented: [String: String] = [:]
    for line in text.split(separator: "\n") where line.hasPrefix("| `databus_") || line.hasPrefix("| `process_") {
      let cells = line.split(separator: "|", omittingEmptySubsequences: false).map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      // Rows of alerts have conditions in that place.
      guard cells.count >= 4, ["counter", "gauge", "histogram"].contains(cells[2]) else { continue }
      for name in Self.names(in: cells[1]) { documented[name] = cells[2] }
    }
    #expect(
      documented
        == Dictionary(shown.families.map { ($0.name, $0.type) }, uniquingKeysWith: { a, _ in a }))
    for name in Self.names(in: text) { #expect(shown.names.contains(name) || documented[name] != nil, "\(name)") }
  }
}
