import DatabusCore
import Testing

struct ConfigurationTests {
  private func load(
    _ text: String, environment: [String: String] = [:], files: [String: String] = [:]
  ) throws -> DatabusConfiguration {
    try ConfigurationFixture.loader(environment: environment, files: files).load(
      SourceText(name: "databus.json", text), directory: "/etc/databus")
  }

  @Test func theShortestConfigurationHasAllDefaults() throws {
    let configuration = try load(ConfigurationFixture.text())
    #expect(
      configuration.pipeline
        == PipelineConfiguration(
          name: "quickstart", events: EventsConfiguration(StreamReference(transport: "local", stream: "events")),
          rules: RulesConfiguration(StreamReference(transport: "local", stream: "rules")),
          results: ResultsConfiguration(transport: "local"),
          deadLetters: StreamReference(transport: "local", stream: "quickstart-dead-letters")))
    #expect(configuration.limits == Limits())
    #expect(configuration.checkpoint == CheckpointPolicy())
    #expect(configuration.state.type == "sqlite")
    #expect(configuration.admin == nil)
  }

  @Test func anAdminSectionHasDefaultsAndTakesAddressesOfBothKinds() throws {
    func admin(_ text: String) throws -> AdminConfiguration? {
      try load(ConfigurationFixture.text(more: "\"admin\": \(text)"), environment: ["PORT": "9000"]).admin
    }
    #expect(try admin("{}") == AdminConfiguration(address: "127.0.0.1", port: 9464))
    #expect(
      try admin(
        #"{"address": "::", "port": "${PORT}", "connections": 2, "headerBytes": "8KiB", "timeout": "1s"}"#)
        == AdminConfiguration(
          address: "::", port: 9000, connections: 2, headerBytes: 8192, timeout: .seconds(1)))
    #expect(try admin(#"{"address": "localhost", "port": 0}"#)?.port == 0)
    for address in ["", "here", "1.2.3", "1.2.3.4:80", "[::1]", "127.0.0.1 "] {
      #expect(throws: ConfigurationError.self) { _ = try admin("{\"address\": \"\(address)\"}") }
    }
  }

  @Test func everythingSpelledOutIsTaken() throws {
    let configuration = try load(
      ConfigurationFixture.text(
        pipeline: """
          {"name": "p", "events": {"transport": "b", "stream": "e", "start": "1970-01-01T00:00:01Z", "onGap": "park",
           "identity": "position"}, "rules": {"transport": "a", "stream": "r", "consistency": "strict"},
           "results": {"transport": "b", "headers": true, "streams": {"HTTPS": "out"}},
           "deadLetters": {"stream": "dead"}, "delivery": "at-least-once"}
          """,
        transports: #"{"a": {"type": "sqlite-log", "path": "a"}, "b": {"type": "sqlite-log", "path": "/b"}}"#,
        more: #""checkpoint": {"interval": "250ms", "records": 7}, "limits": {"eventBytes": "64KiB", "depth": 9}"#))
    let pipeline = configuration.pipeline
    #expect(pipeline.events.stream == StreamReference(transport: "b", stream: "e"))
    #expect(pipeline.events.start == .time(1000))
    #expect(pipeline.events.onGap == .park)
    #expect(pipeline.events.identity == .position)
    #expect(pipeline.rules == RulesConfiguration(StreamReference(transport: "a", stream: "r"), consistency: .strict))
    #expect(pipeline.results.headers)
    #expect(pipeline.results.streams == ["https": "out"])
    #expect(pipeline.deadLetters == StreamReference(transport: "b", stream: "dead"))
    #expect(configuration.checkpoint == CheckpointPolicy(interval: .milliseconds(250), records: 7))
    #expect(configuration.limits == Limits(eventBytes: 65_536, depth: 9))
  }

  @Test func relativePathsAreRelativeToTheFile() throws {
    let configuration = try load(
      ConfigurationFixture.text(
        transports: #"{"local": {"type": "sqlite-log", "path": "data/log.db"}}"#,
        state: #"{"type": "sqlite", "path": "/var/state.db"}"#))
    #expect(configuration.transport("local")?.settings.string("path") == "/etc/databus/data/log.db")
    #expect(configuration.state.settings.string("path") == "/var/state.db")
  }

  @Test func theFileIsFoundByOptionThenVariableThenName() {
    let set = ConfigurationFixture.loader(environment: ["DATABUS_CONFIG": "from-variable.json"])
    #expect(set.path(option: "given.json") == "given.json")
    #expect(set.path(option: nil) == "from-variable.json")
    #expect(ConfigurationFixture.loader().path(option: nil) == "databus.json")
  }

  @Test func aRegisteredMakerGetsItsSettingsAndItsPlace() async throws {
    var registry = ConfigurationFixture.registry
    registry.register(
      TransportType(
        "custom",
        settings: ObjectDeclaration("", [FieldDeclaration("greeting", .string(), required: true, "A word.")])
      ) { settings, context in
        throw TransportError(.fatal, "\(settings.string("greeting")) from \(context.name) of \(context.pipeline)")
      })
    let loader = ConfigurationLoader(registry: registry, environment: { _ in nil })
    let configuration = try loader.load(
      SourceText(
        name: "f", ConfigurationFixture.text(transports: #"{"mine": {"type": "custom", "greeting": "hello"}}"#)))
    let transport = try #require(configuration.transports.first)
    let make = try #require(registry.transport(transport.type)).make
    let error = await #expect(throws: TransportError.self) {
      try await make(transport.settings, configuration.context(named: transport.name))
    }
    #expect(error?.message == "hello from mine of quickstart")
  }

  @Test(
    "references in strings are replaced",
    arguments: [
      ("${NAME}", "value"), ("a${NAME}b${NAME}", "avaluebvalue"), ("${NONE:-else}", "else"), ("${NONE:-}", ""),
      ("$${NAME}", "${NAME}"), ("${EMPTY:-else}", "else"), ("$NAME $", "$NAME $"), ("${NONE:-a:-b}", "a:-b"),
    ])
  func substitution(_ text: String, _ expected: String) throws {
    let configuration = try load(
      ConfigurationFixture.text(
        transports: #"{"k": {"type": "kafka-like", "properties": {"x": "\#(text)"}}}"#),
      environment: ["NAME": "value", "EMPTY": ""])
    #expect(configuration.transports.first?.settings.stringMap("properties").first?.value == expected)
  }

  @Test func aReferenceMayStandForANumber() throws {
    let text = ConfigurationFixture.text(transports: #"{"k": {"type": "kafka-like", "port": "${PORT}"}}"#)
    #expect(try load(text, environment: ["PORT": "19092"]).transports.first?.settings.integer("port") == 19092)
    #expect(
      ConfigurationFixture.diagnostics(text, environment: ["PORT": "99999"]).map(\.message) == [
        "99999 is outside what is permitted"
      ])
  }

  @Test func aSecretNeverAppears() throws {
    let bad = ConfigurationFixture.text(
      transports: #"{"k": {"type": "kafka-like", "password": "hunter2", "port": "${file:/run/port}"}}"#)
    let shown = ConfigurationFixture.diagnostics(bad, files: ["/run/port": "s3cret\n"]).map(\.description).joined()
    #expect(shown.contains("/transports/k/password") && shown.contains("/transports/k/port"))
    #expect(!shown.contains("hunter2") && !shown.contains("s3cret"))

    let good = ConfigurationFixture.text(
      transports: """
        {"k": {"type": "kafka-like", "password": "correct horse",
               "properties": {"sasl.password": "tr0ub4dor", "ssl.key": "${file:/run/key}", "acks": "all"}}}
        """)
    let settings = try #require(try load(good, files: ["/run/key": "PRIVATE\r\n"]).transports.first?.settings)
    #expect(settings.optionalString("password") == "correct horse")
    #expect(settings.stringMap("properties").map(\.value) == ["tr0ub4dor", "PRIVATE", "all"])
    #expect(
      settings.dump.compactText
        == #"{"type": "kafka-like", "properties": {"sasl.password": "(secret)", "ssl.key": "(secret)", "acks": "all"}, "password": "(secret)", "port": 9092}"#
    )
  }

  @Test(
    "durations", arguments: [("250ms", 250), ("1s", 1000), ("5m", 300_000), ("1h", 3_600_000), ("7d", 604_800_000)])
  func durations(_ text: String, _ milliseconds: Int) {
    #expect(Quantity.duration(text) == .milliseconds(milliseconds))
    #expect(Quantity.text(.milliseconds(milliseconds)) == text)
  }

  @Test("no durations", arguments: ["", "1", "s", "1 s", "-1s", "1.5s", "1S", "9999999999999999999s", "99999999999d"])
  func noDurations(_ text: String) {
    #expect(Quantity.duration(text) == nil)
  }

  @Test("sizes", arguments: [("1000", 1000), ("64KiB", 65_536), ("16MiB", 16 << 20), ("2GiB", 2 << 30)])
  func sizes(_ text: String, _ bytes: Int) {
    #expect(Quantity.size(text) == bytes)
    #expect(Quantity.text(bytes: bytes) == text)
  }

  @Test("no sizes", arguments: ["", "KiB", "1kib", "-1", "1.5MiB", "9999999999TiB"])
  func noSizes(_ text: String) {
    #expect(Quantity.size(text) == nil)
  }

  @Test(
    "RFC 3339 times",
    arguments: [
      ("1970-01-01T00:00:00Z", 0), ("2000-02-29T12:00:00.5Z", 951_825_600_500), ("1969-12-31T23:59:59.999Z", -1),
      ("2026-11-23T01:30:00+02:00", 1_795_390_200_000), ("2024-12-31T23:59:59-00:30", 1_735_691_399_000),
    ])
  func times(_ text: String, _ milliseconds: Int64) {
    #expect(TimeText.milliseconds(rfc3339: text) == milliseconds)
    #expect(TimeText.milliseconds(rfc3339: TimeText.rfc3339(milliseconds: milliseconds)) == milliseconds)
  }

  @Test(
    "no times", arguments: ["", "2026-11-23", "2026-02-29T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T00:00:00"])
  func noTimes(_ text: String) {
    #expect(TimeText.milliseconds(rfc3339: text) == nil)
  }
}
