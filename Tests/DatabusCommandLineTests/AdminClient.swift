import Foundation
import Testing

#if canImport(FoundationNetworking)
  import FoundationNetworking
#endif

/// Asks the admin pages of a process that was started with `"port": 0`.
struct AdminClient {
  struct Answer {
    var status: Int
    var text: String
    var headers: [String: String]
  }

  let root: URL

  /// The process's log names the port.
  init(_ process: RunningDatabus) async throws {
    let text = try await process.waitForErrors { $0.contains("health and metrics are served") }
    let match = try #require(text.firstMatch(of: /http:\/\/[0-9.:\[\]]+\//), "\(text)")
    root = try #require(URL(string: String(match.0)))
  }

  func get(_ path: String, method: String = "GET", accept: String? = nil) async throws -> Answer {
    var request = URLRequest(url: root.appendingPathComponent(path), cachePolicy: .reloadIgnoringLocalCacheData)
    request.httpMethod = method
    request.timeoutInterval = 20
    if let accept { request.setValue(accept, forHTTPHeaderField: "Accept") }
    let (data, response) = try await URLSession.shared.data(for: request)
    let http = try #require(response as? HTTPURLResponse)
    var headers: [String: String] = [:]
    for (name, value) in http.allHeaderFields { headers["\(name)".lowercased()] = "\(value)" }
    return Answer(status: http.statusCode, text: String(decoding: data, as: UTF8.self), headers: headers)
  }

  func metrics() async throws -> PrometheusParser {
    let answer = try await get("metrics")
    #expect(answer.status == 200)
    let metrics = PrometheusParser(answer.text)
    #expect(metrics.problems == [])
    return metrics
  }

  /// Asks until the answer is as wanted; a minute at most.
  @discardableResult
  func wait(
    _ path: String, _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ isThere: (Answer) -> Bool
  ) async throws -> Answer {
    var last = try await get(path)
    for _ in 0..<1200 {
      if isThere(last) { return last }
      try await Task.sleep(for: .milliseconds(50))
      last = try await get(path)
    }
    Issue.record("never: \(what); at last: \(last.status) \(last.text)", sourceLocation: sourceLocation)
    return last
  }
}
