import DatabusCore
import HTTPServer

/// What operators and their machines ask for over HTTP. Everything is at hand: no answer waits for the pipeline, a transport or the
/// state, and none shows the configuration.
struct AdminPages: Sendable {
  let pipeline: String
  let metrics: MetricRegistry
  let health: HealthBoard
  let process: ProcessMetrics
  let clock: any EngineClock

  private struct Page {
    var path: String
    var summary: String
  }

  private static let pages = [
    Page(path: "/live", summary: "200 while the process is alive"),
    Page(
      path: "/ready",
      summary: "200 while it does its work, else 503 with the reasons (JSON with Accept: application/json)"),
    Page(path: "/metrics", summary: "metrics in Prometheus' text format"),
  ]

  /// Nobody between here and there is to keep an answer, or to take text for something else.
  private static let headers = [
    HTTPHeader("Cache-Control", "no-store"), HTTPHeader("X-Content-Type-Options", "nosniff"),
  ]

  func respond(_ request: HTTPRequest) -> HTTPResponse {
    guard request.method == "GET" || request.method == "HEAD" else {
      return text(
        405, "Only GET and HEAD are answered here.\n", headers: [HTTPHeader("Allow", "GET, HEAD")])
    }
    switch request.path {
    case "/": return text(200, index)
    case "/live": return text(200, "alive\n")
    case "/ready": return ready(asJSON: AdminPages.wantsJSON(request))
    case "/metrics": return text(200, metricsText, type: PrometheusText.contentType)
    default:
      let paths = AdminPages.pages.map(\.path).joined(separator: ", ")
      return text(404, "There is no such page. There are: /, \(paths)\n")
    }
  }

  private func text(
    _ status: Int, _ text: String, type: String = "text/plain; charset=utf-8", headers: [HTTPHeader] = []
  ) -> HTTPResponse {
    HTTPResponse(status: status, text: text, type: type, headers: AdminPages.headers + headers)
  }

  private var index: String {
    let width = AdminPages.pages.map(\.path.count).max() ?? 0
    let lines = AdminPages.pages.map { page in
      page.path + String(repeating: " ", count: width - page.path.count + 2) + page.summary + "\n"
    }
    return "Databus \(DatabusCommand.version), pipeline \"\(pipeline)\"\n\n" + lines.joined()
  }

  // MARK: Readiness

  private static func wantsJSON(_ request: HTTPRequest) -> Bool {
    request.header("Accept")?.contains("application/json") == true
  }

  private func ready(asJSON: Bool) -> HTTPResponse {
    let health = health.health(at: clock.now())
    let status = health.isReady ? 200 : 503
    if asJSON {
      let reasons = health.reasons.map { reason in
        JSONValue(members: [
          ("part", JSONValue(.string(reason.part))), ("message", JSONValue(.string(reason.message))),
        ])
      }
      let json = JSONValue(members: [
        ("ready", JSONValue(.bool(health.isReady))), ("reasons", JSONValue(.array(reasons))),
      ])
      return text(status, json.compactText + "\n", type: "application/json")
    }
    if health.isReady { return text(status, "ready\n") }
    let lines = health.reasons.map { "\($0.part): \(Terminal.printable($0.message))\n" }
    return text(status, "not ready\n" + lines.joined())
  }

  // MARK: Metrics

  private var metricsText: String {
    process.update()
    // Whoever hangs does not say so himself.
    health.publish(to: metrics, at: clock.now())
    return PrometheusText.write(metrics.snapshot())
  }
}
