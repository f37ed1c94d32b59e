import DatabusCore
import Synchronization

/// What a sink's callers and its writing thread share.
final class OutputQueue: Sendable {
  private struct Flush {
    var id: UInt64
    /// Deliveries accepted before the flush.
    var target: UInt64
    var result: Result<Void, TransportError>?
    var waiter: CheckedContinuation<Void, any Error>?
  }

  private struct State {
    var filling = OutputBuffer()
    var spare: OutputBuffer? = OutputBuffer()
    var accepted: UInt64 = 0
    var ended: UInt64 = 0
    /// Nothing can be written any more.
    var failure: TransportError?
    var isWriting = false
    var isClosed = false
    var lastFlush: UInt64 = 0
    var flushes: [Flush] = []
    var waiters: [CheckedContinuation<Void, any Error>] = []

    var closedError: TransportError { TransportError(.closed, "The file sink is closed.") }
  }

  let maximumInFlight: Int
  let wakePipe: WakePipe
  private let bufferBytes: Int
  private let state = Mutex(State())

  init(maximumInFlight: Int, bufferBytes: Int) throws {
    self.maximumInFlight = maximumInFlight
    self.bufferBytes = bufferBytes
    wakePipe = try WakePipe()
  }

  private func hasRoom(_ state: borrowing State) -> Bool {
    state.filling.byteCount < bufferBytes && state.accepted - state.ended < UInt64(maximumInFlight)
  }

  // MARK: For the callers

  /// Copies deliveries while there is room.
  ///
  /// - Returns: how many were taken, and whether the writer has to be woken.
  func append(
    _ batch: borrowing DeliveryBatch, from start: Int, refused: inout [UInt64]
  ) throws -> (accepted: Int, wakes: Bool) {
    try state.withLock { state in
      if state.isClosed { throw state.closedError }
      if let failure = state.failure { throw failure }
      let before = refused.count
      let inFlight = Int(clamping: state.accepted - state.ended)
      let taken = state.filling.append(
        batch, from: start, lines: maximumInFlight - inFlight, bytes: bufferBytes, refused: &refused)
      state.accepted &+= UInt64(taken - (refused.count - before))
      let wakes = !state.filling.isEmpty && !state.isWriting
      if wakes { state.isWriting = true }
      return (taken, wakes)
    }
  }

  func waitForRoom() async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      let result = state.withLock { state -> Result<Void, any Error>? in
        if state.isClosed { return .failure(state.closedError) }
        if let failure = state.failure { return .failure(failure) }
        if hasRoom(state) { return .success(()) }
        state.waiters.append(continuation)
        return nil
      }
      if let result { continuation.resume(with: result) }
    }
  }

  /// A flush of everything accepted by now.
  func beginFlush() -> UInt64 {
    state.withLock { state in
      state.lastFlush += 1
      var flush = Flush(id: state.lastFlush, target: state.accepted)
      if state.isClosed { flush.result = .failure(state.closedError) }
      if state.ended >= flush.target, !state.isClosed { flush.result = .success(()) }
      state.flushes.append(flush)
      return flush.id
    }
  }

  func waitForFlush(_ id: UInt64, wake: () -> Void) async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      let (result, wakes) = state.withLock { state -> (Result<Void, TransportError>?, Bool) in
        guard let index = state.flushes.firstIndex(where: { $0.id == id }) else { return (.success(()), false) }
        if let result = state.flushes[index].result {
          state.flushes.remove(at: index)
          return (result, false)
        }
        state.flushes[index].waiter = continuation
        let wakes = !state.isWriting
        state.isWriting = true
        return (nil, wakes)
      }
      if wakes { wake() }
      if let result { continuation.resume(with: result.mapError { $0 }) }
    }
  }

  /// Ends a flush that has not ended yet.
  func endFlush(_ id: UInt64, _ result: Result<Void, TransportError>) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, any Error>? in
      guard let index = state.flushes.firstIndex(where: { $0.id == id }), state.flushes[index].result == nil else {
        return nil
      }
      guard let waiter = state.flushes[index].waiter else {
        state.flushes[index].result = result
        return nil
      }
      state.flushes.remove(at: index)
      return waiter
    }
    waiter?.resume(with: result.mapError { $0 })
  }

  func close() {
    let (waiters, error) = state.withLock { state in
      state.isClosed = true
      var waiters = state.waiters
      state.waiters = []
      for index in state.flushes.indices where state.flushes[index].result == nil {
        state.flushes[index].result = .failure(state.closedError)
        if let waiter = state.flushes[index].waiter { waiters.append(waiter) }
      }
      state.flushes.removeAll { $0.waiter != nil }
      return (waiters, state.closedError)
    }
    for waiter in waiters { waiter.resume(throwing: error) }
    wakePipe.wake()
  }

  // MARK: For the writing thread

  enum Work: Sendable {
    case write(OutputBuffer)
    /// All that a flush waits for has been written.
    case sync
    case nothing
  }

  /// What is to be done next; after `nothing` the writer has to be woken again.
  func nextWork() -> Work {
    state.withLock { state in
      if state.isClosed {
        state.isWriting = false
        return .nothing
      }
      let ended = state.ended
      let written = state.accepted - UInt64(state.filling.tokens.count)
      // Before more is written: a sink that is never idle must end its flushes too.
      if state.flushes.contains(where: { $0.result == nil && $0.target > ended && $0.target <= written }) {
        return .sync
      }
      if !state.filling.isEmpty {
        let full = state.filling
        state.filling = state.spare ?? OutputBuffer()
        state.spare = nil
        return .write(full)
      }
      state.isWriting = false
      return .nothing
    }
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  /// The buffer was written: room again.
  func recycle(_ buffer: OutputBuffer) {
    buffer.removeAll()
    let waiters = state.withLock { state in
      state.spare = buffer
      return takeWaiters(&state)
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Takes what nobody has tried to write, when writing has failed: order is kept by failing it all.
  func takeUnwritten() -> OutputBuffer? {
    state.withLock { state in
      if state.filling.isEmpty { return nil }
      let unwritten = state.filling
      state.filling = OutputBuffer()
      return unwritten
    }
  }

  /// So many deliveries more have ended, the oldest first.
  func end(_ count: Int) {
    let waiters = state.withLock { state in
      state.ended &+= UInt64(count)
      var waiters = takeWaiters(&state)
      for index in state.flushes.indices where state.flushes[index].result == nil {
        guard state.flushes[index].target <= state.ended else { continue }
        state.flushes[index].result = .success(())
        if let waiter = state.flushes[index].waiter { waiters.append(waiter) }
      }
      state.flushes.removeAll { $0.result != nil && $0.waiter != nil }
      return waiters
    }
    for waiter in waiters { waiter.resume() }
  }

  /// Nothing can be written any more.
  func fail(_ error: TransportError) {
    let waiters = state.withLock { state in
      state.failure = error
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume(throwing: error) }
  }

  private func takeWaiters(_ state: inout State) -> [CheckedContinuation<Void, any Error>] {
    guard hasRoom(state) else { return [] }
    defer { state.waiters = [] }
    return state.waiters
  }
}
