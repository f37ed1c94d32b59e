import CRdkafka

/// How a client gets to its cluster: what an error needs to be told in a sentence that says what is wrong, where, and what to do.
struct KafkaAccess: Sendable {
  /// The bootstrap servers.
  var servers: String
  var isProducer = false
  /// `security.protocol`, in capitals; librdkafka's default where none is set.
  var securityProtocol = "PLAINTEXT"
  /// `sasl.mechanism`, in capitals, where one is set.
  var mechanism: String?
  /// `ssl.ca.location`, where one is set.
  var authority: String?
  /// Why OpenSSL has refused a broker's certificate: one of its X509_V_ERR numbers, where librdkafka has told one.
  var certificateProblem: Int32?
  /// The cluster has answered before: what keeps us out now is not how we come.
  var hasAnswered = false

  init(servers: String) { self.servers = servers }

  init(_ options: KafkaOptions, isProducer: Bool) {
    servers = options.bootstrapServers
    self.isProducer = isProducer
    securityProtocol = KafkaProperties.value("security.protocol", options)?.uppercased() ?? securityProtocol
    mechanism =
      (KafkaProperties.value("sasl.mechanism", options) ?? KafkaProperties.value("sasl.mechanisms", options))?
      .uppercased()
    authority = KafkaProperties.value("ssl.ca.location", options)
  }

  /// - Parameter what: what was tried, as the beginning of a sentence: "The topic \"events\" cannot be read".
  func sentence(_ error: KafkaError, _ what: String) -> String {
    let reason = error.reason
    switch error.code {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION, RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
      if reason.lowercased().contains("unsupported sasl mechanism") { return otherMechanism(what, reason) }
      return "\(what): \(servers) refuses the credentials (\(reason)); \(credentialsRemedy)."
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM, RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
      return otherMechanism(what, reason)
    case RD_KAFKA_RESP_ERR__SSL: return "\(what): \(tlsProblem(reason))."
    case RD_KAFKA_RESP_ERR__RESOLVE:
      return
        "\(what): a broker's name cannot be resolved (\(reason)); check \"bootstrapServers\" (\(servers)) and the brokers' advertised.listeners."
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, RD_KAFKA_RESP_ERR__TRANSPORT:
      return "\(what): \(connectionProblem(error))."
    case RD_KAFKA_RESP_ERR__TIMED_OUT, RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE: return "\(what): \(silence)."
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
      RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      return
        "\(what): it does not exist on \(servers); create it (kafka-topics.sh --create, or databus topics create), or set \"topics\": {\"create\": true}."
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      let usual = isProducer ? "WRITE and DESCRIBE on it" : "READ and DESCRIBE on it"
      return
        "\(what): \(servers) gives no permission for this topic; grant \(error.needs ?? usual) (kafka-acls.sh)."
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
      return
        "\(what): \(servers) gives no permission for the consumer group, whose name is the pipeline's; grant \(error.needs ?? "READ on it") (kafka-acls.sh)."
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
      let usual =
        isProducer ? "WRITE on the topic (before Kafka 2.8: IDEMPOTENT_WRITE on the cluster)" : "it on the cluster"
      return
        "\(what): \(servers) gives no permission on the cluster (\(reason)); grant \(error.needs ?? usual) (kafka-acls.sh)."
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
      RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
      return
        "\(what): the record is too large (\(reason)); raise \"message.max.bytes\" here and max.message.bytes of the topic, or make it smaller."
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
      return "\(what): the topic refuses the record (\(reason)); a compacted topic needs a key in every record."
    default: return "\(what): \(reason)."
    }
  }

  // MARK: Logins

  private func otherMechanism(_ what: String, _ reason: String) -> String {
    "\(what): \(servers) does not take this way to log in (\(reason)); set \"sasl.mechanism\" to one that the broker has enabled."
  }

  private var credentialsRemedy: String {
    if let mechanism, mechanism.hasPrefix("SCRAM"), KafkaClient.isScramBroken {
      return
        "they may well be right: librdkafka \(KafkaClient.libraryVersion) sends a wrong SCRAM nonce (mended in 2.6.1), which Kafka 3.7.2 and later refuse: use a newer librdkafka, or sasl.mechanism PLAIN over TLS"
    }
    return "check \"sasl.username\", \"sasl.password\" and \"sasl.mechanism\""
  }

  // MARK: TLS

  /// OpenSSL's X509_V_ERR numbers, of which only these are told apart.
  private enum CertificateProblem {
    static let notYetValid: Int32 = 9
    static let expired: Int32 = 10
    static let otherHost: ClosedRange<Int32> = 62...64
    /// No chain to an authority that is trusted.
    static let unknownAuthority: Set<Int32> = [2, 18, 19, 20, 21]
  }

  private func tlsProblem(_ reason: String) -> String {
    let words = reason.lowercased()
    // librdkafka says the same of every certificate that it does not take.
    if words.contains("certificate verify failed") { return certificateSentence(reason) }
    if hasAnswered, words.contains("unexpected eof") {
      return "the connection to \(servers) was cut (\(reason)); check that the brokers are up"
    }
    if words.contains("wrong version number") || words.contains("unexpected eof") {
      let without = securityProtocol.hasPrefix("SASL") ? "SASL_PLAINTEXT" : "PLAINTEXT or SASL_PLAINTEXT"
      return
        "the listener at \(servers) most likely speaks no TLS (\(reason)); set \"security.protocol\" to \(without), or name the port of a TLS listener in \"bootstrapServers\""
    }
    if words.contains("alert") && words.contains("certificate") {
      return
        "\(servers) wants a certificate of this client that it trusts (\(reason)); set \"ssl.certificate.location\" and \"ssl.key.location\""
    }
    return
      "TLS with \(servers) fails (\(reason)); check that \"security.protocol\" fits the listener, and the files of \"ssl.*\""
  }

  private func certificateSentence(_ reason: String) -> String {
    switch certificateProblem {
    case CertificateProblem.expired?:
      return "the certificate of \(servers) has expired; renew it on the broker, and check this machine's clock"
    case CertificateProblem.notYetValid?:
      return "the certificate of \(servers) is not valid yet; check this machine's clock, and the broker's certificate"
    case let number? where CertificateProblem.otherHost.contains(number):
      return
        "the certificate of \(servers) is for another host; use the name that stands in it in \"bootstrapServers\" and in the brokers' advertised.listeners, or set \"ssl.endpoint.identification.algorithm\" to \"none\""
    case let number? where !CertificateProblem.unknownAuthority.contains(number):
      return
        "the certificate of \(servers) is refused (OpenSSL's verification error \(number)); look at it with openssl s_client -connect"
    default: break
    }
    if let authority {
      return
        "the certificate of \(servers) is not signed by the authority in \"ssl.ca.location\" (\(authority)); put the authority that signed it into that file"
    }
    return
      "the certificate of \(servers) is not signed by an authority that this machine knows; set \"ssl.ca.location\" to the file of the authority that signed it"
  }

  // MARK: Connections

  private func connectionProblem(_ error: KafkaError) -> String {
    let words = error.reason.lowercased()
    if hasAnswered, words.contains("disconnected") || words.contains("ssl routines") {
      // librdkafka guesses at security.protocol where a broker only ended.
      return "the connection to \(servers) was cut; check that the brokers are up"
    }
    if words.contains("refused") {
      return "nothing listens at \(servers) (\(error.reason)); start the broker, or correct \"bootstrapServers\""
    }
    if words.contains("connecting to a ssl listener") {
      let with = securityProtocol.hasPrefix("SASL") ? "SASL_SSL" : "SSL or SASL_SSL"
      return
        "\(servers) closes the connection at once: its listener most likely wants TLS; set \"security.protocol\" to \(with)"
    }
    if words.contains("connecting to a plaintext") {
      return
        "the listener at \(servers) most likely speaks no TLS (\(error.reason)); set \"security.protocol\" to PLAINTEXT or SASL_PLAINTEXT"
    }
    let isHungUp = words.contains("broken pipe") || words.contains("connection reset")
    if words.contains("broker might require sasl") || (isHungUp && securityProtocol == "SSL" && !hasAnswered) {
      let with = securityProtocol == "SSL" ? "SASL_SSL" : "SASL_PLAINTEXT or SASL_SSL"
      return
        "\(servers) closes the connection: its listener most likely wants a login; set \"security.protocol\" to \(with), \"sasl.mechanism\", \"sasl.username\" and \"sasl.password\""
    }
    if words.contains("timed out") || !error.isSpecific { return silence }
    return
      "no broker of \(servers) can be reached (\(error.reason)); check that the brokers are up, the network and \"bootstrapServers\""
  }

  private var silence: String {
    "\(servers) does not answer in time; check that the brokers are up, and that \"bootstrapServers\" and \"security.protocol\" fit their listener"
  }
}
