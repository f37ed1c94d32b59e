import DatabusCore
import HTTPServer
import Testing

@testable import DatabusCommandLine

struct AdminPagesTests {
  private let metrics = MetricRegistry()
  private let health = HealthBoard()
  private let clock = SystemClock()

  private func ask(_ target: String, method: String = "GET", accept: String? = nil) -> HTTPResponse {
    AdminPages(
      pipeline: "p", metrics: metrics, health: health, process: ProcessMetrics(metrics, processStart: 0), clock: clock
    ).respond(
      HTTPRequest(method: method, target: target, headers: accept.map { [HTTPHeader("Accept", $0)] } ?? []))
  }

  private func text(_ response: HTTPResponse) -> String { String(decoding: response.body, as: UTF8.self) }

  private func header(_ response: HTTPResponse, _ name: String) -> String? {
    response.headers.first { $0.name == name }?.value
  }

  @Test func theIndexNamesAllPages() {
    let index = ask("/")
    #expect(index.status == 200)
    for path in ["/live", "/ready", "/metrics"] {
      #expect(text(index).contains(path))
      #expect(ask(path).status == 200 || path == "/ready")
    }
  }

  @Test func anotherPageIs404WithAHintAndAnotherMethod405() {
    let missing = ask("/metric")
    #expect(missing.status == 404)
    #expect(text(missing).contains("/metrics"))
    #expect(ask("/%zz").status == 404)
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "get"] {
      let refused = ask("/live", method: method)
      #expect(refused.status == 405)
      #expect(header(refused, "Allow") == "GET, HEAD")
    }
    #expect(ask("/live?verbose=1").status == 200)
  }

  @Test func readinessIsTextOrJSONWithEveryReason() throws {
    health.tell(Health(), at: clock.now())
    #expect(text(ask("/ready")) == "ready\n")
    #expect(text(ask("/ready", accept: "application/json")) == #"{"ready": true, "reasons": []}"# + "\n")
    health.tell(
      Health(reasons: [.init(part: "events", message: "a\u{1B}b"), .init(part: "state", message: "full \"disk\"")]),
      at: clock.now())
    let response = ask("/ready")
    #expect(response.status == 503)
    #expect(text(response).hasPrefix("not ready\nevents: a"))
    #expect(!text(response).contains("\u{1B}"))
    #expect(text(response).hasSuffix("\nstate: full \"disk\"\n"))
    let json = ask("/ready", accept: "text/html, application/json;q=0.9")
    #expect(json.status == 503)
    #expect(header(json, "Content-Type") == "application/json")
    let value = try JSONDocument.value(of: json.body)
    #expect(value["ready"]?.bool == false)
    #expect(value["reasons"]?.elements?.map { $0["part"]?.string } == ["events", "state"])
    #expect(value["reasons"]?.elements?.last?["message"]?.string == "full \"disk\"")
  }

  @Test func metricsAreReadableAndSayWhetherItIsReady() {
    metrics.counter("databus_events_total", "Events read.").add(3)
    let response = ask("/metrics")
    #expect(header(response, "Content-Type") == "text/plain; version=0.0.4; charset=utf-8")
    let before = PrometheusParser(text(response))
    #expect(before.problems == [])
    #expect(before.value("databus_events_total") == 3)
    #expect(before.value("databus_ready") == 0)
    health.tell(Health(), at: clock.now())
    #expect(PrometheusParser(text(ask("/metrics"))).value("databus_ready") == 1)
  }

  @Test func nobodyKeepsAnAnswer() {
    #expect(header(ask("/ready"), "Cache-Control") == "no-store")
    #expect(header(ask("/nothing"), "X-Content-Type-Options") == "nosniff")
  }
}
