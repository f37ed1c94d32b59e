import DatabusCommandLine
import DatabusCore
import Dispatcher
import Foundation
import RedisServerFixture
import Testing

/// The section `dispatcher` with the channels and stores that are built in.
struct DispatcherComponentsTests {
  private static func text(_ http: String, deduplication: String = #"{"type": "sqlite", "path": "d.db"}"#) -> String {
    """
    {"pipeline": {"name": "p"}, "state": {"type": "memory"}, "transports": {"t": {"type": "sqlite-log", "path": "l"}},
     "dispatcher": {"deduplication": \(deduplication), "channels": {"http": {\(http)}}}}
    """
  }

  @Test("a configuration that comes with the program is valid", arguments: ["all-in-one", "dispatcher"])
  func configuration(_ name: String) throws {
    let loader = ConfigurationLoader(registry: BuiltInComponents.registry, environment: { _ in nil })
    let configuration = try loader.load(
      path: DatabusProcess.configurations.appendingPathComponent("\(name).json").path)
    let dispatcher = try #require(DispatcherConfiguration(configuration, registry: BuiltInComponents.dispatcher))
    #expect(dispatcher.settings.results.map(\.stream) == ["results-http"])
    #expect(dispatcher.channels.map(\.name) == ["http"])
  }

  private static let notAllowed =
    "is no address, no block of addresses whose further bits are all 0, and no host's name"

  static let refused = [
    (#""allow": ["10.0.0.1/8"]"#, notAllowed), (#""allow": ["10.0.0.0/33"]"#, notAllowed),
    (#""allow": ["::1/129"]"#, notAllowed), (#""allow": ["10.0.0.0/08"]"#, notAllowed),
    (#""allow": ["hooks/8"]"#, notAllowed), (#""allow": ["10.1"]"#, notAllowed),
    (#""allow": ["*.internal"]"#, notAllowed), (#""allow": ["hooks.internal:80"]"#, notAllowed),
    (#""allow": ["127.0.0.1\u0000"]"#, notAllowed),
    (#""proxy": "socks5://hush@proxy:1""#, "the secret value is no URL of a proxy"),
    (#""userAgent": "a\nb""#, "is not printable ASCII"),
  ]

  @Test(arguments: refused)
  func whatTheChannelCannotUseIsToldWithItsPlace(_ settings: String, _ says: String) async throws {
    try await withFile(DispatcherComponentsTests.text(settings)) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .usage)
      let text = fixture.errors.text
      #expect(text.contains("\(path):2:") && text.contains("/dispatcher/channels/http/"), "\(text)")
      #expect(text.contains(says) && !text.contains("hush"), "\(text)")
    }
  }

  @Test func addressesBlocksAndNamesAreAllowed() async throws {
    let allow =
      #""allow": ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.7", "fd00::/8", "::1", "hooks.internal", "localhost", "a-b_c"]"#
    try await withFile(DispatcherComponentsTests.text(allow)) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .done, "\(fixture.errors.text)")
    }
  }

  @Test func filesCannotCarryRetries() async throws {
    let text = """
      {"pipeline": {"name": "p"}, "state": {"type": "memory"}, "transports": {"files": {"type": "file", "path": "."}},
       "dispatcher": {"deduplication": {"type": "sqlite", "path": "d.db"}}}
      """
    try await withFile(text) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .usage)
      let text = fixture.errors.text
      #expect(
        text.contains(#":2:16: /dispatcher: results and retries cannot be on "files": its type "file" has records"#),
        "\(text)")
    }
  }

  @Test func validateSaysWhatTheDispatcherWouldDo() async throws {
    let redis = #"{"type": "redis", "url": "redis://:hush@localhost", "password": "hush"}"#
    try await withFile(DispatcherComponentsTests.text("", deduplication: redis)) { path in
      let fixture = CommandFixture()
      #expect(await fixture.run("validate", "--config", path) == .done)
      let text = fixture.output.text
      for stream in ["results-http-retry-1m", "results-http-retry-6h", "p-dispatcher-dead-letters"] {
        #expect(text.contains(stream), "\(text)")
      }
      #expect(text.contains("Dispatcher: results-http by http; deduplication in redis, for 1d.\n"), "\(text)")
      let json = CommandFixture()
      #expect(await json.run("validate", "--config", path, "--json") == .done)
      #expect(
        json.output.text.contains("\"dispatcher\": {") && !json.output.text.contains("hush"), "\(json.output.text)")
    }
  }

  @Test func aStoreOfEachTypeOpensFromItsSettings() async throws {
    let server = try await RedisServer(.port, settings: ["--requirepass", "a@b", "--appendonly", "yes"])
    try await withFile("{}") { path in
      for settings in [
        #"{"type": "sqlite", "path": "d.db"}"#, #"{"type": "redis", "url": "\#(server.url)", "password": "a@b"}"#,
      ] {
        let configuration = try ConfigurationLoader(registry: BuiltInComponents.registry, environment: { _ in nil })
          .load(
            SourceText(name: "databus.json", DispatcherComponentsTests.text("", deduplication: settings)),
            directory: FilePaths.directory(of: path))
        let dispatcher = try #require(DispatcherConfiguration(configuration, registry: BuiltInComponents.dispatcher))
        let type = try #require(BuiltInComponents.dispatcher.store(dispatcher.deduplication.type))
        let store = try await type.make(
          dispatcher.deduplication.settings, DeduplicationStoreContext(pipeline: configuration.pipeline.name))
        let claim = DeduplicationRequest.Claim(
          id: DeliveryID(high: 1, low: 2), token: 1, lease: .seconds(20), retention: .seconds(60))
        #expect(try await store.process([.claim(claim)]) == [.granted(attempts: 0, isOutcomeUnknown: false)])
        let tool = try await type.make(
          dispatcher.deduplication.settings,
          DeduplicationStoreContext(pipeline: configuration.pipeline.name, access: .tool))
        #expect(try await tool.marks() == [])
        await tool.close()
        await store.close()
      }
    }
  }

  @Test func anotherProgramsChannelAndStoreAreKnown() throws {
    let components: [DatabusCommand.Component] = [
      .deliveryChannel(
        DeliveryChannelType(
          "pigeon", schemes: ["pigeon"],
          settings: ObjectDeclaration(
            "Under a wing.", [FieldDeclaration("loft", .path, required: true, "Where they live.")])
        ) { _, _ in throw TransportError(.fatal, "no pigeons") }),
      .deduplicationStore(
        DeduplicationStoreType("notebook", settings: ObjectDeclaration("On paper.", [])) { _, _ in
          throw DeduplicationError.unusable("no paper")
        }),
    ]
    let loader = ConfigurationLoader(registry: DatabusCommand.registry(components), environment: { _ in nil })
    let configuration = try loader.load(
      SourceText(
        name: "databus.json",
        """
        {"pipeline": {"name": "p", "results": {"streams": {"pigeon": "flown"}}}, "state": {"type": "memory"},
         "transports": {"t": {"type": "sqlite-log", "path": "l"}},
         "dispatcher": {"deduplication": {"type": "notebook"}, "channels": {"pigeon": {"loft": "roof"}}}}
        """))
    let dispatcher = try #require(
      DispatcherConfiguration(configuration, registry: DatabusCommand.dispatcher(components)))
    #expect(dispatcher.settings.results.map(\.stream) == ["flown"])
    #expect(dispatcher.channels.map(\.name) == ["pigeon"])
    #expect(dispatcher.deduplication.type == "notebook")
  }
}
