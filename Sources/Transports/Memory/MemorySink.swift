import DatabusCore

/// The writing end of a stream in memory. Deliveries end before `send` returns, unless a test holds them back.
final class MemorySink: EventSink, @unchecked Sendable {
  // Sendable: its variables are only touched under the log's lock.
  let capabilities: SinkCapabilities
  private let signal: MemorySignal
  private let log: MemoryLog
  private let stream: String
  private let options: MemoryTransport.Options
  private let completions: any CompletionPort
  private let conduct: MemoryConduct
  private var topic: MemoryTopic
  private var accepted: UInt64 = 0
  private var isClosed = false

  /// Called under the log's lock.
  init(
    _ log: MemoryLog, _ topic: MemoryTopic, _ completions: any CompletionPort,
    _ options: MemoryTransport.Options
  ) {
    self.log = log
    self.topic = topic
    self.options = options
    self.completions = completions
    stream = topic.name
    conduct = log.conduct(of: topic.name)
    signal = MemorySignal(lock: log.lock)
    capabilities = SinkCapabilities(
      maximumInFlight: options.maximumInFlight, maximumRecordBytes: options.maximumRecordBytes)
    conduct.sinks.append(self)
  }

  // MARK: Sending

  /// How the deliveries of one call end: all at once, or each by itself.
  private enum Ends {
    case completed(Range<Int>)
    case each(completed: [UInt64], failed: [(tokens: [UInt64], error: TransportError)])
  }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    precondition(start >= 0 && start <= batch.count)
    let (end, ends) = try log.lock.locked { try accept(batch, from: start) }
    switch ends {
    case .completed(let range):
      if !range.isEmpty { batch.withTokens(range) { completions.complete($0) } }
    case .each(let completed, let failed):
      if !completed.isEmpty { completions.complete(completed.span) }
      for (tokens, error) in failed { completions.fail(tokens.span, error) }
    }
    return end - start
  }

  private func accept(_ batch: borrowing DeliveryBatch, from start: Int) throws -> (Int, Ends) {
    try checkOpen()
    let failure = conduct.take(.send)
    if let failure, failure.class == .fatal || failure.class == .closed { throw failure }
    let end = start + min(batch.count - start, room)
    let range = start..<end
    if range.isEmpty { return (start, .completed(range)) }
    accepted += UInt64(range.count)
    conduct.spend(range.count)
    let topic = try currentTopic()
    if failure == nil, topic.partitions.count == 1, conduct.isPlain, !hasOversize(batch, range) {
      topic.partitions[0].append(batch, range, timestamps: options.timestamps)
      topic.wakeSources()
      return (end, .completed(range))
    }
    var completed: [UInt64] = []
    var failed: [(tokens: [UInt64], error: TransportError)] = []
    for index in range {
      if let error = failure ?? refusal(batch, index) {
        failed.append(([batch.token(at: index)], error))
      } else if conduct.isHolding {
        conduct.hold(batch, index, of: self, number: accepted - UInt64(end - index))
      } else {
        append(batch, index, to: topic)
        completed.append(batch.token(at: index))
      }
    }
    topic.wakeSources()
    return (end, .each(completed: completed, failed: failed))
  }

  private var room: Int {
    min(conduct.room ?? .max, options.maximumInFlight - conduct.heldCount(of: self))
  }

  private func hasOversize(_ batch: borrowing DeliveryBatch, _ range: Range<Int>) -> Bool {
    if batch.byteCount <= options.maximumRecordBytes { return false }
    for index in range where batch[index].byteCount > options.maximumRecordBytes { return true }
    return false
  }

  private func refusal(_ batch: borrowing DeliveryBatch, _ index: Int) -> TransportError? {
    let count = batch[index].byteCount
    if count > options.maximumRecordBytes {
      return TransportError(
        .record,
        "The record has \(count) bytes; the stream \"\(stream)\" takes \(options.maximumRecordBytes).")
    }
    return conduct.rejection(batch, index)
  }

  private func append(_ batch: borrowing DeliveryBatch, _ index: Int, to topic: MemoryTopic) {
    topic.partition(for: batch[index].key).append(batch, index..<index + 1, timestamps: options.timestamps)
  }

  /// Appends a delivery that was held back. Under the lock.
  func append(held delivery: HeldDelivery) throws {
    let topic = try currentTopic()
    let key = delivery.key ?? []
    let partition = delivery.key == nil ? topic.partition(for: nil) : topic.partition(for: key.span.bytes)
    partition.append(
      delivery.key, delivery.value, delivery.headers,
      timestamp: options.timestamps ? delivery.timestamp : RawRecord.noTimestamp)
    topic.wakeSources()
  }

  func tell(_ token: UInt64, _ error: TransportError?) {
    if let error { completions.fail(token, error) } else { completions.complete(token) }
  }

  private func currentTopic() throws -> MemoryTopic {
    if topic.isDeleted {
      guard let next = log.topics[stream] else {
        throw TransportError(
          .fatal, "The stream \"\(stream)\" was deleted; create it again and open the sink anew.")
      }
      topic = next
    }
    return topic
  }

  private func checkOpen() throws {
    if isClosed { throw TransportError(.closed, "The sink of \"\(stream)\" is closed.") }
  }

  // MARK: Waiting

  func wake() { signal.raise() }

  func writable() async throws {
    while true {
      let seen: UInt64? = try log.lock.locked {
        try checkOpen()
        return room > 0 ? nil : signal.version
      }
      guard let seen else { return }
      if Task.isCancelled { throw TransportError(.transport, "Waiting for room in \"\(stream)\" was cancelled.") }
      await signal.wait(since: seen, until: nil, log.clock)
    }
  }

  func flush(by deadline: Instant) async throws {
    let mark = log.lock.locked { accepted }
    while true {
      let seen: UInt64? = try log.lock.locked {
        try checkOpen()
        try conduct.raise(.flush)
        return conduct.hasHeld(of: self, before: mark) ? signal.version : nil
      }
      guard let seen else { return }
      if log.clock.now() >= deadline || Task.isCancelled {
        throw TransportError(
          .transport, "Not every record sent to \"\(stream)\" was confirmed in time; it will be tried again.")
      }
      await signal.wait(since: seen, until: deadline, log.clock)
    }
  }

  func close() async {
    log.lock.locked { end() }
  }

  /// Under the lock: what was held back is never told.
  func end() {
    isClosed = true
    conduct.sinks.removeAll { $0 === self }
    conduct.drop(of: self)
    signal.raise()
  }
}

extension MemoryPartition {
  /// Appends a record that is at hand as arrays.
  func append(_ key: [UInt8]?, _ value: [UInt8]?, _ headers: [Header], timestamp: Int64) {
    func view(_ array: [UInt8]?, _ body: (UnsafeRawBufferPointer?) -> Void) {
      guard let array else { return body(nil) }
      array.withUnsafeBytes { body($0) }
    }
    view(key) { key in
      view(value) { value in append(key: key, value: value, headers: headers, timestamp: timestamp) }
    }
  }
}
