import DatabusCore
import Synchronization

/// The writing end of a spool. `send` copies into a bounded queue; a thread of its own writes the files.
final class SpoolSink: EventSink {
  let capabilities = SpoolTransport.sinkCapabilities
  private let directory: SpoolDirectory
  private let completions: any CompletionPort
  private let worker = WorkerThread(name: "spool-sink")

  private struct State {
    var queue: [(token: UInt64, value: [UInt8])] = []
    /// Accepted and not yet ended.
    var open = 0
    var isWriting = false
    var isClosed = false
  }
  private let state = Mutex(State())

  init(_ directory: SpoolDirectory, _ completions: any CompletionPort) {
    self.directory = directory
    self.completions = completions
  }

  deinit { worker.stop() }

  private var closed: TransportError { TransportError(.closed, "The sink of \(directory.path) was closed.") }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    let room = try state.withLock { state in
      if state.isClosed { throw closed }
      return capabilities.maximumInFlight - state.open
    }
    let end = min(batch.count, start + room)
    var accepted: [(token: UInt64, value: [UInt8])] = []
    for index in start..<max(start, end) {
      let delivery = batch[index]
      // A tombstone has no value, and a file cannot say so: the engine does not send any here.
      let value = delivery.value?.withUnsafeBytes { [UInt8]($0) }
      guard let value, value.count <= capabilities.maximumRecordBytes else {
        completions.fail(
          delivery.token,
          TransportError(
            .record, "A record for \(directory.path) has to have 0 to \(capabilities.maximumRecordBytes) bytes."))
        continue
      }
      accepted.append((delivery.token, value))
    }
    let startsWriter = state.withLock { state in
      state.queue += accepted
      state.open += accepted.count
      defer { state.isWriting = state.isWriting || !state.queue.isEmpty }
      return !state.isWriting && !state.queue.isEmpty
    }
    if startsWriter { Task(executorPreference: worker) { self.write() } }
    return max(0, end - start)
  }

  /// Writes until the queue is empty; each delivery ends once.
  private func write() {
    while true {
      let queue: [(token: UInt64, value: [UInt8])] = state.withLock { state in
        defer { state.queue = [] }
        if state.queue.isEmpty || state.isClosed { state.isWriting = false }
        return state.isClosed ? [] : state.queue
      }
      if queue.isEmpty { return }
      let tokens = queue.map(\.token)
      do {
        try directory.append(queue.map(\.value))
        completions.complete(tokens.span)
      } catch {
        // Part of them may be there already: the engine sends all of them again, and their ids are the same.
        completions.fail(tokens.span, error as? TransportError ?? TransportError(.transport, "\(error)"))
      }
      state.withLock { $0.open -= tokens.count }
    }
  }

  /// Looks every millisecond; a transport for many small records would be woken by the writer instead.
  private func wait(by deadline: Instant?, until isDone: @Sendable (Int) -> Bool) async throws {
    let clock = SystemClock()
    while true {
      let (open, isClosed) = state.withLock { ($0.open, $0.isClosed) }
      if isDone(open) { return }
      if isClosed { throw closed }
      if let deadline, clock.now() >= deadline {
        throw TransportError(
          .transport, "\(directory.path) has not taken all records in time: is the disk slow or full?")
      }
      try await clock.sleep(for: .milliseconds(1))
    }
  }

  func writable() async throws {
    let most = capabilities.maximumInFlight
    try await wait(by: nil) { $0 < most }
  }

  func flush(by deadline: Instant) async throws { try await wait(by: deadline) { $0 == 0 } }

  func close() async {
    state.withLock { $0.isClosed = true }
    // Behind what the writer is doing: no end is told once `close` has returned.
    await Task(executorPreference: worker) {}.value
  }
}
