import CRdkafka
import DatabusCore
import Synchronization

/// A client of librdkafka: the handle, what it says of the cluster, and questions to the cluster.
///
/// Every call that waits for the cluster runs on a thread of its own, one at a time.
final class KafkaClient: Sendable {
  /// An `rd_kafka_t`: all of librdkafka's calls on it are safe on any thread. Destroyed once nobody uses it.
  nonisolated(unsafe) let handle: OpaquePointer
  let options: KafkaOptions
  let log: Logger
  let condition: KafkaCondition
  private let questions: Questions
  private let isClosed = Atomic(false)
  private let isAbandoned = Atomic(false)
  /// Nobody polls the main queue: errors wait there until a question fails.
  private let keepsErrors: Bool
  /// Its owner, and batches whose messages librdkafka still knows: the last one gone ends it.
  private let users = Atomic(1)

  static let libraryVersion = String(cString: rd_kafka_version_str())
  /// librdkafka before 2.6.1 sends a wrong nonce in SCRAM.
  static let isScramBroken = rd_kafka_version() < 0x0206_01ff
  /// librdkafka before 2.3 aborts the process where a member of a group is destroyed before its first assignment
  /// (https://github.com/confluentinc/librdkafka/issues/4312).
  static let needsAssignmentBeforeEnd = rd_kafka_version() < 0x0203_0000

  /// - Parameters:
  ///   - events: which events librdkafka queues, besides errors.
  ///   - keepsErrors: nobody polls the main queue.
  init(
    _ role: KafkaProperties.Role, _ options: KafkaOptions, _ log: Logger, events: Int32 = 0, keepsErrors: Bool = false
  ) throws {
    let configuration = try KafkaProperties.configuration(role, options)
    let condition = KafkaCondition(KafkaAccess(options, isProducer: role == .producer), log)
    rd_kafka_conf_set_events(configuration, events | RD_KAFKA_EVENT_ERROR)
    rd_kafka_conf_set_opaque(configuration, Unmanaged.passUnretained(condition).toOpaque())
    rd_kafka_conf_set_log_cb(configuration) { client, level, facility, text in
      guard let client, let text, let opaque = rd_kafka_opaque(client) else { return }
      let condition = Unmanaged<KafkaCondition>.fromOpaque(opaque).takeUnretainedValue()
      condition.noteLog(level, facility.map { String(cString: $0) } ?? "", String(cString: text))
    }
    // librdkafka's errors do not say what is wrong with a certificate.
    rd_kafka_conf_set_ssl_cert_verify_cb(configuration) { _, _, _, problem, _, _, _, _, _, opaque in
      guard let problem, problem.pointee != 0 else { return 1 }
      if let opaque {
        Unmanaged<KafkaCondition>.fromOpaque(opaque).takeUnretainedValue().noteCertificate(problem.pointee)
      }
      return 0
    }
    var text = [CChar](repeating: 0, count: 512)
    let kind = role == .producer ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER
    guard let handle = rd_kafka_new(kind, configuration, &text, text.count) else {
      rd_kafka_conf_destroy(configuration)
      throw TransportError(.fatal, KafkaProperties.refusal(text.text, options))
    }
    self.handle = handle
    self.options = options
    self.log = log
    self.condition = condition
    self.keepsErrors = keepsErrors
    questions = Questions()
  }

  /// Ends the client. Its memory lives until the last batch of its messages is gone.
  func close() async {
    guard !isClosed.exchange(true, ordering: .acquiringAndReleasing) else { return }
    // What is being asked is answered before.
    await questions.run {}
    if users.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { await destroy() }
  }

  func retain() { users.add(1, ordering: .relaxed) }

  func release() {
    if users.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 { Task { await destroy() } }
  }

  /// The client must not be destroyed: its threads and memory stay until the process ends.
  func abandon() { isAbandoned.store(true, ordering: .releasing) }

  private func destroy() async {
    if isAbandoned.load(ordering: .acquiring) { return questions.stop() }
    await questions.run { [self] in rd_kafka_destroy_flags(handle, Int32(RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE)) }
    questions.stop()
  }

  // MARK: Questions

  /// Runs calls that block, one after another.
  private actor Questions {
    private let thread = WorkerThread(name: "kafka-question")
    nonisolated var unownedExecutor: UnownedSerialExecutor { thread.asUnownedSerialExecutor() }

    func run<R: Sendable>(_ body: @Sendable () throws -> R) rethrows -> R { try body() }
    nonisolated func stop() { thread.stop() }
  }

  /// Asks the cluster something, on a thread that may block.
  ///
  /// - Parameter what: what is tried, as the beginning of a sentence for people.
  func ask<R: Sendable>(_ what: String, _ body: @Sendable (OpaquePointer, Int32) throws -> R) async throws -> R {
    let milliseconds = Int32(clamping: options.requestTimeout.wholeNanoseconds / 1_000_000)
    do {
      return try await questions.run { [self] in
        if isClosed.load(ordering: .acquiring) { throw KafkaError(RD_KAFKA_RESP_ERR__DESTROY) }
        return try body(handle, milliseconds)
      }
    } catch let error as KafkaError {
      // librdkafka tells the cause beside the answer.
      if keepsErrors { takeErrors() }
      condition.noteSilence(error)
      throw explain(error, what)
    }
  }

  /// An error as the engine takes it. Where librdkafka only says that nothing works, the last cause that it has told stands there.
  func explain(_ error: KafkaError, _ what: String) -> TransportError {
    if error.code == RD_KAFKA_RESP_ERR__DESTROY { return TransportError(.closed, "\(what): the client was closed.") }
    if error.code == RD_KAFKA_RESP_ERR__FATAL {
      return TransportError(.fatal, fatalSentence(what) ?? "\(what): \(error.reason).")
    }
    return TransportError(error.isRecord ? .record : .transport, condition.sentence(error, what))
  }

  /// Why the client is of no use any more, after the beginning of a sentence; nil where it is.
  func fatalSentence(_ what: String) -> String? {
    var text = [CChar](repeating: 0, count: 512)
    let code = rd_kafka_fatal_error(handle, &text, text.count)
    return code == RD_KAFKA_RESP_ERR_NO_ERROR ? nil : condition.sentence(KafkaError(code, text.text), what)
  }

  /// Takes the errors that wait in the client's queues, where nobody else does: those of groups come by the consumer's.
  private func takeErrors() {
    for queue in [rd_kafka_queue_get_main(handle), rd_kafka_queue_get_consumer(handle)] {
      guard let queue else { continue }
      while let event = rd_kafka_queue_poll(queue, 0) {
        condition.note(event)
        rd_kafka_event_destroy(event)
      }
      rd_kafka_queue_destroy(queue)
    }
  }
}

extension KafkaCondition {
  /// Takes note of an event where it is an error.
  func note(_ event: OpaquePointer) {
    guard rd_kafka_event_type(event) == RD_KAFKA_EVENT_ERROR else { return }
    let text = rd_kafka_event_error_string(event).map { String(cString: $0) }
    note(KafkaError(rd_kafka_event_error(event), text))
  }
}
