import CRdkafka
import DatabusCore
import Testing

@testable import KafkaTransport

/// What a person is told of each of librdkafka's errors; no broker is needed.
@Suite struct KafkaErrorTests {
  private static func access(_ change: (inout KafkaAccess) -> Void = { _ in }) -> KafkaAccess {
    var access = KafkaAccess(servers: "kafka:9092")
    change(&access)
    return access
  }

  struct Case: Sendable, CustomTestStringConvertible {
    var code: rd_kafka_resp_err_t
    var reason: String?
    var access = KafkaErrorTests.access()
    var says: [String]
    var testDescription: String { says[0] }
  }

  static let cases: [Case] = [
    Case(
      code: RD_KAFKA_RESP_ERR__AUTHENTICATION, reason: "SASL authentication error: bad",
      access: access { $0.mechanism = "PLAIN" },
      says: [
        "kafka:9092 refuses the credentials (SASL authentication error: bad)",
        "check \"sasl.username\", \"sasl.password\"",
      ]),
    Case(
      code: RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
      says: ["refuses the credentials", "check \"sasl.username\", \"sasl.password\""]),
    Case(
      code: RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM,
      says: ["does not take this way to log in", "set \"sasl.mechanism\" to one that the broker has enabled"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL,
      reason: "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed",
      access: access { $0.certificateProblem = 10 }, says: ["has expired", "renew it on the broker"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "certificate verify failed", access: access { $0.certificateProblem = 9 },
      says: ["is not valid yet", "check this machine's clock"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "certificate verify failed", access: access { $0.certificateProblem = 62 },
      says: ["is for another host", "use the name that stands in it"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "certificate verify failed", access: access { $0.certificateProblem = 64 },
      says: ["is for another host", "ssl.endpoint.identification.algorithm"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "certificate verify failed", access: access { $0.certificateProblem = 19 },
      says: ["is not signed by an authority that this machine knows", "set \"ssl.ca.location\""]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "certificate verify failed",
      access: access {
        $0.certificateProblem = 20
        $0.authority = "/ca.pem"
      },
      says: [
        "is not signed by the authority in \"ssl.ca.location\" (/ca.pem)",
        "put the authority that signed it into that file",
      ]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "certificate verify failed", access: access { $0.certificateProblem = 23 },
      says: ["is refused (OpenSSL's verification error 23)", "look at it with openssl s_client"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "SSL handshake failed: error:0A00010B:SSL routines::wrong version number",
      access: access { $0.securityProtocol = "SASL_SSL" }, says: ["most likely speaks no TLS", "to SASL_PLAINTEXT,"]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "error:0A00045C:SSL routines::tlsv13 alert certificate required",
      says: ["wants a certificate of this client", "set \"ssl.certificate.location\" and \"ssl.key.location\""]),
    Case(
      code: RD_KAFKA_RESP_ERR__SSL, reason: "no shared cipher",
      says: ["TLS with kafka:9092 fails (no shared cipher)", "check that \"security.protocol\" fits the listener"]),
    Case(
      code: RD_KAFKA_RESP_ERR__RESOLVE,
      says: ["a broker's name cannot be resolved", "check \"bootstrapServers\" (kafka:9092)"]),
    Case(
      code: RD_KAFKA_RESP_ERR__TRANSPORT, reason: "Connect to ipv4#1.2.3.4:9092 failed: Connection refused",
      says: ["nothing listens at kafka:9092", "start the broker, or correct \"bootstrapServers\""]),
    Case(
      code: RD_KAFKA_RESP_ERR__TRANSPORT,
      reason:
        "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol configuration (connecting to a SSL listener?)",
      access: access { $0.securityProtocol = "SASL_PLAINTEXT" }, says: ["most likely wants TLS", "to SASL_SSL."]),
    Case(
      code: RD_KAFKA_RESP_ERR__TRANSPORT,
      reason:
        "Disconnected: verify that security.protocol is correctly configured, broker might require SASL authentication",
      says: ["most likely wants a login", "SASL_PLAINTEXT or SASL_SSL", "\"sasl.username\" and \"sasl.password\""]),
    Case(
      code: RD_KAFKA_RESP_ERR__TRANSPORT, reason: "Send failed: SSL transport error: Broken pipe",
      access: access { $0.securityProtocol = "SSL" }, says: ["most likely wants a login", "to SASL_SSL,"]),
    Case(
      code: RD_KAFKA_RESP_ERR__TRANSPORT, reason: "Connect to ipv4#10.0.0.1:9092 failed: No route to host",
      says: [
        "no broker of kafka:9092 can be reached", "No route to host", "check that the brokers are up, the network",
      ]),
    Case(code: RD_KAFKA_RESP_ERR__TRANSPORT, says: ["does not answer in time", "check that the brokers are up"]),
    Case(
      code: RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, says: ["does not answer in time", "check that the brokers are up"]),
    Case(
      code: RD_KAFKA_RESP_ERR__TIMED_OUT, says: ["kafka:9092 does not answer in time", "check that the brokers are up"]),
    Case(
      code: RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
      says: ["it does not exist on kafka:9092", "\"topics\": {\"create\": true}"]),
    Case(
      code: RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, says: ["it does not exist on kafka:9092", "databus topics create"]),
    Case(
      code: RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
      says: ["no permission for this topic", "grant READ and DESCRIBE on it (kafka-acls.sh)"]),
    Case(
      code: RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, access: access { $0.isProducer = true },
      says: ["no permission for this topic", "grant WRITE and DESCRIBE on it (kafka-acls.sh)"]),
    Case(
      code: RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
      says: ["no permission for the consumer group, whose name is the pipeline's", "grant READ on it (kafka-acls.sh)"]),
    Case(
      code: RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, access: access { $0.isProducer = true },
      says: ["no permission on the cluster", "grant WRITE on the topic", "IDEMPOTENT_WRITE"]),
    Case(
      code: RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
      says: ["the record is too large", "raise \"message.max.bytes\" here and max.message.bytes of the topic"]),
    Case(
      code: RD_KAFKA_RESP_ERR_INVALID_RECORD,
      says: ["the topic refuses the record", "a compacted topic needs a key in every record"]),
    Case(code: RD_KAFKA_RESP_ERR_POLICY_VIOLATION, reason: "no such names here", says: ["no such names here."]),
  ]

  @Test("each error has a sentence with its cause and what to do", arguments: cases)
  func sentence(_ one: Case) {
    let text = one.access.sentence(KafkaError(one.code, one.reason), "The topic \"events\" cannot be read")
    #expect(text.hasPrefix("The topic \"events\" cannot be read: ") && text.hasSuffix("."), "\(text)")
    for part in one.says { #expect(text.contains(part), "\(text)") }
  }

  @Test func aPermissionThatIsKnownIsNamed() {
    let error = KafkaError(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "denied", needs: "CREATE on it")
    #expect(KafkaErrorTests.access().sentence(error, "It").contains("grant CREATE on it (kafka-acls.sh)."))
  }

  @Test func oldLibrariesAreNamedWhereTheirSCRAMIsAtFault() {
    let text = KafkaErrorTests.access { $0.mechanism = "SCRAM-SHA-512" }.sentence(
      KafkaError(RD_KAFKA_RESP_ERR__AUTHENTICATION), "It")
    #expect(text.contains("sends a wrong SCRAM nonce (mended in 2.6.1)") == KafkaClient.isScramBroken, "\(text)")
    #expect(text.contains("check \"sasl.username\"") != KafkaClient.isScramBroken, "\(text)")
  }

  @Test func theSameTroubleIsToldInTheSameWords() {
    let first = KafkaError(
      RD_KAFKA_RESP_ERR__TRANSPORT,
      "kafka:9092/1: Connect to ipv4#1.2.3.4:9092 failed: Connection refused (after 0ms in state CONNECT)")
    let second = KafkaError(
      RD_KAFKA_RESP_ERR__TRANSPORT,
      "kafka:9092/1: Connect to ipv4#1.2.3.4:9092 failed: Connection refused (after 7ms in state CONNECT, 3 identical error(s) suppressed)"
    )
    #expect(first.reason == "kafka:9092/1: Connect to ipv4#1.2.3.4:9092 failed: Connection refused")
    #expect(first.reason == second.reason)
    #expect(KafkaError(RD_KAFKA_RESP_ERR__FAIL, "broken (after lunch").reason == "broken (after lunch")
  }

  // MARK: What is wrong now

  private func condition() -> KafkaCondition { KafkaCondition(KafkaErrorTests.access(), .off) }

  @Test func whatIsWrongIsToldWithItsCauseUntilTheClusterAnswers() {
    let condition = condition()
    condition.note(KafkaError(RD_KAFKA_RESP_ERR__TRANSPORT, "Connect to ipv4#1.2.3.4:9092 failed: Connection refused"))
    // One broker of several: the cluster has to be asked.
    #expect(!condition.isTroubled && condition.isDoubtful)
    condition.noteSilence(KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT))
    #expect(condition.trouble("It")?.contains("nothing listens at kafka:9092") == true && !condition.isDoubtful)
    condition.noteAnswer()
    #expect(!condition.isTroubled && !condition.isDoubtful)
    condition.note(KafkaError(RD_KAFKA_RESP_ERR__TRANSPORT, "Connect to ipv4#1.2.3.4:9092 failed: Connection refused"))
    condition.note(KafkaError(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down"))
    #expect(condition.isTroubled)
    #expect(condition.trouble("It")?.contains("nothing listens at kafka:9092") == true)
    condition.noteAnswer()
    #expect(!condition.isTroubled && condition.trouble("It") == nil)
    #expect(condition.sentence(KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT), "It").contains("does not answer in time"))
  }

  @Test func whatIsMissingStaysMissingThoughTheClusterAnswers() {
    let condition = condition()
    condition.note(KafkaError(RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED))
    condition.noteAnswer()
    #expect(condition.trouble("It")?.contains("gives no permission for this topic") == true)
    condition.noteProgress()
    #expect(!condition.isTroubled && condition.trouble("It") == nil)
  }

  @Test func recordsThatWereFetchedBeforeDoNotHideThatTheClusterIsAway() {
    let condition = condition()
    condition.note(KafkaError(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down"))
    condition.noteRecords()
    #expect(condition.isTroubled)
  }

  @Test func howWeComeIsNotBlamedOnceTheClusterHasAnswered() {
    let condition = condition()
    let guess = KafkaError(
      RD_KAFKA_RESP_ERR__TRANSPORT,
      "Disconnected: verify that security.protocol is correctly configured, broker might require SASL authentication")
    let cut = KafkaError(RD_KAFKA_RESP_ERR__TRANSPORT, "error:0A000126:SSL routines::unexpected eof while reading")
    #expect(condition.sentence(guess, "It").contains("most likely wants a login"))
    condition.noteAnswer()
    for error in [guess, cut] {
      #expect(
        condition.sentence(error, "It") == "It: the connection to kafka:9092 was cut; check that the brokers are up.")
    }
  }

  @Test func theEndOfAConnectionDoesNotHideWhyTheHandshakeFailed() {
    let condition = condition()
    condition.note(
      KafkaError(RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: error:0A00010B:SSL routines::wrong version number"))
    condition.note(
      KafkaError(RD_KAFKA_RESP_ERR__TRANSPORT, "error:0A000126:SSL routines::unexpected eof while reading"))
    #expect(condition.sentence(KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT), "It").contains("speaks no TLS"))
  }

  @Test func classesSayWhatComesOfAnError() {
    for code in [
      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
    ] {
      #expect(KafkaError(code).isRecord && !KafkaError(code).isConnection && !KafkaError(code).isResource)
    }
    for one in KafkaErrorTests.cases where one.says.contains(where: { $0.contains("permission") }) {
      #expect(KafkaError(one.code).isDenied && KafkaError(one.code).isResource && !KafkaError(one.code).isRecord)
    }
  }
}
