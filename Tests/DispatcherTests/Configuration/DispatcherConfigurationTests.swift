import DatabusCore
import Dispatcher
import Testing

struct DispatcherConfigurationTests {
  private func load(
    _ text: String, environment: [String: String] = [:], files: [String: String] = [:]
  ) throws -> DispatcherConfiguration {
    let configuration = try DispatcherFixture.load(text, environment: environment, files: files)
    return try #require(DispatcherConfiguration(configuration, registry: DispatcherFixture.dispatcher))
  }

  @Test func theShortestSectionHasAllDefaults() throws {
    let dispatcher = try load(DispatcherFixture.text())
    #expect(dispatcher.transport == "l")
    #expect(dispatcher.deduplication.type == "sqlite")
    #expect(dispatcher.deduplication.settings.string("path") == "/etc/databus/d.db")
    #expect(dispatcher.payloadBytes == 262_144)
    #expect(dispatcher.channels.map(\.name) == ["http"])
    #expect(dispatcher.deadLetters == StreamReference(transport: "l", stream: "p-dispatcher-dead-letters"))
    #expect(dispatcher.attempts == nil)
    #expect(dispatcher.drain == .seconds(20))
    let settings = dispatcher.settings
    #expect(settings.results == [StreamReference(transport: "l", stream: "results-http")])
    #expect(
      settings.retryStreams.map(\.stream) == ["1m", "10m", "1h", "6h"].map { "results-http-retry-\($0)" })
    // The defaults of the file are those of the engine.
    let own = DispatchSettings()
    #expect(settings.delivery == own.delivery && settings.retry == own.retry && settings.breaker == own.breaker)
    #expect((settings.mode, settings.memory) == (own.mode, own.memory))
    #expect((settings.slots, settings.queue) == (own.slots, own.queue))
    #expect(settings.destinations.isEmpty)
  }

  @Test func aFileWithoutTheSectionHasNoDispatcher() throws {
    let configuration = try DispatcherFixture.load(
      #"{"pipeline": {"name": "p"}, "transports": {"l": {"type": "log"}}, "state": {"type": "memory"}}"#)
    #expect(DispatcherConfiguration(configuration, registry: DispatcherFixture.dispatcher) == nil)
  }

  @Test func everythingSpelledOutIsTaken() throws {
    let dispatcher = try load(
      DispatcherFixture.text(
        #"""
        "streams": ["flown", "out"],
        "delivery": {"mode": "at-most-once", "slots": 8, "payloadBytes": "1KiB", "timeout": "1s", "concurrency": 2,
          "queue": 3, "rate": 0.5, "format": "cloudevents-binary", "headers": {"x-a": "1"}, "secret": "s",
          "auth": {"type": "bearer", "secret": "s"}},
        "retry": {"attempts": 2, "age": "1h", "base": "2s", "cap": "3s", "retryAfterCap": "4s", "inMemory": "5s",
          "tiers": ["6s", "7s"]},
        "breaker": {"failures": 1, "share": 2, "window": "3s", "minimum": 4, "open": "5s", "maximumOpen": "6s",
          "successes": 7},
        "secrets": {
          "s": {"values": ["\#(DispatcherFixture.key)", "\#(DispatcherFixture.oldKey)"], "urls": ["https://A.example/b"]}},
        "channels": {"http": {"userAgent": "me"}, "pigeon": {"loft": "roof"}},
        "deadLetters": {"transport": "m", "stream": "dead"},
        "attempts": {"path": "a.db", "age": "1d", "records": 5},
        "drain": "0s"
        """#,
        pipeline: #"""
          {"name": "p", "events": {"transport": "l"}, "rules": {"transport": "l"},
           "results": {"transport": "m", "streams": {"HTTPS": "out", "pigeon": "flown", "mqtt": "elsewhere"}}}
          """#, transports: #"{"l": {"type": "log"}, "m": {"type": "log"}}"#,
        deduplication: #"{"type": "redis", "password": "hush", "ttl": "2h", "onUnavailable": "wait"}"#))
    #expect(dispatcher.transport == "m")
    let settings = dispatcher.settings
    #expect(settings.results == ["flown", "out"].map { StreamReference(transport: "m", stream: $0) })
    #expect(settings.memory == .seconds(7200))
    #expect(settings.mode == .atMostOnce)
    #expect((settings.slots, settings.queue, dispatcher.payloadBytes) == (8, 3, 1024))
    var delivery = DeliverySettings()
    delivery.timeout = .seconds(1)
    delivery.concurrency = 2
    delivery.rate = 0.5
    delivery.format = .binary
    delivery.headers = [DeliveryHeader("x-a", "1")]
    delivery.signingSecret = "s"
    delivery.authentication = .bearer(secret: "s")
    #expect(settings.delivery == delivery)
    #expect(settings.retry.attempts == 2 && settings.retry.age == .seconds(3600))
    #expect(settings.retry.base == .seconds(2) && settings.retry.cap == .seconds(3))
    #expect(settings.retry.retryAfterCap == .seconds(4) && settings.retry.inMemory == .seconds(5))
    #expect(settings.retry.tiers == [.seconds(6), .seconds(7)])
    #expect(settings.breaker.failures == 1 && settings.breaker.share == 2 && settings.breaker.minimum == 4)
    #expect(settings.breaker.window == .seconds(3) && settings.breaker.successes == 7)
    #expect(settings.breaker.open == .seconds(5) && settings.breaker.maximumOpen == .seconds(6))
    #expect(dispatcher.channels.map(\.name) == ["http", "pigeon"])
    #expect(dispatcher.channels.first?.settings.string("userAgent") == "me")
    #expect(dispatcher.channels.last?.settings.string("loft") == "roof")
    #expect(
      try dispatcher.secrets.secret("s", for: "https://a.example/b/c").get().values
        == [DispatcherFixture.key, DispatcherFixture.oldKey])
    #expect(throws: DeliveryRefusal.self) { try dispatcher.secrets.secret("s", for: "https://a.example/bc").get() }
    #expect(dispatcher.deadLetters == StreamReference(transport: "m", stream: "dead"))
    #expect(dispatcher.attempts == AttemptsConfiguration(path: "/etc/databus/a.db", age: .seconds(86_400), records: 5))
    #expect(dispatcher.drain == .zero)
  }

  @Test func rulesAndWhatIsDoneWithoutTheStoreAreRead() throws {
    let plain = try load(DispatcherFixture.text()).settings
    #expect(plain.rules == nil && plain.withoutStore == .wait)
    let settings = try load(
      DispatcherFixture.text(
        #""rules": true"#, pipeline: #"{"name": "p", "rules": {"transport": "l", "stream": "mine"}}"#,
        deduplication: #"{"type": "redis", "onUnavailable": "send"}"#)
    ).settings
    #expect(settings.rules?.stream == StreamReference(transport: "l", stream: "mine"))
    #expect(settings.rules?.schemes == ["http", "https"])
    #expect(settings.withoutStore == .send)
  }

  @Test func theFirstEntryThatMatchesCountsOverTheDefaults() throws {
    let dispatcher = try load(
      DispatcherFixture.text(
        #"""
        "secrets": {"s": {"value": "\#(DispatcherFixture.key)", "urls": ["https://a.example"]},
          "t": {"value": "v", "urls": ["https://a.example"]}},
        "delivery": {"timeout": "2s", "rate": 5, "headers": {"X-A": "1", "x-b": "2"}, "secret": "s"},
        "destinations": [
          {"match": "https://a.example/quiet/*", "secret": "none", "headers": {"x-a": "3"}},
          {"match": "https://a.example/*", "auth": {"type": "basic", "username": "u", "secret": "t"}, "timeout": "3s"}
        ]
        """#))
    let settings = dispatcher.settings
    let quiet = settings.settings(for: "https://a.example/quiet/x")
    #expect(quiet.signingSecret == nil)
    #expect(quiet.headers == [DeliveryHeader("x-b", "2"), DeliveryHeader("x-a", "3")])
    #expect((quiet.timeout, quiet.rate) == (.seconds(2), 5))
    let other = settings.settings(for: "https://a.example/loud")
    #expect(other.signingSecret == "s")
    #expect(other.authentication == .basic(username: "u", secret: "t"))
    #expect(other.timeout == .seconds(3))
    #expect(other.headers == settings.delivery.headers)
    #expect(settings.settings(for: "https://b.example/") == settings.delivery)
  }

  @Test func streamsOfSchemesWithoutChannelAreLeftToOthers() throws {
    let dispatcher = try load(
      DispatcherFixture.text(
        pipeline: #"{"name": "p", "results": {"streams": {"https": "b", "http": "a", "mqtt": "c", "pigeon": "d"}}}"#))
    #expect(dispatcher.settings.results.map(\.stream) == ["a", "b"])
    #expect(dispatcher.channels.map(\.name) == ["http"])
  }

  @Test func secretsComeFromVariablesAndFilesAndAreNotShown() throws {
    let text = DispatcherFixture.text(
      #"""
      "secrets": {
        "a": {"value": "${TOKEN}", "urls": ["https://a.example/"]},
        "b": {"values": ["${file:b.key}", "hush-older"], "urls": ["https://b.example/"]}
      },
      "delivery": {"headers": {"x-key": "hush-header"}}
      """#, deduplication: #"{"type": "redis", "password": "hush-redis"}"#)
    let files = ["/etc/databus/b.key": "hush-file\n"]
    let dispatcher = try load(text, environment: ["TOKEN": "hush-variable"], files: files)
    #expect(try dispatcher.secrets.secret("a", for: "https://a.example/x").get().values == ["hush-variable"])
    #expect(try dispatcher.secrets.secret("b", for: "https://b.example/").get().values == ["hush-file", "hush-older"])
    let configuration = try DispatcherFixture.load(text, environment: ["TOKEN": "hush-variable"], files: files)
    let dump = try #require(configuration.sections["dispatcher"]).dump.prettyText
    #expect(dump.contains("(secret)") && dump.contains("https://b.example/") && !dump.contains("hush"), "\(dump)")
  }

  @Test func aLeaseLeavesTimeToSayHowTheAttemptEnded() {
    #expect(DispatcherConfiguration.lease(timeout: .seconds(15)) == .seconds(20))
  }

  @Test func whatIsRegisteredIsInSchemaAndReference() throws {
    let schema = try JSONDocument.value(of: Array(ConfigurationSchema.json(DispatcherFixture.registry).utf8))
    let section = try #require(schema["properties"]?["dispatcher"]?["properties"])
    #expect(
      section["deduplication"]?["oneOf"]?.elements?.compactMap { $0["properties"]?["type"]?["const"]?.string } == [
        "sqlite", "redis",
      ])
    #expect(section["deduplication"]?["oneOf"]?.elements?.allSatisfy { $0["properties"]?["ttl"] != nil } == true)
    #expect(section["channels"]?["properties"]?["pigeon"]?["required"]?.elements?.compactMap(\.string) == ["loft"])
    let page = ConfigurationSchema.referencePage(DispatcherFixture.registry)
    for heading in ["deduplication` of type `redis`", "channels.pigeon`", "destinations[]`", "secrets.<name>`"] {
      #expect(page.contains("## `dispatcher.\(heading)\n"), "\(heading)")
    }
  }
}
