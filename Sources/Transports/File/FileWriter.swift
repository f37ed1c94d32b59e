import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Writes a sink's lines on a thread of its own.
actor FileWriter {
  nonisolated let worker: WorkerThread
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }
  nonisolated let queue: OutputQueue
  nonisolated let output: OutputFile
  nonisolated let completions: any CompletionPort

  /// Bytes of the file that are whole lines.
  private var size: UInt64
  /// Deliveries that were written and not synced.
  private var unsynced: [UInt64] = []
  /// A line was written in part, and could not be taken back.
  private var isTorn = false
  private var masksPipeSignal = false

  @concurrent
  static func open(
    _ path: String, _ completions: any CompletionPort, _ worker: WorkerThread, bufferBytes: Int
  ) async throws -> FileWriter {
    // On the sink's thread: opening a file may take as long as its device.
    try await withTaskExecutorPreference(worker) {
      let output = try OutputFile.open(path)
      let queue = try OutputQueue(maximumInFlight: 262_144, bufferBytes: bufferBytes)
      let size = output.isOurs ? try output.file.facts().size : 0
      return FileWriter(output, queue, completions, worker, size: size)
    }
  }

  private init(
    _ output: OutputFile, _ queue: OutputQueue, _ completions: any CompletionPort, _ worker: WorkerThread, size: UInt64
  ) {
    self.output = output
    self.queue = queue
    self.completions = completions
    self.worker = worker
    self.size = size
  }

  /// Writes and syncs until there is nothing left to do.
  func drain() {
    maskPipeSignal()
    while true {
      switch queue.nextWork() {
      case .nothing: return
      case .sync: sync()
      case .write(let buffer):
        write(buffer)
        queue.recycle(buffer)
        // Without this a sink that nobody flushes would accept nothing more.
        if unsynced.count >= queue.maximumInFlight / 2 { sync() }
      }
    }
  }

  /// Writing to a pipe that nobody reads is an error here, and not the end of the process.
  private func maskPipeSignal() {
    if masksPipeSignal { return }
    masksPipeSignal = true
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGPIPE)
    pthread_sigmask(SIG_BLOCK, &signals, nil)
  }

  private func write(_ buffer: OutputBuffer) {
    do {
      if isTorn {
        var newline: UInt8 = 10
        _ = try write(&newline, 1)
        isTorn = false
      }
    } catch {
      return fail(buffer, from: 0, error)
    }
    var written = 0
    do {
      while written < buffer.byteCount {
        written += try write(buffer.base + written, buffer.byteCount - written)
      }
      size += UInt64(written)
      end(buffer.tokens[...])
    } catch {
      let whole = buffer.lines(within: written)
      size += UInt64(whole.bytes)
      if written > whole.bytes {
        isTorn = !output.isOurs || ftruncate(output.file.descriptor, off_t(clamping: size)) != 0
      }
      end(buffer.tokens[..<whole.lines])
      fail(buffer, from: whole.lines, error)
    }
  }

  /// Writes some of the bytes; waits where a pipe is full.
  private func write(_ start: UnsafeRawPointer, _ count: Int) throws(TransportError) -> Int {
    while true {
      let written = Glibc.write(output.file.descriptor, start, count)
      if written > 0 { return written }
      switch errno {
      case EINTR: continue
      case EAGAIN:
        var polled = [
          pollfd(fd: output.file.descriptor, events: Int16(POLLOUT), revents: 0),
          pollfd(fd: queue.wakePipe.readEnd, events: Int16(POLLIN), revents: 0),
        ]
        poll(&polled, 2, -1)
        if queue.isClosed { throw TransportError(.closed, "The file sink is closed.") }
      case EPIPE:
        throw TransportError(.fatal, "Whoever read \(output.file.name) has gone: nothing more can be written to it.")
      default: throw systemError("write to", output.file.name, errno)
      }
    }
  }

  private func end(_ tokens: ArraySlice<UInt64>) {
    if tokens.isEmpty { return }
    if output.isOurs {
      unsynced += tokens
    } else {
      completions.complete(tokens.span)
      queue.end(tokens.count)
    }
  }

  /// What was written before is confirmed first: ends are told in order.
  private func fail(_ buffer: OutputBuffer, from first: Int, _ error: TransportError) {
    if error.class == .closed { return }
    sync()
    if error.class == .fatal { queue.fail(error) }
    let later = queue.takeUnwritten()
    for tokens in [buffer.tokens[first...], later?.tokens[...] ?? []] where !tokens.isEmpty {
      completions.fail(tokens.span, error)
      queue.end(tokens.count)
    }
  }

  private func sync() {
    if unsynced.isEmpty { return }
    if fdatasync(output.file.descriptor) == 0 {
      completions.complete(unsynced.span)
    } else {
      completions.fail(unsynced.span, systemError("sync", output.file.name, errno))
    }
    let count = unsynced.count
    unsynced.removeAll(keepingCapacity: true)
    queue.end(count)
  }
}
