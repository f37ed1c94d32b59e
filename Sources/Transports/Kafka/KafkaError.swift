import CRdkafka
import DatabusCore

/// What librdkafka reports, in a sentence that says what is wrong, where, and what to do.
struct KafkaError: Error {
  var code: rd_kafka_resp_err_t
  /// librdkafka's own words.
  var reason: String

  init(_ code: rd_kafka_resp_err_t, _ reason: String? = nil) {
    self.code = code
    self.reason = reason ?? String(cString: rd_kafka_err2str(code))
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
    code != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && code != RD_KAFKA_RESP_ERR__TIMED_OUT
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

  // MARK: For people

  /// - Parameters:
  ///   - what: what was tried, as the beginning of a sentence: "The topic \"events\" cannot be read".
  ///   - servers: the bootstrap servers.
  ///   - mechanism: `sasl.mechanism`, where one is set.
  func sentence(_ what: String, servers: String, mechanism: String? = nil) -> String {
    switch code {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
      return "\(what): \(servers) refuses the credentials (\(reason)); \(credentialsRemedy(mechanism))."
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
      return
        "\(what): \(servers) does not take this way to log in (\(reason)); set \"sasl.mechanism\" to one that the broker has enabled."
    case RD_KAFKA_RESP_ERR__SSL: return "\(what): \(certificateProblem(servers))"
    case RD_KAFKA_RESP_ERR__RESOLVE:
      return
        "\(what): a broker's name cannot be resolved (\(reason)); check \"bootstrapServers\" (\(servers)) and the brokers' advertised.listeners."
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TRANSPORT:
      return "\(what): no broker of \(servers) can be reached (\(reason)); \(transportRemedy)."
    case RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
      return
        "\(what): \(servers) does not answer in time; check that the brokers are up and that \"bootstrapServers\" and \"security.protocol\" fit their listener."
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
      RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      return
        "\(what): it does not exist on \(servers); create it (kafka-topics.sh --create, or databus topics create), or set \"topics\": {\"create\": true}."
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      return
        "\(what): \(servers) gives no permission for this topic; grant READ and DESCRIBE to who reads it, WRITE and DESCRIBE to who writes it (kafka-acls.sh)."
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
      return
        "\(what): \(servers) gives no permission for the consumer group, whose name is the pipeline's; grant READ on it (kafka-acls.sh)."
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
      return
        "\(what): \(servers) gives no permission on the cluster; an idempotent producer needs IDEMPOTENT_WRITE before Kafka 2.8, creating topics needs CREATE (kafka-acls.sh)."
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
      RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
      return
        "\(what): the record is too large (\(reason)); raise \"message.max.bytes\" here and max.message.bytes of the topic, or make it smaller."
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
      return "\(what): the topic refuses the record (\(reason)); a compacted topic needs a key in every record."
    default: return "\(what): \(reason)."
    }
  }

  private func credentialsRemedy(_ mechanism: String?) -> String {
    if let mechanism, mechanism.uppercased().hasPrefix("SCRAM"), KafkaClient.isScramBroken {
      return
        "they may well be right: librdkafka \(KafkaClient.libraryVersion) sends a wrong SCRAM nonce (mended in 2.6.1), which Kafka 3.7.2 and later refuse: use a newer librdkafka, or sasl.mechanism PLAIN over TLS"
    }
    return "check \"sasl.username\", \"sasl.password\" and \"sasl.mechanism\""
  }

  private func certificateProblem(_ servers: String) -> String {
    let words = reason.lowercased()
    if words.contains("certificate has expired") || words.contains("certificate expired") {
      return
        "the certificate of \(servers) has expired (\(reason)); renew it on the broker, and check this machine's clock."
    }
    if words.contains("hostname mismatch") || words.contains("host name mismatch")
      || words.contains("ip address mismatch")
    {
      return
        "the certificate of \(servers) is for another host (\(reason)); use the name that stands in it, or set \"ssl.endpoint.identification.algorithm\" to \"none\"."
    }
    if words.contains("verify failed") || words.contains("self-signed") || words.contains("self signed")
      || words.contains("unable to get local issuer")
    {
      return
        "the certificate of \(servers) is not signed by a known authority (\(reason)); set \"ssl.ca.location\" to the authority that signed it."
    }
    return
      "TLS with \(servers) fails (\(reason)); check that \"security.protocol\" fits the listener, and the files of \"ssl.*\"."
  }

  private var transportRemedy: String {
    let words = reason.lowercased()
    if words.contains("refused") { return "nothing listens there: start the broker, or correct \"bootstrapServers\"" }
    if words.contains("disconnected while requesting apiversion") || words.contains("incorrect security.protocol") {
      return "the listener may want TLS or SASL: set \"security.protocol\""
    }
    return "check the network and \"bootstrapServers\""
  }
}
