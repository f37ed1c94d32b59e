import DatabusCore
import Foundation
import RedisClient
import RedisServerFixture
import RedisState
import Synchronization
import Testing

/// Opens the state of a pipeline in a server.
func open(
  _ server: RedisServer, _ pipeline: String = "p", _ access: RedisState.Access = .writer, url: String? = nil,
  timeout: Duration = .seconds(5), log: Logger = .off
) async throws -> RedisState {
  let endpoint = try RedisEndpoint(url: url ?? server.url)
  return try await RedisState(
    .init(.init(endpoint, connectTimeout: .seconds(2), timeout: timeout)), pipeline: pipeline, access: access, log: log)
}

let partition = PartitionID(stream: "events", incarnation: "i-1", index: 3)

func key(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

func batch(_ change: (inout WriteBatch) -> Void) -> WriteBatch {
  var batch = WriteBatch()
  change(&batch)
  return batch
}

func put(_ name: String, _ value: String) -> WriteBatch { batch { $0.put(key(name), key(value)) } }

extension StateSession {
  func text(_ name: String) async throws -> String? {
    try await multiGet([key(name)])[0].map { String(decoding: $0, as: UTF8.self) }
  }
}

enum Outcome: Equatable {
  case done, fenced, diverged, unavailable, unusable
}

/// How a call ends.
func outcome(_ body: () async throws -> Void) async throws -> Outcome {
  do {
    try await body()
    return .done
  } catch StateError.fenced {
    return .fenced
  } catch StateError.diverged {
    return .diverged
  } catch StateError.unavailable {
    return .unavailable
  } catch StateError.unusable {
    return .unusable
  }
}

/// What a call that must fail with a state's error says.
func refusal(_ body: () async throws -> Void) async throws -> StateError {
  do { try await body() } catch let error as StateError { return error }
  throw RedisServer.Failure(description: "it succeeded")
}

/// Calls again while the state is away, as the engine does; for 20 s at most.
func retrying<R>(_ body: () async throws -> R) async throws -> R {
  let deadline = ContinuousClock.now + .seconds(20)
  while true {
    do { return try await body() } catch let error as StateError {
      guard case .unavailable = error, ContinuousClock.now < deadline else { throw error }
      try await Task.sleep(for: .milliseconds(10))
    }
  }
}

final class LogLines: LogSink {
  private let lines = Mutex<[LogLine]>([])
  func write(_ line: LogLine) { lines.withLock { $0.append(line) } }
  var all: [LogLine] { lines.withLock { $0 } }
  var logger: Logger { Logger(part: "state", sink: self) }
}
