import DatabusCore
import Dispatcher
import Foundation
import RedisClient
import RedisDeduplication
import RedisServerFixture
import Testing

/// Opens the deduplication store of a pipeline in a server.
func open(
  _ server: RedisServer, _ pipeline: String = "p", url: String? = nil, timeout: Duration = .seconds(5),
  replicas: Int = 0
) async throws -> RedisDeduplication {
  let endpoint = try RedisEndpoint(url: url ?? server.url)
  return try await RedisDeduplication(
    .init(.init(endpoint, connectTimeout: .seconds(2), timeout: timeout), replicas: replicas), pipeline: pipeline)
}

func id(_ number: UInt64) -> DeliveryID { DeliveryID(high: 0x0102_0304_0506_0708, low: number) }

func claim(_ id: DeliveryID, _ token: UInt64, attempts: Int = 0, lease: Duration = .seconds(600))
  -> DeduplicationRequest
{
  .claim(.init(id: id, token: token, lease: lease, retention: .seconds(3600), attempts: attempts))
}

func settle(
  _ id: DeliveryID, _ token: UInt64, _ state: DeduplicationRequest.Settlement.State, attempts: Int = 1
) -> DeduplicationRequest {
  .settle(.init(id: id, token: token, state: state, attempts: attempts, retention: .seconds(3600)))
}

let granted = DeduplicationAnswer.granted(attempts: 0, isOutcomeUnknown: false)

extension DeduplicationStore {
  func answer(_ request: DeduplicationRequest) async throws -> DeduplicationAnswer { try await process([request])[0] }
}

/// The sentence of a call that must be unavailable.
func unavailable(_ body: () async throws -> Void) async throws -> String {
  do { try await body() } catch DeduplicationError.unavailable(let reason) { return reason }
  throw RedisServer.Failure(description: "it succeeded")
}

/// The sentence of a call that must be unusable.
func unusable(_ body: () async throws -> Void) async throws -> String {
  do { try await body() } catch DeduplicationError.unusable(let reason) { return reason }
  throw RedisServer.Failure(description: "it succeeded")
}

/// Calls again while the store is away, as the dispatcher does; for 20 s at most.
func retrying<R>(_ body: () async throws -> R) async throws -> R {
  let deadline = ContinuousClock.now + .seconds(20)
  while true {
    do { return try await body() } catch let error as DeduplicationError {
      guard case .unavailable = error, ContinuousClock.now < deadline else { throw error }
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}
