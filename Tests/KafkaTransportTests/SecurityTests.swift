import DatabusCore
import Foundation
import KafkaFixture
import Testing

@testable import KafkaTransport

/// Logins and TLS against a real broker: what works, and what a person is told where it does not.
@Suite(.enabled(if: KafkaCluster.canStart, Comment(rawValue: KafkaCluster.startRequirement)))
struct SecurityTests {
  private func transport(_ options: KafkaOptions) throws -> KafkaTransport {
    try KafkaTransport(options, readerName: "security")
  }

  @Test func everythingWorksOverTLSWithALogin() async throws {
    let kafka = try await SecureKafka.shared()
    let transport = try transport(kafka.options("alice"))
    let topic = "secure-\(UUID().uuidString)"
    try await transport.createTopic(topic, partitions: 2)
    #expect(try await transport.topics().first { $0.name == topic }?.partitions.count == 2)
    let ends = Ends()
    let sink = try await transport.makeSink(topic, ends)
    let texts = (0..<100).map { "text \($0)" }
    #expect(try sink.send(deliveries(texts), from: 0) == 100)
    try await sink.flush(by: SystemClock().now() + .seconds(20))
    #expect(Set(ends.safe) == Set(0..<100))
    let reading = Reading(try await transport.makeSource(topic, .group("secure-\(topic)")), store: PositionStore())
    #expect(await holds { reading.records.count == 100 })
    #expect(Set(reading.values) == Set(texts))
    let rules = Reading(try await transport.makeSource(topic, .everything(from: [:])))
    #expect(await holds { rules.records.count == 100 })
    await reading.stop()
    await rules.stop()
    let positions = try await transport.groupPositions("secure-\(topic)", stream: topic)
    #expect(positions.map { $0.committed?.position.next ?? 0 }.reduce(0, +) == 100)
    await sink.close()
    try await transport.deleteTopic(topic)
    await transport.close()
  }

  // MARK: What keeps us out

  struct Refusal: Sendable, CustomTestStringConvertible {
    var name: String
    /// What the sentence names as the cause, and what it tells to do.
    var says: [String]
    var options: @Sendable (SecureKafka) throws -> KafkaOptions
    var testDescription: String { name }

    init(_ name: String, _ says: String..., options: @escaping @Sendable (SecureKafka) throws -> KafkaOptions) {
      self.name = name
      self.says = says
      self.options = options
    }
  }

  private static func tls(_ kafka: SecureKafka, _ listener: SecureKafka.Listener, _ properties: [(String, String)])
    -> KafkaOptions
  {
    KafkaOptions(
      bootstrapServers: kafka.servers(listener),
      properties: ([("security.protocol", "SSL")] + properties).map { (name: $0.0, value: $0.1) },
      requestTimeout: .seconds(3))
  }

  static let refusals: [Refusal] = [
    Refusal("wrong password", "refuses the credentials", "check \"sasl.username\", \"sasl.password\"") {
      $0.options("alice", password: "wrong-secret", requestTimeout: .seconds(3))
    },
    Refusal("unknown user", "refuses the credentials", "check \"sasl.username\", \"sasl.password\"") {
      $0.options("mallory", password: "wrong-secret", requestTimeout: .seconds(3))
    },
    Refusal("mechanism that the broker lacks", "does not take this way to log in", "set \"sasl.mechanism\"") {
      $0.options("alice", mechanism: "SCRAM-SHA-256", requestTimeout: .seconds(3))
    },
    Refusal("wrong authority", "is not signed by the authority in \"ssl.ca.location\"", "put the authority") {
      tls($0, .login, [("ssl.ca.location", $0.otherAuthority)])
    },
    Refusal("no authority", "is not signed by an authority that this machine knows", "set \"ssl.ca.location\"") {
      tls($0, .login, [])
    },
    Refusal("certificate of another host", "is for another host", "use the name that stands in it") {
      tls($0, .stranger, [("ssl.ca.location", $0.authority)])
    },
    Refusal("expired certificate", "has expired", "renew it on the broker") {
      tls($0, .expired, [("ssl.ca.location", $0.authority)])
    },
    Refusal("no TLS where the listener wants it", "wants TLS", "set \"security.protocol\" to SSL or SASL_SSL") {
      KafkaOptions(bootstrapServers: $0.servers(.login), requestTimeout: .seconds(3))
    },
    Refusal(
      "TLS where the listener has none", "speaks no TLS", "set \"security.protocol\" to PLAINTEXT or SASL_PLAINTEXT"
    ) {
      KafkaOptions(
        bootstrapServers: $0.cluster.bootstrapServers,
        properties: [("security.protocol", "SSL"), ("ssl.ca.location", $0.authority)], requestTimeout: .seconds(3))
    },
    Refusal("TLS without the login that the listener wants", "wants a login", "SASL_SSL") {
      tls($0, .login, [("ssl.ca.location", $0.authority)])
    },
    Refusal("nobody listens", "nothing listens", "start the broker, or correct \"bootstrapServers\"") { _ in
      KafkaOptions(bootstrapServers: "127.0.0.1:\(try FreePorts.find(1)[0])", requestTimeout: .seconds(3))
    },
    Refusal("a name that nobody knows", "cannot be resolved", "check \"bootstrapServers\"") { _ in
      KafkaOptions(bootstrapServers: "no-such-host.invalid:9092", requestTimeout: .seconds(3))
    },
  ]

  @Test("what keeps us out is named with its remedy, by every part", arguments: refusals)
  func refusal(_ one: Refusal) async throws {
    let kafka = try await SecureKafka.shared()
    let options = try one.options(kafka)
    let tries: [@Sendable (KafkaTransport) async throws -> Void] = [
      { _ = try await $0.makeSource("t", .group("g")) },
      { _ = try await $0.makeSource("t", .everything(from: [:])) },
      { _ = try await $0.makeSink("t", Ends()) },
      { _ = try await $0.topics() },
      { try await $0.createTopic("t", partitions: 1) },
      { _ = try await $0.groupPositions("g", stream: "t") },
    ]
    let start = ContinuousClock.now
    // Side by side, each with a transport of its own: each waits its whole time.
    let errors = await withTaskGroup(of: TransportError?.self) { group in
      for attempt in tries {
        group.addTask {
          await transportError {
            let transport = try KafkaTransport(options, readerName: "security")
            do { try await attempt(transport) } catch {
              await transport.close()
              throw error
            }
            await transport.close()
          }
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    let took = ContinuousClock.now - start
    #expect(errors.count == tries.count)
    for error in errors {
      #expect(error?.class == .transport)
      let message = error?.message ?? ""
      for part in one.says { #expect(message.contains(part), "\(message)") }
      for secret in SecureKafka.secrets { #expect(!message.contains(secret)) }
    }
    // Long before librdkafka itself gives up.
    #expect(took < options.requestTimeout + .seconds(12))
  }

  @Test func aBrokerThatDoesNotAnswerIsNamedWithinTheRequestTimeout() async throws {
    // Connections are taken by the system; nobody ever reads from them.
    let listener = try SilentListener()
    defer { listener.close() }
    let options = KafkaOptions(bootstrapServers: "127.0.0.1:\(listener.port)", requestTimeout: .seconds(1))
    let transport = try transport(options)
    let start = ContinuousClock.now
    let error = await transportError { _ = try await transport.makeSource("t", .group("g")) }
    // librdkafka's own patience is ten seconds.
    #expect(ContinuousClock.now - start < .seconds(9))
    let message = error?.message ?? ""
    #expect(error?.class == .transport)
    #expect(message.contains("does not answer in time"))
    #expect(message.contains("check that the brokers are up"))
    await transport.close()
  }

  /// librdkafka before 2.6.1 cannot do SCRAM with Kafka 4; the user must not look for the fault in the password.
  @Test func scramWorksOrNamesTheLibrary() async throws {
    let kafka = try await SecureKafka.shared()
    let transport = try transport(kafka.options("alice", mechanism: "SCRAM-SHA-512"))
    let error = await transportError { _ = try await transport.topics() }
    if KafkaClient.isScramBroken {
      let message = error?.message ?? ""
      #expect(error?.class == .transport)
      #expect(message.contains("librdkafka \(KafkaClient.libraryVersion) sends a wrong SCRAM nonce"))
      #expect(message.contains("use a newer librdkafka, or sasl.mechanism PLAIN over TLS"))
    } else {
      #expect(error == nil, "\(error?.message ?? "")")
    }
    await transport.close()
  }

  @Test func anAuthorityFileThatIsNotThereIsNamed() async throws {
    let options = KafkaOptions(
      bootstrapServers: "localhost:1",
      properties: [("security.protocol", "SSL"), ("ssl.ca.location", "/nowhere/ca.pem")])
    let error = await transportError { _ = try transport(options) }
    #expect(error?.message.contains("/nowhere/ca.pem") == true)
  }
}

/// A port whose connections nobody answers.
private struct SilentListener {
  let descriptor: Int32
  let port: Int

  init() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
        bind(descriptor, pointer, size) == 0 && listen(descriptor, 16) == 0
          ? getsockname(descriptor, pointer, &size) : -1
      }
    }
    guard code == 0 else { throw KafkaCluster.Failure(message: "no port can be taken: errno \(errno)") }
    self.descriptor = descriptor
    port = Int(UInt16(bigEndian: address.sin_port))
  }

  func close() { Glibc.close(descriptor) }
}
