import DatabusCore
import Synchronization

/// Hears of the ends of what a command has sent.
final class Acknowledgements: CompletionPort {
  private struct State {
    var ended = 0
    var failures: [(token: UInt64, error: TransportError)] = []
    var waiter: (count: Int, continuation: CheckedContinuation<Void, Never>)?
  }
  private let state = Mutex(State())

  func complete(_ tokens: Span<UInt64>) { end(tokens.count) { _ in } }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    var failed: [(token: UInt64, error: TransportError)] = []
    for index in tokens.indices { failed.append((tokens[index], error)) }
    end(failed.count) { $0.failures += failed }
  }

  private func end(_ count: Int, _ change: (inout State) -> Void) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      state.ended += count
      change(&state)
      guard let waiter = state.waiter, state.ended >= waiter.count else { return nil }
      state.waiter = nil
      return waiter.continuation
    }
    waiter?.resume()
  }

  var ended: Int { state.withLock { $0.ended } }

  /// Returns when so many deliveries have ended.
  func wait(for count: Int) async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if state.ended >= count { return true }
        state.waiter = (count, continuation)
        return false
      }
      if isThere { continuation.resume() }
    }
  }

  func takeFailures() -> [(token: UInt64, error: TransportError)] {
    state.withLock { state in
      defer { state.failures = [] }
      return state.failures
    }
  }
}

/// Writes a command's records to one stream and knows which of them are safe. One caller at a time.
final class StreamWriter {
  private let sink: any EventSink
  private let acknowledgements = Acknowledgements()
  private let clock = SystemClock()
  private var batch = DeliveryBatch()
  /// Records accepted by the sink.
  private var accepted = 0
  private var nextToken: UInt64 = 0
  /// Records that are sent at a time.
  private static let batchRecords = 1000
  private static let batchBytes = 1 << 20

  let stream: String

  init(_ transport: any Transport, _ stream: String) async throws {
    self.stream = stream
    sink = try await transport.makeSink(stream, acknowledgements)
  }

  /// Records that have been acknowledged or refused so far.
  var ended: Int { acknowledgements.ended }

  /// The largest key and value together, in bytes.
  var capabilities: SinkCapabilities { sink.capabilities }

  /// Adds a record to what is sent next; sends where that is enough for a batch. Tokens count from 0.
  ///
  /// - Returns: the record's number, by which `takeFailures` names it.
  @discardableResult
  func append(key: [UInt8]?, value: [UInt8]?) async throws -> UInt64 {
    try await append { batch, token in
      batch.append(key: key, value: value, timestamp: clock.wallMilliseconds(), token: token)
    }
  }

  /// Lets `add` append one record under the token that it is given.
  @discardableResult
  func append(_ add: (inout DeliveryBatch, UInt64) -> Void) async throws -> UInt64 {
    let token = nextToken
    nextToken += 1
    add(&batch, token)
    if batch.count >= StreamWriter.batchRecords || batch.byteCount >= StreamWriter.batchBytes { try await send() }
    return token
  }

  /// Hands over what was appended, waiting for room.
  func send() async throws {
    var start = 0
    while start < batch.count {
      let count = try sink.send(batch, from: start)
      start += count
      accepted += count
      if count == 0 {
        if sink.capabilities.confirmsOnFlush { try await sink.flush(by: clock.now() + .seconds(30)) }
        try await sink.writable()
      }
    }
    batch.removeAll()
  }

  /// Returns when everything appended so far is safe or refused.
  func confirm() async throws {
    try await send()
    if sink.capabilities.confirmsOnFlush { try await sink.flush(by: clock.now() + .seconds(30)) }
    await acknowledgements.wait(for: accepted)
  }

  /// What the sink has refused since the last call, by the records' numbers.
  func takeFailures() -> [(token: UInt64, error: TransportError)] { acknowledgements.takeFailures() }

  func close() async { await sink.close() }
}
