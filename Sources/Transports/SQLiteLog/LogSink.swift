import DatabusCore
import Synchronization

/// The writing end of one topic. What it accepts is written together with what all other sinks of the file in this process
/// accept, and ends once it is on the disk.
final class LogSink: EventSink {
  let topic: String
  let capabilities: SinkCapabilities
  private let file: LogFile
  private let completions: any CompletionPort

  private struct State {
    var isClosed = false
    /// Counted in the order in which they are written.
    var accepted: UInt64 = 0
    var ended: UInt64 = 0
    var flushes: [UInt64: (target: UInt64, continuation: CheckedContinuation<Void, any Error>)] = [:]
    var nextFlush: UInt64 = 0
  }
  private let state = Mutex(State())
  /// Held while ends are told, so that none is told once `close` has returned.
  private let telling = Mutex(false)

  init(_ topic: String, _ file: LogFile, _ completions: any CompletionPort) {
    self.topic = topic
    self.file = file
    self.completions = completions
    capabilities = SinkCapabilities(
      maximumInFlight: file.options.maximumQueuedRecords, maximumRecordBytes: file.options.recordLimit)
  }

  var isClosed: Bool { state.withLock { $0.isClosed } }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    if isClosed { throw TransportError.closedSink(topic) }
    let accepted = file.queue.append(batch, from: start, of: self)
    if accepted.wakesWriter { file.callWriter() }
    if !accepted.tooLarge.isEmpty {
      let error = TransportError(
        .record,
        "A record for \(topic) is larger than \(capabilities.maximumRecordBytes) bytes, the most that \(file.path) takes: make "
          + "it smaller.")
      tell(accepted.tooLarge.span, error)
    }
    return accepted.count
  }

  func writable() async throws { try await file.queue.writable(for: self) }

  func flush(by deadline: Instant) async throws {
    let clock = file.clock
    let id = state.withLock { state in
      state.nextFlush += 1
      return state.nextFlush
    }
    // Started before the wait, it may find nothing to end yet: so it looks until the flush is over.
    let timer = Task { [self] in
      try await clock.sleep(until: deadline)
      endFlush(
        id,
        TransportError(
          .transport,
          "\(file.path) has not taken all records of \(topic) in time: the disk is slow, or another process holds the file."
        ))
    }
    defer { timer.cancel() }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let problem: (any Error)?? = state.withLock { state in
          if state.ended >= state.accepted { return .some(nil) }
          if state.isClosed { return .some(TransportError.closedSink(topic)) }
          if Task.isCancelled { return .some(CancellationError()) }
          if clock.now() >= deadline {
            return .some(TransportError(.transport, "\(file.path) has not taken all records of \(topic) in time."))
          }
          state.flushes[id] = (state.accepted, continuation)
          return nil
        }
        guard let problem else { return }
        if let problem { continuation.resume(throwing: problem) } else { continuation.resume() }
      }
    } onCancel: {
      endFlush(id, CancellationError())
    }
  }

  private func endFlush(_ id: UInt64, _ error: any Error) {
    state.withLock { $0.flushes.removeValue(forKey: id)?.continuation }?.resume(throwing: error)
  }

  func close() async {
    let flushes: [CheckedContinuation<Void, any Error>]? = state.withLock { state in
      if state.isClosed { return nil }
      state.isClosed = true
      let flushes = state.flushes.values.map(\.continuation)
      state.flushes.removeAll()
      return flushes
    }
    guard let flushes else { return }
    telling.withLock { $0 = true }
    for continuation in flushes { continuation.resume(throwing: TransportError.closedSink(topic)) }
    file.queue.endWaiting(of: self)
    await file.release()
  }

  // MARK: Called by the queue and the writer

  func accepted(_ count: Int) { state.withLock { $0.accepted += UInt64(count) } }

  /// Records written, or not, in the order of their acceptance.
  func ended(_ tokens: Span<UInt64>, _ error: TransportError?) {
    tell(tokens, error)
    let count = UInt64(tokens.count)
    let done = state.withLock { state in
      state.ended += count
      let done = state.flushes.filter { $0.value.target <= state.ended }
      for id in done.keys { state.flushes.removeValue(forKey: id) }
      return done.values.map(\.continuation)
    }
    for continuation in done { continuation.resume() }
  }

  private func tell(_ tokens: Span<UInt64>, _ error: TransportError?) {
    telling.withLock { isClosed in
      if isClosed { return }
      if let error { completions.fail(tokens, error) } else { completions.complete(tokens) }
    }
  }
}

extension TransportError {
  static func closedSink(_ topic: String) -> TransportError {
    TransportError(.closed, "The sink of \(topic) was closed.")
  }
  static func closedSource(_ topic: String) -> TransportError {
    TransportError(.closed, "The source of \(topic) was closed.")
  }
}
