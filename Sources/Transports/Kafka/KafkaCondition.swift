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
    /// A broker is away; whether others are there is not known.
    var isDoubtful = false
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
      case RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__RESOLVE, RD_KAFKA_RESP_ERR__TIMED_OUT:
        state.isDoubtful = true
      default:
        if error.isConnection { state.trouble = error }
        if error.isResource { state.missing = error }
      }
    }
    log.debug("librdkafka: \(error.reason)", at: servers)
  }

  /// OpenSSL has refused a broker's certificate, and librdkafka's error will not say why.
  func noteCertificate(_ problem: Int32) { state.withLock { $0.access.certificateProblem = problem } }

  /// A question to the cluster was not answered.
  func noteSilence(_ error: KafkaError) {
    guard error.isConnection else { return }
    state.withLock { $0.trouble = $0.trouble ?? error }
  }

  /// The cluster has answered: whatever was wrong with the connection is over.
  func noteAnswer() {
    state.withLock { state in
      state.trouble = nil
      state.cause = nil
      state.isDoubtful = false
      state.access.hasAnswered = true
    }
  }

  /// Records came: nothing is missing. They may have been fetched before the cluster went away.
  func noteRecords() { state.withLock { $0.missing = nil } }

  /// What the client is there for works: nothing is missing either.
  func noteProgress() {
    noteAnswer()
    noteRecords()
  }

  /// Whether something is wrong. Cheap enough for every batch.
  var isTroubled: Bool { state.withLock { $0.trouble != nil || $0.missing != nil } }

  /// Whether somebody should ask the cluster: librdkafka tells that a broker is away, but not reliably that all are where one of them is
  /// a group's coordinator.
  var isDoubtful: Bool { state.withLock { $0.isDoubtful && $0.trouble == nil } }

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
