import Foundation
import RawHTTPClient
import Testing

/// A `databus receive` that runs as a process on a free port of its own.
struct ReceiverProcess {
  let running: RunningDatabus
  let port: Int

  /// Runs the body beside it, then lets SIGTERM end it.
  ///
  /// - Returns: how it ended.
  @discardableResult
  static func with(
    _ options: String..., sourceLocation: SourceLocation = #_sourceLocation,
    _ body: (ReceiverProcess) async throws -> Void
  ) async throws -> DatabusProcess.Result {
    try await DatabusProcess.with { databus in
      let receiver = try await ReceiverProcess(databus, options)
      do { try await body(receiver) } catch {
        _ = try await receiver.running.terminate()
        throw error
      }
      let result = try await receiver.running.terminate()
      #expect(result.code == 0, "\(result.errors)", sourceLocation: sourceLocation)
      return result
    }
  }

  /// - Parameter port: 0: a free one.
  init(_ databus: DatabusProcess, _ options: [String], port: Int = 0) async throws {
    running = try databus.start(["receive", "--port", "\(port)"] + options)
    let errors = try await running.waitForErrors { $0.contains("\n") }
    let line = try #require(try errors.objects.first)
    let fields = try #require(line["fields"] as? [String: Any])
    self.port = try #require(fields["port"] as? Int)
    #expect(line["where"] as? String == "http://127.0.0.1:\(self.port)/")
  }

  /// A request on a connection of its own, and the whole answer; empty where the connection was closed without one.
  func post(_ target: String, id: String? = nil, _ headers: [String: String] = [:], body: String = "") async throws
    -> String
  {
    try await RawClient.ask(port, ReceiverProcess.request(target, id: id, headers, body: body))
  }

  static func request(_ target: String, id: String? = nil, _ headers: [String: String] = [:], body: String = "")
    -> String
  {
    var head = "POST \(target) HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: \(body.utf8.count)\r\n"
    if let id { head += "webhook-id: \(id)\r\n" }
    for (name, value) in headers.sorted(by: { $0.key < $1.key }) { head += "\(name): \(value)\r\n" }
    return head + "\r\n" + body
  }

  func sums() async throws -> [String: Int] {
    let answer = try await RawClient.ask(port, "GET /_stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    #expect(answer.status == 200)
    var sums = try #require(try answer.body.objects.first)
    #expect(sums.removeValue(forKey: "forgetsIDs") as? Bool == false)
    return try #require(sums as? [String: Int])
  }

  /// What it has shown with --json, once it has shown so many lines.
  func shown(_ count: Int) async throws -> [[String: Any]] {
    try await running.waitForOutput { $0.count(where: { $0 == "\n" }) >= count }.objects
  }
}
