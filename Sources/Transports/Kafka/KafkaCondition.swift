import CRdkafka
import DatabusCore
import Synchronization

/// What a client has said of its cluster: what is wrong now, and the last cause that it has told.
final class KafkaCondition: Sendable {
  private struct State {
    /// The last error that names a cause.
    var cause: KafkaError?
    /// What keeps everything from working.
    var trouble: KafkaError?
    /// A topic or a permission that is missing: other questions may be answered all the while.
    var missing: KafkaError?
    var access: KafkaAccess
  }
  private let state: Mutex<State>
  private let servers: String
  private let log: Logger

  init(_ access: KafkaAccess, _ log: Logger) {
    state = Mutex(State(access: access))
    servers = access.servers
    self.log = log
  }

  func note(_ error: KafkaError) {
    state.withLock { state in
      if error.isConnection, error.isSpecific, !error.isEcho(of: state.cause) { state.cause = error }
      // One broker of several may be away without harm.
      switch error.code {
      case RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__RESOLVE, RD_KAFKA_RESP_ERR__TIMED_OUT: break
      default:
        if error.isConnection { state.trouble = error }
        if error.isResource { state.missing = error }
      }
    }
    log.debug("librdkafka: \(error.reason)", at: servers)
  }

  /// OpenSSL has refused a broker's certificate, and librdkafka's error will not say why.
  func noteCertificate(_ problem: Int32) { state.withLock { $0.access.certificateProblem = problem } }

  /// The cluster has answered: whatever was wrong with the connection is over.
  func noteAnswer() {
    state.withLock { state in
      state.trouble = nil
      state.cause = nil
    }
  }

  /// What the client is there for works: nothing is missing either.
  func noteProgress() {
    noteAnswer()
    state.withLock { $0.missing = nil }
  }

  /// Whether something is wrong. Cheap enough for every batch.
  var isTroubled: Bool { state.withLock { $0.trouble != nil || $0.missing != nil } }

  /// What is wrong now, after the beginning of a sentence; nil: nothing that is known.
  func trouble(_ what: String) -> String? {
    state.withLock { $0.trouble ?? $0.missing }.map { sentence($0, what) }
  }

  /// Where an error only says that nothing works, the last cause that was told stands in the sentence.
  func sentence(_ error: KafkaError, _ what: String) -> String {
    let (cause, access) = state.withLock { state in
      (error.isConnection && !error.isSpecific ? state.cause ?? state.missing ?? error : error, state.access)
    }
    return access.sentence(cause, what)
  }

  /// A line of librdkafka's own log.
  func noteLog(_ level: Int32, _ facility: String, _ text: String) {
    // The errors among them come as events too, and the engine tells of what matters.
    log.debug("librdkafka: \(text)", at: servers, [LogField("facility", facility), LogField("severity", Int(level))])
  }
}
