import HTTPClient
import Synchronization

/// Collects how requests ended.
final class Collector: HTTPClientPort {
  private struct State {
    var results: [HTTPClientResult] = []
    var waiting: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
  }

  private let state = Mutex(State())

  func end(_ results: [HTTPClientResult]) {
    let ready = state.withLock { state in
      state.results += results
      let count = state.results.count
      defer { state.waiting.removeAll { $0.count <= count } }
      return state.waiting.filter { $0.count <= count }
    }
    for one in ready { one.continuation.resume() }
  }

  var results: [HTTPClientResult] { state.withLock { $0.results } }

  /// Waits until so many have ended. Each does, by its timeout.
  func wait(for count: Int) async -> [HTTPClientResult] {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if state.results.count >= count { return true }
        state.waiting.append((count, continuation))
        return false
      }
      if isThere { continuation.resume() }
    }
    return results
  }
}

extension HTTPClient {
  /// Sends one request and waits for its end.
  func exchange(_ request: HTTPClientRequest) async -> Result<HTTPClientResponse, HTTPClientFailure> {
    let collector = Collector()
    send([request], collector)
    return await collector.wait(for: 1)[0].outcome
  }

  func exchange(
    _ url: String, method: String = "POST", timeout: Duration = .seconds(20)
  ) async -> Result<HTTPClientResponse, HTTPClientFailure> {
    await exchange(HTTPClientRequest(number: 1, method: method, url: url, timeout: timeout))
  }
}

extension HTTPClient.Configuration {
  /// What this machine's own servers may be reached with.
  static func local() throws -> HTTPClient.Configuration {
    HTTPClient.Configuration(policy: try AddressPolicy(allow: ["127.0.0.0/8", "::1"]))
  }
}

extension Result where Success == HTTPClientResponse, Failure == HTTPClientFailure {
  var status: Int? { try? get().status }

  var failure: HTTPClientFailure? {
    if case .failure(let failure) = self { return failure }
    return nil
  }
}

/// Runs `body` with a client and closes it.
func withClient(
  _ configuration: HTTPClient.Configuration? = nil, _ body: (HTTPClient) async throws -> Void
) async throws {
  let client = try HTTPClient(try configuration ?? .local())
  do { try await body(client) } catch {
    await client.close()
    throw error
  }
  await client.close()
}
