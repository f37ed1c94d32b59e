import CRdkafka
import DatabusCore

/// What librdkafka reports. `KafkaAccess` makes a sentence for people of it.
struct KafkaError: Error {
  var code: rd_kafka_resp_err_t
  /// librdkafka's own words, without what differs from one try to the next.
  var reason: String
  /// The permission that what was tried needs, where it is known: "CREATE on the topic or on the cluster".
  var needs: String?

  init(_ code: rd_kafka_resp_err_t, _ reason: String? = nil, needs: String? = nil) {
    self.code = code
    self.reason = reason.map(KafkaError.withoutTimes) ?? String(cString: rd_kafka_err2str(code))
    self.needs = needs
  }

  /// librdkafka ends its sentences with how long a try took and how often it was repeated: the same trouble would never be told in the
  /// same words.
  private static func withoutTimes(_ text: String) -> String {
    guard text.hasSuffix(")"), let start = text.lastPlace(of: " (after ") else { return text }
    return String(text[..<start])
  }

  /// Takes over an error object; nil where there is none.
  init?(_ error: OpaquePointer?) {
    guard let error else { return nil }
    self.init(rd_kafka_error_code(error), String(cString: rd_kafka_error_string(error)))
    rd_kafka_error_destroy(error)
  }

  // MARK: Kinds

  /// The cluster cannot be reached, or does not let us in: nothing works until that changes.
  var isConnection: Bool {
    switch code {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TRANSPORT, RD_KAFKA_RESP_ERR__RESOLVE,
      RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR__SSL, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
      RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM,
      RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
      true
    default: false
    }
  }

  /// Says more than that nothing works: the cause.
  var isSpecific: Bool {
    switch code {
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TIMED_OUT: false
    // Calls that end with the bare code have waited in vain.
    case RD_KAFKA_RESP_ERR__TRANSPORT: reason != String(cString: rd_kafka_err2str(code))
    default: true
    }
  }

  /// The broker's end of the connection, told once more after the handshake that failed.
  func isEcho(of cause: KafkaError?) -> Bool {
    cause?.code == RD_KAFKA_RESP_ERR__SSL && code == RD_KAFKA_RESP_ERR__TRANSPORT && reason.contains("SSL routines")
  }

  /// A permission or a topic is missing.
  var isResource: Bool {
    switch code {
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
      RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
      true
    default: isDenied
    }
  }

  /// A permission is missing.
  var isDenied: Bool {
    switch code {
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
      RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
      true
    default: false
    }
  }

  /// This one record can never be written.
  var isRecord: Bool {
    switch code {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE, RD_KAFKA_RESP_ERR_INVALID_MSG,
      RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_RECORD,
      RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
      true
    default: false
    }
  }
}

extension String {
  /// Where a text stands for the last time.
  func lastPlace(of part: String) -> Index? {
    var place = endIndex
    while place > startIndex {
      place = index(before: place)
      if self[place...].hasPrefix(part) { return place }
    }
    return nil
  }
}
