import DatabusCore
import HTTPServer

/// The HTTP server for operators, where the configuration asks for one, and what its pages are made from.
final class AdminServer: Sendable {
  let metrics = MetricRegistry()
  let health: HealthBoard
  private let server: HTTPServer?

  /// Starts to listen where the configuration has a section `admin`.
  ///
  /// - Parameter parts: who tells of his health.
  /// - Throws: `CommandFailure` where the address cannot be listened on.
  init(
    _ configuration: DatabusConfiguration, _ log: Logger, parts: [String] = [HealthBoard.pipeline]
  ) throws(CommandFailure) {
    health = HealthBoard(parts: parts)
    let clock = SystemClock()
    metrics.gauge(
      "databus_build_info", "1; the label says which release runs.", [MetricLabel("version", DatabusCommand.version)]
    ).set(1)
    let process = ProcessMetrics(metrics, processStart: clock.wallMilliseconds())
    guard let admin = configuration.admin else {
      server = nil
      return
    }
    let pages = AdminPages(
      pipeline: configuration.pipeline.name, metrics: metrics, health: health, process: process, clock: clock)
    let server = try AdminServer.listen(admin, pages)
    self.server = server
    log.named("admin").info("health and metrics are served", at: AdminServer.url(admin, port: server.port))
  }

  private static func listen(_ admin: AdminConfiguration, _ pages: AdminPages) throws(CommandFailure) -> HTTPServer {
    do throws(HTTPServerError) {
      return try HTTPServer(
        HTTPServer.Configuration(
          address: admin.address == "localhost" ? "127.0.0.1" : admin.address, port: admin.port,
          name: "databus-admin", maximumConnections: admin.connections, maximumHeadBytes: admin.headerBytes,
          transferTimeout: admin.timeout), respond: { pages.respond($0) })
    } catch {
      let hint =
        switch error.kind {
        case .addressInUse: "end that program, or choose another \"port\" in the configuration's \"admin\""
        case .addressUnknown:
          "choose an \"address\" in the configuration's \"admin\" that this machine has: 127.0.0.1, or 0.0.0.0 for all"
        case .notPermitted: "choose a \"port\" of 1024 or more in the configuration's \"admin\""
        case .other: "look at \"admin\" in the configuration"
        }
      throw CommandFailure(.failed, error.message, hint: hint)
    }
  }

  /// Where the pages are.
  static func url(_ admin: AdminConfiguration, port: Int) -> String {
    let host = admin.address.utf8.contains(UInt8(ascii: ":")) ? "[\(admin.address)]" : admin.address
    return "http://\(host):\(port)/"
  }

  func stop() async { await server?.stop() }
}
