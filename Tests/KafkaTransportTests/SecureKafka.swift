import Foundation
import KafkaFixture
import Synchronization

@testable import KafkaTransport

/// A broker with TLS, logins and permissions, shared by the tests of this process.
///
/// Whoever comes without a login (the plain listener, the TLS listeners without SASL) and alice may do everything; bob may do what he
/// is granted, and so may carol, who writes nothing.
struct SecureKafka: Sendable {
  let cluster: KafkaCluster
  let access: AccessControl
  let folder: URL

  enum Listener: String, CaseIterable {
    /// A good certificate and a login.
    case login = "SASL_SSL"
    /// A certificate that has expired.
    case expired = "EXPIRED"
    /// A certificate of another host.
    case stranger = "STRANGER"
  }

  /// What stands in no message.
  static let secrets = ["alice-secret", "bob-secret", "carol-secret", "wrong-secret"]

  var authority: String { folder.appendingPathComponent("ca.pem").path }
  /// An authority that has signed nothing here.
  var otherAuthority: String { folder.appendingPathComponent("other-ca.pem").path }

  func servers(_ listener: Listener) -> String {
    cluster.secureServers.withLock { $0[listener.rawValue] ?? "" }
  }

  /// How a user logs in.
  func options(
    _ user: String, password: String? = nil, mechanism: String = "PLAIN", _ more: [(String, String)] = [],
    creation: KafkaTopicCreation = KafkaTopicCreation(), requestTimeout: Duration = .seconds(10)
  ) -> KafkaOptions {
    KafkaOptions(
      bootstrapServers: servers(.login),
      properties: [
        ("security.protocol", "SASL_SSL"), ("sasl.mechanism", mechanism), ("sasl.username", user),
        ("sasl.password", password ?? "\(user)-secret"), ("ssl.ca.location", authority),
      ].map { (name: $0.0, value: $0.1) } + more.map { (name: $0.0, value: $0.1) }, creation: creation,
      requestTimeout: requestTimeout)
  }

  private static let running = Mutex<Task<SecureKafka, any Error>?>(nil)

  static func shared() async throws -> SecureKafka {
    let task = running.withLock { task in
      if let task { return task }
      let new = Task { try await start() }
      task = new
      return new
    }
    return try await task.value
  }

  private static func start() async throws -> SecureKafka {
    let cluster = try await KafkaCluster.start(
      listeners: Listener.allCases.map(\.rawValue), prepare: prepare,
      storage: ["--add-scram", "SCRAM-SHA-512=[name=alice,password=alice-secret]"])
    guard let folder = cluster.folder else { throw KafkaCluster.Failure(message: "no folder") }
    return SecureKafka(cluster: cluster, access: try AccessControl(cluster.bootstrapServers), folder: folder)
  }

  private static func prepare(_ folder: URL) throws -> [String] {
    try makeCertificates(folder)
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
    return [
      "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,EXPIRED:SSL,STRANGER:SSL",
      "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512",
      "listener.name.sasl_ssl.plain.sasl.jaas.config=\(plain) required user_alice=\"alice-secret\" user_bob=\"bob-secret\" user_carol=\"carol-secret\";",
      "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\(scram) required;",
      "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
      "super.users=User:ANONYMOUS;User:alice",
    ]
      + [("sasl_ssl", "good"), ("expired", "expired"), ("stranger", "stranger")].flatMap { listener, certificate in
        [
          "listener.name.\(listener).ssl.keystore.location=\(folder.path)/\(certificate).p12",
          "listener.name.\(listener).ssl.keystore.password=changeit",
          "listener.name.\(listener).ssl.keystore.type=PKCS12",
        ]
      }
  }

  private static func makeCertificates(_ folder: URL) throws {
    func openssl(_ arguments: String...) throws {
      try Tool.run("/usr/bin/env", ["openssl"] + arguments)
    }
    func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
    for authority in ["ca", "other-ca"] {
      try openssl(
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=databus-test-\(authority)",
        "-keyout", path("\(authority).key"), "-out", path("\(authority).pem"))
    }
    for (name, host, days) in [
      ("good", "DNS:localhost,IP:127.0.0.1", "30"), ("expired", "DNS:localhost", "-1"),
      ("stranger", "DNS:elsewhere.example", "30"),
    ] {
      try openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=databus-test", "-keyout", path("\(name).key"), "-out",
        path("\(name).csr"))
      try "subjectAltName=\(host)\n".write(toFile: path("\(name).ext"), atomically: true, encoding: .utf8)
      try openssl(
        "x509", "-req", "-in", path("\(name).csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
        "-CAcreateserial", "-days", days, "-extfile", path("\(name).ext"), "-out", path("\(name).crt"))
      try openssl(
        "pkcs12", "-export", "-in", path("\(name).crt"), "-inkey", path("\(name).key"), "-certfile", path("ca.pem"),
        "-passout", "pass:changeit", "-out", path("\(name).p12"))
    }
  }
}
