import DatabusCore
import Testing

@testable import KafkaTransport

/// librdkafka's properties: which are refused and how; no broker is needed.
@Suite struct KafkaPropertiesTests {
  private func options(_ properties: (name: String, value: String)...) -> KafkaOptions {
    KafkaOptions(bootstrapServers: "kafka:9092", properties: properties)
  }

  private func refusal(_ properties: (name: String, value: String)...) async -> TransportError? {
    await transportError {
      let transport = try KafkaTransport(
        KafkaOptions(bootstrapServers: "kafka:9092", properties: properties), readerName: "reader")
      await transport.close()
    }
  }

  @Test("what the promises rest on cannot be set", arguments: KafkaProperties.reserved.keys.sorted())
  func reserved(_ name: String) async throws {
    let reason = try #require(KafkaProperties.reserved[name])
    for role in [KafkaProperties.Role.producer, .consumer(group: "g"), .administration] {
      let error = await transportError { try KafkaProperties.check(role, options((name, "anything"))) }
      #expect(error?.message == "The property \(name) cannot be set: \(reason).")
    }
  }

  @Test func misspeltNamesAndBadValuesAreRefusedBeforeAnythingIsConnectedTo() async {
    #expect(
      await refusal(("sasl.mechanisme", "PLAIN"))?.message.contains(
        "refuses the property sasl.mechanisme: it does not know it") == true)
    let error = await refusal(("fetch.wait.max.ms", "soon"))
    #expect(error?.class == .fatal)
    #expect(error?.message.contains("refuses the property fetch.wait.max.ms") == true, "\(error?.message ?? "")")
    // A producer's properties are looked at, too, before there is a producer.
    #expect(await refusal(("compression.codec", "gzipp"))?.message.contains("compression.codec") == true)
  }

  @Test("secrets stand in no message", arguments: KafkaProperties.secret.sorted())
  func secrets(_ name: String) async {
    // librdkafka takes any text for most of them, and repeats what it does not take.
    let text = KafkaProperties.problem(name, "hush-hush")
    #expect(text?.contains("hush-hush") != true, "\(text ?? "")")
    let error = await refusal((name, "hush-hush"))
    #expect(error?.message.contains("hush-hush") != true, "\(error?.message ?? "")")
    // An unknown name with a secret's name in it does not bring its value out either.
    #expect(KafkaProperties.problem("\(name).x", "hush-hush")?.contains("hush-hush") == false)
  }

  @Test func everyPropertyThatHoldsASecretIsKnownAsOne() {
    let words = ["password", "secret", "key.pem", "oauthbearer.config"]
    for name in KafkaProperties.names where words.contains(where: name.contains) {
      #expect(KafkaProperties.secret.contains(name), "\(name)")
    }
  }

  @Test func namesAreThoseOfTheLibrary() {
    let names = KafkaProperties.names
    #expect(names.allSatisfy { KafkaProperties.problem($0, "") != "it does not know it" }, "\(names)")
    for name in ["sasl.password", "session.timeout.ms", "linger.ms", "ssl.ca.location", "acks", "partitioner"] {
      #expect(names.contains(name))
    }
    #expect(KafkaProperties.problem("linger.ms", "5") == nil)
    #expect(KafkaProperties.problem("linger.ms", "five") != nil)
    #expect(KafkaProperties.problem("lingerms", "5") == "it does not know it")
  }

  @Test func theUsersPropertiesStandAboveTheDefaultsAndBelowThePromises() throws {
    let options = options(("linger.ms", "7"), ("queued.min.messages", "123"))
    #expect(KafkaProperties.number("linger.ms", .producer, options) == 7)
    #expect(KafkaProperties.number("queued.min.messages", .consumer(group: "g"), options) == 123)
    #expect(KafkaProperties.number("queued.min.messages", .consumer(group: "g"), self.options()) == 20_000)
  }
}
