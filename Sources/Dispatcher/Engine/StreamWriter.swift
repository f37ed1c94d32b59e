import DatabusCore
import Synchronization

/// Writes records to one stream, each until it is safe there: a retry stream, or the dead letters. What a sink fails it is sent again;
/// a sink that is of no use any more is made anew.
actor StreamWriter {
  struct Outgoing: Sendable {
    /// Names it at its end.
    var number: UInt64
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [Header]
    var timestamp: Int64
  }

  enum End: Sendable {
    /// These are safe.
    case written([UInt64])
    /// The stream can never take this one.
    case refused(UInt64, String)
  }

  private let thread: WorkerThread
  nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

  let stream: String
  private let transport: any Transport
  private let clock: any EngineClock
  private let log: Logger
  private let tell: @Sendable (End) -> Void
  /// Hears what keeps it, in a sentence for people; nil: nothing any more.
  private let tellTrouble: @Sendable (String?) -> Void
  private let wake = Signal()
  private var sink: (any EventSink)?
  private var port: Port?
  /// Not safe yet.
  private var pending: [UInt64: Outgoing] = [:]
  /// To be sent, in order.
  private var queue: [UInt64] = []
  private var isClosed = false
  private var run: Task<Void, Never>?
  private var trouble: String?

  init(
    _ transport: any Transport, stream: String, thread: WorkerThread, clock: any EngineClock, log: Logger,
    tell: @escaping @Sendable (End) -> Void, tellTrouble: @escaping @Sendable (String?) -> Void
  ) {
    self.tellTrouble = tellTrouble
    self.transport = transport
    self.stream = stream
    self.thread = thread
    self.clock = clock
    self.log = log
    self.tell = tell
  }

  /// Takes records. Each end is told once.
  func write(_ records: [Outgoing]) {
    for record in records {
      pending[record.number] = record
      queue.append(record.number)
    }
    wake.notify()
    if run == nil { run = Task { await self.loop() } }
  }

  /// Ends it. What is not safe by now is told to nobody.
  func close() async {
    isClosed = true
    wake.notify()
    await sink?.close()
    await run?.value
  }

  private func loop() async {
    while !isClosed {
      takeEnds()
      if queue.isEmpty {
        await wake.wait()
        continue
      }
      do {
        try await sendQueue()
        // What was accepted is not safe yet: only a confirmation ends a trouble.
        if let trouble = sink?.trouble { setTrouble(trouble) }
      } catch let error as TransportError {
        if isClosed { return }
        await recover(error)
      } catch {
        if isClosed { return }
        await recover(TransportError(.transport, "\(error)"))
      }
    }
  }

  private func sendQueue() async throws {
    let sink = try await openSink()
    let numbers = queue
    var batch = DeliveryBatch(capacity: numbers.count)
    for number in numbers {
      guard let record = pending[number] else { continue }
      batch.append(
        key: record.key, value: record.value, headers: record.headers, timestamp: record.timestamp, token: number)
    }
    var sent = 0
    while sent < batch.count, !isClosed {
      let accepted = try sink.send(batch, from: sent)
      sent += accepted
      if accepted == 0 { try await sink.writable() }
    }
    // Others were added behind them meanwhile.
    queue.removeFirst(numbers.count)
    if sink.capabilities.confirmsOnFlush { try await sink.flush(by: clock.now() + .seconds(10)) }
  }

  private func openSink() async throws -> any EventSink {
    if let sink { return sink }
    let port = Port(wake)
    let made = try await transport.makeSink(stream, port)
    guard made.capabilities.headers else {
      await made.close()
      throw TransportError(
        .transport, "The stream \(stream) has no headers, which its records need: choose another transport.")
    }
    self.port = port
    sink = made
    return made
  }

  private func recover(_ error: TransportError) async {
    if error.class == .fatal || error.class == .closed {
      await sink?.close()
      sink = nil
      takeEnds()
      // Whatever the old sink had not confirmed is sent again, in the order of its arrival.
      queue = pending.keys.sorted()
    }
    setTrouble(error.message)
    try? await clock.sleep(for: .milliseconds(500))
  }

  private func setTrouble(_ text: String?) {
    guard trouble != text else { return }
    trouble = text
    tellTrouble(text)
    if let text {
      log.error(text, at: stream, remedy: "it is tried again without limit; nothing is lost meanwhile")
    } else {
      log.info("records are taken again", at: stream)
    }
  }

  /// What the sink has told since.
  private func takeEnds() {
    guard let (completed, failed) = port?.take() else { return }
    var written: [UInt64] = []
    for number in completed where pending.removeValue(forKey: number) != nil { written.append(number) }
    if !written.isEmpty {
      tell(.written(written))
      setTrouble(sink?.trouble)
    }
    for (number, error) in failed where pending[number] != nil {
      if error.class == .record {
        pending[number] = nil
        tell(.refused(number, error.message))
      } else {
        queue.append(number)
        setTrouble(error.message)
      }
    }
  }

  private final class Port: CompletionPort {
    private let wake: Signal
    private let ends = Mutex<(completed: [UInt64], failed: [(UInt64, TransportError)])>(([], []))

    init(_ wake: Signal) { self.wake = wake }

    func complete(_ tokens: Span<UInt64>) {
      ends.withLock { ends in for index in tokens.indices { ends.completed.append(tokens[index]) } }
      wake.notify()
    }

    func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
      ends.withLock { ends in for index in tokens.indices { ends.failed.append((tokens[index], error)) } }
      wake.notify()
    }

    func take() -> (completed: [UInt64], failed: [(UInt64, TransportError)]) {
      ends.withLock { ends in
        defer { ends = ([], []) }
        return ends
      }
    }
  }
}
