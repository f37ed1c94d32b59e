import DatabusCommandLine
import DatabusCore
import Foundation
import RedisServerFixture
import Testing

struct BuiltInComponentsTests {
  private func load(_ text: String, directory: String) throws -> DatabusConfiguration {
    try ConfigurationLoader(registry: BuiltInComponents.registry, environment: { _ in nil }).load(
      SourceText(name: "databus.json", text), directory: directory)
  }

  private static let transports = [
    #"{"type": "sqlite-log", "path": "log.db", "retention": {"events": {"age": "7d", "force": true}}}"#,
    #"{"type": "file", "path": ".", "streams": {"events": {"paths": ["a.jsonl"], "follow": true}}}"#,
    #"{"type": "memory"}"#,
  ]

  @Test("a transport of each type opens from its settings", arguments: transports)
  func transport(_ settings: String) async throws {
    try await withFile("{}") { path in
      let directory = FilePaths.directory(of: path)
      // The file transport reads files that are there.
      try "".write(toFile: "\(directory)/results-http.jsonl", atomically: true, encoding: .utf8)
      let configuration = try load(
        #"{"pipeline": {"name": "p"}, "transports": {"t": \#(settings)}, "state": {"type": "memory"}}"#,
        directory: directory)
      let one = try #require(configuration.transports.first)
      let type = try #require(BuiltInComponents.registry.transport(one.type))
      let transport = try await type.make(one.settings, configuration.context(named: one.name))
      let source = try await transport.makeSource("results-http", .group("p"))
      // What validation is told must be what the source then says.
      #expect(type.capabilities(one.settings).source?.seeksByTime == source.capabilities.seeksByTime)
      #expect(type.capabilities(one.settings).source?.commits == source.capabilities.commits)
      await source.close()
      await transport.close()
    }
  }

  @Test(
    "a state backend of each type opens from its settings", arguments: [#""sqlite", "path": "s.db""#, #""memory""#])
  func state(_ settings: String) async throws {
    try await withFile("{}") { path in
      let configuration = try load(
        #"{"pipeline": {"name": "p"}, "transports": {"t": {"type": "memory"}}, "state": {"type": \#(settings)}}"#,
        directory: FilePaths.directory(of: path))
      let type = try #require(BuiltInComponents.registry.stateBackend(configuration.state.type))
      let state = try await type.make(configuration.state.settings, configuration.context(named: "state"))
      #expect(state.capabilities == type.capabilities)
      await state.close()
    }
  }

  @Test func stateInRedisOpensFromItsSettings() async throws {
    let server = try await RedisServer(.port, settings: ["--requirepass", "a@b", "--appendonly", "yes"])
    func open(_ settings: String) async throws -> any StateBackend {
      let configuration = try load(
        #"{"pipeline": {"name": "p"}, "transports": {"t": {"type": "memory"}}, "state": {"type": "redis", \#(settings)}}"#,
        directory: "/")
      let type = try #require(BuiltInComponents.registry.stateBackend("redis"))
      let state = try await type.make(configuration.state.settings, configuration.context(named: "state"))
      #expect(state.capabilities == type.capabilities)
      // Neither the URL nor what is in it is shown.
      #expect(!configuration.state.settings.dump.prettyText.contains("a@b"))
      #expect(!configuration.state.settings.dump.prettyText.contains("a%40b"))
      return state
    }
    let one = try await open(#""url": "\#(server.url)", "username": "default", "password": "a@b", "timeout": "2s""#)
    let two = try await open(
      #""url": "\#(server.url.replacingOccurrences(of: "//", with: "//default:a%40b@"))", "keyPrefix": "other""#)
    #expect(one.id != two.id)
    #expect(
      try server.cli("KEYS", "*:id", password: "a@b").split(separator: "\n").sorted() == [
        "databus:{p}:id", "other:{p}:id",
      ])
    await one.close()
    await two.close()
  }

  @Test(arguments: [
    (#""url": "rediss://u:hush@h""#, "stunnel"), (#""url": "h:6379""#, "is no URL"),
    (#""url": "redis://u:hush@h", "keyPrefix": "a{b}""#, "keyPrefix"),
    (#""url": "redis://h", "password": """#, "password"),
  ])
  func settingsOfRedisThatCannotBeAreRefused(_ settings: String, _ part: String) {
    let error = #expect(throws: ConfigurationError.self) {
      try load(
        #"{"pipeline": {"name": "p"}, "transports": {"t": {"type": "memory"}}, "state": {"type": "redis", \#(settings)}}"#,
        directory: "/")
    }
    let text = "\(error as Any)"
    #expect(text.contains(part) && !text.contains("hush"), "\(text)")
  }

  @Test func theExampleOfTheDesignIsValid() throws {
    let configuration = try load(
      """
      {"pipeline": {"name": "quickstart",
         "events": {"transport": "local", "stream": "events", "start": "earliest", "onGap": "continue", "identity": "auto"},
         "rules": {"transport": "local", "stream": "rules", "consistency": "default"},
         "results": {"transport": "local", "headers": false, "streams": {"https": "results-http", "http": "results-http"}},
         "deadLetters": {"transport": "local", "stream": "quickstart-dead-letters"}},
       "transports": {"local": {"type": "sqlite-log", "path": "databus-log.db"}},
       "state": {"type": "sqlite", "path": "databus-state.db"}, "checkpoint": {"interval": "1s", "records": 100000}, "limits": {}}
      """, directory: "/srv")
    #expect(configuration.transport("local")?.settings.string("path") == "/srv/databus-log.db")
    #expect(configuration.limits == Limits())
  }
}
