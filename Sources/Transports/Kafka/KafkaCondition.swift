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
    var lastLog = ""
  }
  private let state = Mutex(State())
  private let servers: String
  private let mechanism: String?
  private let log: Logger

  init(_ options: KafkaOptions, _ log: Logger) {
    servers = options.bootstrapServers
    mechanism =
      KafkaProperties.value("sasl.mechanism", options) ?? KafkaProperties.value("sasl.mechanisms", options)
    self.log = log
  }

  func note(_ error: KafkaError) {
    state.withLock { state in
      if error.isConnection, error.isSpecific { state.cause = error }
      // One broker of several may be away without harm.
      switch error.code {
      case RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__RESOLVE, RD_KAFKA_RESP_ERR__TIMED_OUT: break
      default: if error.isConnection || error.isResource { state.trouble = error }
      }
    }
    log.debug("librdkafka: \(error.reason)", at: servers)
  }

  /// The cluster has answered: whatever was wrong with the connection is over.
  func noteAnswer() {
    state.withLock { state in
      state.trouble = nil
      state.cause = nil
    }
  }

  /// Whether something is wrong. Cheap enough for every batch.
  var isTroubled: Bool { state.withLock { $0.trouble != nil } }

  /// What is wrong now, after the beginning of a sentence; nil: nothing that is known.
  func trouble(_ what: String) -> String? {
    state.withLock { $0.trouble }.map { sentence($0, what) }
  }

  func sentence(_ error: KafkaError, _ what: String) -> String {
    let cause = state.withLock { state in error.isConnection && !error.isSpecific ? state.cause ?? error : error }
    return cause.sentence(what, servers: servers, mechanism: mechanism)
  }

  /// A line of librdkafka's own log.
  func noteLog(_ level: Int32, _ facility: String, _ text: String) {
    // The errors among them come as events too, and the engine tells of what matters.
    log.debug("librdkafka: \(text)", at: servers, [LogField("facility", facility), LogField("severity", Int(level))])
  }
}
