import DatabusCore
import Synchronization

/// The writing end of one file or of standard output: one line a delivery.
///
/// `send` copies and returns; a thread of the sink's own writes at once what is there. Deliveries to a file end when it was
/// synced (`flush`), those to standard output when they were written.
final class FileSink: EventSink {
  let capabilities: SinkCapabilities
  private let queue: OutputQueue
  private let writer: FileWriter

  static func open(_ path: String, _ completions: any CompletionPort, bufferBytes: Int) async throws -> FileSink {
    let worker = WorkerThread(name: "databus-file")
    do {
      return FileSink(try await FileWriter.open(path, completions, worker, bufferBytes: bufferBytes))
    } catch {
      worker.stop()
      throw error
    }
  }

  private init(_ writer: FileWriter) {
    self.writer = writer
    queue = writer.queue
    capabilities = SinkCapabilities(
      maximumInFlight: queue.maximumInFlight, idempotent: false, keys: false, headers: false, tombstones: false,
      confirmsOnFlush: writer.output.isOurs)
  }

  deinit {
    queue.close()
    writer.worker.stop()
  }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    var refused: [UInt64] = []
    let (accepted, wakes) = try queue.append(batch, from: start, refused: &refused)
    if wakes {
      let writer = writer
      Task { await writer.drain() }
    }
    for token in refused {
      let name = writer.output.file.name
      writer.completions.fail(
        token, TransportError(.record, "\(name) cannot hold a record without value: a line always has one."))
    }
    return accepted
  }

  func writable() async throws { try await queue.waitForRoom() }

  func flush(by deadline: Instant) async throws {
    let id = queue.beginFlush()
    let (queue, writer) = (queue, writer)
    let timer = Task {
      try await SystemClock().sleep(until: deadline)
      queue.endFlush(id, .failure(TransportError(.transport, "Writing to \(writer.output.file.name) takes too long.")))
    }
    defer { timer.cancel() }
    try await queue.waitForFlush(id) { Task { await writer.drain() } }
  }

  func close() async {
    queue.close()
    writer.worker.stop()
  }
}
