import CRdkafka
import DatabusCore
import Synchronization

/// The writing end of one topic: an idempotent producer of its own.
final class KafkaSink: EventSink, @unchecked Sendable {
  // Sendable: `topicHandle` is librdkafka's and safe on any thread; everything that changes is atomic or guarded.
  let capabilities: SinkCapabilities
  private let topic: String
  private let client: KafkaClient
  private let topicHandle: OpaquePointer
  private let queue: OpaquePointer
  private let completions: any CompletionPort
  private let thread = WorkerThread(name: "kafka-delivery")
  private let serving = Mutex<Task<Void, Never>?>(nil)
  /// Accepted and not ended.
  private let inFlight = Atomic(0)
  private let isClosed = Atomic(false)
  /// Deliveries have ended: there may be room, or nothing in flight.
  private let ended = Signal()
  /// librdkafka has said that it is full: room is there once half has ended.
  private let fullAt = Atomic(Int.max)

  private var what: String { "The topic \"\(topic)\" cannot be written" }

  init(_ topic: String, _ options: KafkaOptions, _ log: Logger, _ completions: any CompletionPort) throws {
    let client = try KafkaClient(.producer, options, log, events: RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_STATS)
    guard let handle = rd_kafka_topic_new(client.handle, topic, nil),
      let queue = rd_kafka_queue_get_main(client.handle)
    else { throw client.explain(KafkaError(rd_kafka_last_error()), "The topic \"\(topic)\" cannot be written") }
    self.topic = topic
    self.client = client
    topicHandle = handle
    self.queue = queue
    self.completions = completions
    capabilities = SinkCapabilities(
      maximumInFlight: KafkaProperties.number("queue.buffering.max.messages", .producer, options) ?? 100_000,
      maximumRecordBytes: KafkaProperties.number("message.max.bytes", .producer, options) ?? 1_000_000,
      idempotent: true)
  }

  /// Looks whether the topic is there.
  func open() async throws {
    let task = Task.detached(executorPreference: thread) { [self] in
      while !isClosed.load(ordering: .relaxed) { serve(100) }
    }
    serving.withLock { $0 = task }
    let clock = SystemClock()
    let deadline = clock.now() + client.options.requestTimeout
    while true {
      do {
        _ = try await client.topology(topic)
        return
      } catch let unknown as UnknownTopic {
        // Brokers that create topics by themselves need a moment.
        if clock.now() >= deadline || Task.isCancelled {
          throw TransportError(
            .transport, client.condition.sentence(KafkaError(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), what(unknown)))
        }
        try await clock.sleep(for: .milliseconds(100))
      }
    }
  }

  private func what(_ unknown: UnknownTopic) -> String { "The topic \"\(unknown.name)\" cannot be written" }

  // MARK: Sending

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    if isClosed.load(ordering: .relaxed) { throw TransportError.closedSink(topic) }
    var index = start
    var refused: [(token: UInt64, code: rd_kafka_resp_err_t)] = []
    loop: while index < batch.count {
      // Counted first: its end may be told before librdkafka returns.
      inFlight.add(1, ordering: .relaxed)
      let code = produce(batch, index)
      switch code {
      case RD_KAFKA_RESP_ERR_NO_ERROR: break
      case RD_KAFKA_RESP_ERR__QUEUE_FULL:
        let rest = inFlight.subtract(1, ordering: .relaxed).newValue
        fullAt.store(rest, ordering: .relaxed)
        break loop
      case RD_KAFKA_RESP_ERR__FATAL, RD_KAFKA_RESP_ERR__DESTROY:
        inFlight.subtract(1, ordering: .relaxed)
        if index > start { break loop }
        throw TransportError(.fatal, client.fatalSentence(what) ?? "\(what): the producer has failed.")
      default:
        inFlight.subtract(1, ordering: .relaxed)
        refused.append((batch.token(at: index), code))
      }
      index += 1
    }
    // Only here: whoever hears of an end must not find itself in the middle of a call.
    for (token, code) in refused { completions.fail(token, client.explain(KafkaError(code), what)) }
    return index - start
  }

  private func produce(_ batch: borrowing DeliveryBatch, _ index: Int) -> rd_kafka_resp_err_t {
    let raw = batch[index].raw
    guard let base = batch.contents.baseAddress else { return RD_KAFKA_RESP_ERR__INVALID_ARG }
    let value = raw.isTombstone ? nil : base + raw.valueOffset
    let key = raw.keyOffset < 0 ? nil : base + raw.keyOffset
    let opaque = UnsafeMutableRawPointer(bitPattern: UInt(raw.token))
    if raw.headers < 0 {
      let result = databus_rd_kafka_produce(
        topicHandle, RD_KAFKA_PARTITION_UA, value, raw.valueCount, key, raw.keyCount, opaque)
      return result == 0 ? RD_KAFKA_RESP_ERR_NO_ERROR : rd_kafka_last_error()
    }
    let list = batch.headers(at: index)
    guard let headers = rd_kafka_headers_new(list.count) else { return RD_KAFKA_RESP_ERR__FAIL }
    for header in list {
      let name = header.name
      if let value = header.value {
        value.withUnsafeBytes { _ = rd_kafka_header_add(headers, name, -1, $0.baseAddress ?? base, $0.count) }
      } else {
        rd_kafka_header_add(headers, name, -1, nil, 0)
      }
    }
    let code = databus_rd_kafka_produce_headers(
      client.handle, topicHandle, RD_KAFKA_PARTITION_UA, value, raw.valueCount, key, raw.keyCount, headers, opaque)
    if code != RD_KAFKA_RESP_ERR_NO_ERROR { rd_kafka_headers_destroy(headers) }
    return code
  }

  func writable() async throws {
    while true {
      if isClosed.load(ordering: .relaxed) { throw TransportError.closedSink(topic) }
      try Task.checkCancellation()
      let full = fullAt.load(ordering: .relaxed)
      if inFlight.load(ordering: .relaxed) <= full / 2 || full == .max {
        fullAt.store(.max, ordering: .relaxed)
        return
      }
      await ended.wait(for: .milliseconds(100), SystemClock())
    }
  }

  func flush(by deadline: Instant) async throws {
    let clock = SystemClock()
    while inFlight.load(ordering: .acquiring) > 0 {
      if isClosed.load(ordering: .relaxed) { throw TransportError.closedSink(topic) }
      try Task.checkCancellation()
      if clock.now() >= deadline {
        throw TransportError(
          .transport, client.condition.trouble(what) ?? "\(what): the brokers have not confirmed everything in time.")
      }
      await ended.wait(for: min(deadline - clock.now(), .milliseconds(100)), clock)
    }
  }

  /// What keeps accepted deliveries from ending.
  var trouble: String? {
    inFlight.load(ordering: .relaxed) == 0 ? nil : client.condition.trouble(what)
  }

  // MARK: Ends

  private func serve(_ milliseconds: Int32) {
    guard let event = rd_kafka_queue_poll(queue, milliseconds) else { return }
    defer { rd_kafka_event_destroy(event) }
    switch rd_kafka_event_type(event) {
    case RD_KAFKA_EVENT_DR: tellEnds(event)
    case RD_KAFKA_EVENT_ERROR: client.condition.note(event)
    case RD_KAFKA_EVENT_STATS:
      guard let text = rd_kafka_event_stats(event) else { return }
      client.log.info("librdkafka's statistics", at: topic, [LogField("statistics", String(cString: text))])
    default: break
    }
  }

  private static let bulk = 1024

  private func tellEnds(_ event: OpaquePointer) {
    withUnsafeTemporaryAllocation(of: UnsafePointer<rd_kafka_message_t>?.self, capacity: KafkaSink.bulk) { messages in
      withUnsafeTemporaryAllocation(of: UInt64.self, capacity: KafkaSink.bulk) { tokens in
        while true {
          let count = rd_kafka_event_message_array(event, messages.baseAddress, KafkaSink.bulk)
          if count == 0 { return }
          tellEnds(messages[..<count], tokens)
        }
      }
    }
  }

  private func tellEnds(
    _ messages: Slice<UnsafeMutableBufferPointer<UnsafePointer<rd_kafka_message_t>?>>,
    _ tokens: UnsafeMutableBufferPointer<UInt64>
  ) {
    var safe = 0
    var failed: [(token: UInt64, code: rd_kafka_resp_err_t)] = []
    for case let message? in messages {
      let token = UInt64(UInt(bitPattern: message.pointee._private))
      if message.pointee.err == RD_KAFKA_RESP_ERR_NO_ERROR {
        tokens[safe] = token
        safe += 1
      } else {
        failed.append((token, message.pointee.err))
      }
    }
    if !isClosed.load(ordering: .acquiring) {
      if safe > 0 {
        if client.condition.isTroubled { client.condition.noteProgress() }
        completions.complete(Span(_unsafeElements: UnsafeMutableBufferPointer(rebasing: tokens[..<safe])))
      }
      for (token, code) in failed { completions.fail(token, failure(code)) }
    }
    inFlight.subtract(safe + failed.count, ordering: .acquiringAndReleasing)
    ended.notify()
  }

  /// What an end that is none means.
  private func failure(_ code: rd_kafka_resp_err_t) -> TransportError {
    if let reason = client.fatalSentence(what) { return TransportError(.fatal, reason) }
    return client.explain(KafkaError(code), what)
  }

  func close() async {
    guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
    ended.notify()
    let serving = serving.withLock { $0 }
    await serving?.value
    // What has not ended by now never will be told; librdkafka would wait for it.
    rd_kafka_purge(
      client.handle, Int32(RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING))
    rd_kafka_queue_destroy(queue)
    rd_kafka_topic_destroy(topicHandle)
    thread.stop()
    await client.close()
  }
}
