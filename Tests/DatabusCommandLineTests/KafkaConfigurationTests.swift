import DatabusCommandLine
import DatabusCore
import Testing

/// What `validate` says of a `kafka` transport's settings; no broker is needed.
@Suite struct KafkaConfigurationTests {
  private static func text(_ properties: String) -> String {
    """
    {"pipeline": {"name": "p"}, "state": {"type": "memory"},
     "transports": {"k": {"type": "kafka", "bootstrapServers": "localhost:1", "properties": {\(properties)}}}}
    """
  }

  static let refused = [
    (
      #""sasl.mechanisme": "PLAIN""#, #"librdkafka refuses "sasl.mechanisme": it does not know it"#,
      #"did you mean "sasl.mechanism""#
    ),
    (#""fetch.wait.max.ms": "soon""#, #"librdkafka refuses "fetch.wait.max.ms": "#, "fetch.wait.max.ms"),
    (#""security.protocol": "TLS""#, #"librdkafka refuses "security.protocol": "#, "TLS"),
    (
      #""enable.auto.commit": "true""#, #""enable.auto.commit" cannot be set: a position is committed only once"#,
      "remove it"
    ),
    (#""group.id": "g""#, #""group.id" cannot be set: it is the pipeline's name"#, "remove it"),
    (#""enable.idempotence": "false""#, #""enable.idempotence" cannot be set"#, "must not stand twice"),
  ]

  @Test(arguments: refused)
  func propertiesThatCannotBeAreNamedWithTheReason(_ properties: String, _ says: String, _ hint: String) async throws {
    try await withFile(KafkaConfigurationTests.text(properties)) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .usage)
      let text = fixture.errors.text
      #expect(text.contains("\(path):2:") && text.contains("/transports/k/properties/"), "\(text)")
      #expect(text.contains(says) && text.contains(hint), "\(text)")
    }
  }

  @Test func passwordsAreNeverShown() async throws {
    let secrets = #""sasl.password": "hush-1", "ssl.key.password": "hush-2", "ssl.keystore.password": "hush-3""#
    try await withFile(KafkaConfigurationTests.text("\(secrets), \"security.protocol\": \"SASL_SSL\"")) { path in
      for words in [["validate", "--config", path], ["validate", "--config", path, "--json"]] {
        let fixture = CommandFixture()
        #expect(await fixture.run(words) == .done)
        #expect(!(fixture.output.text + fixture.errors.text).contains("hush"), "\(fixture.output.text)")
      }
    }
    // Next to something that is refused, or where it is of the wrong kind.
    for text in [
      "\(secrets), \"lingerms\": \"5\"", #""ssl.key.pem": "hush-4""#, #""sasl.password": ["hush-5"]"#,
      #""sasl.passwort": "hush-6""#,
    ] {
      try await withFile(KafkaConfigurationTests.text(text)) { path in
        let fixture = CommandFixture()
        _ = await fixture.run("validate", "--config", path)
        #expect(!(fixture.output.text + fixture.errors.text).contains("hush"), "\(fixture.errors.text)")
      }
    }
  }

  @Test func theSettingsAsTheyAreShownHideSecrets() throws {
    let configuration = try ConfigurationLoader(registry: BuiltInComponents.registry, environment: { _ in nil }).load(
      SourceText(name: "databus.json", KafkaConfigurationTests.text(#""sasl.password": "hush", "linger.ms": "5""#)),
      directory: "/srv")
    let settings = try #require(configuration.transport("k")).settings
    #expect(settings.stringMap("properties").contains { $0.name == "sasl.password" && $0.value == "hush" })
    let dump = settings.dump.prettyText
    #expect(dump.contains("linger.ms") && dump.contains("(secret)") && !dump.contains("hush"), "\(dump)")
  }
}
