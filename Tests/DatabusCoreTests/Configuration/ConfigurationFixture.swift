import DatabusCore

struct NoSuchTransport: Transport {
  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    throw TransportError(.fatal, "a fixture has no sources")
  }
  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    throw TransportError(.fatal, "a fixture has no sinks")
  }
}

/// Components as somebody else's program would register them, and configurations that use them.
enum ConfigurationFixture {
  static let registry = ComponentRegistry(
    transports: [
      TransportType(
        "sqlite-log",
        settings: ObjectDeclaration(
          "A log in one SQLite file.",
          [
            FieldDeclaration("path", .path, required: true, example: "databus-log.db", "The file."),
            FieldDeclaration("partitions", .integer(1...1024), default: 1, "Partitions of a new topic."),
            FieldDeclaration("maximumBytes", .size(1024...(1 << 40)), "How large the file may become."),
          ]), capabilities: TransportCapabilities(source: SourceCapabilities(seeksByTime: true))
      ) { _, _ in NoSuchTransport() },
      TransportType(
        "kafka-like",
        settings: ObjectDeclaration(
          "A transport with properties that are passed on.",
          [
            FieldDeclaration(
              "properties",
              .map(
                of: .string(),
                MapRule(
                  reserved: ["enable.auto.commit": "positions are committed by checkpoints only"],
                  secret: ["sasl.password"])), default: [:], "Passed on as they are."),
            FieldDeclaration("password", .string(StringRule(length: 8...64)), secret: true, "The password."),
            FieldDeclaration("port", .integer(1...65535), default: 9092, "The port."),
          ]), capabilities: TransportCapabilities(sink: SinkCapabilities(headers: false))
      ) { _, _ in NoSuchTransport() },
      TransportType(
        "read-only", settings: ObjectDeclaration("Only read from.", []),
        capabilities: TransportCapabilities(sink: nil)
      ) { _, _ in NoSuchTransport() },
      TransportType(
        "write-only", settings: ObjectDeclaration("Only written to.", []),
        capabilities: TransportCapabilities(source: nil)
      ) { _, _ in NoSuchTransport() },
    ],
    stateBackends: [
      StateBackendType(
        "sqlite",
        settings: ObjectDeclaration(
          "State in one SQLite file.", [FieldDeclaration("path", .path, required: true, "The file.")]),
        capabilities: StateCapabilities(isShared: false, isDurable: true)
      ) { _, _ in throw StateError.unusable("a fixture has no state") }
    ])

  static func loader(
    environment: [String: String] = [:], files: [String: String] = [:]
  ) -> ConfigurationLoader {
    ConfigurationLoader(
      registry: registry, environment: { environment[$0] },
      contents: { path throws(FileReadError) in
        guard let text = files[path] else { throw FileReadError(reason: "there is no such file") }
        return Array(text.utf8)
      })
  }

  /// The shortest configuration there is, with a member of each section replaced or added.
  static func text(
    pipeline: String = #"{"name": "quickstart"}"#,
    transports: String = #"{"local": {"type": "sqlite-log", "path": "log.db"}}"#,
    state: String = #"{"type": "sqlite", "path": "state.db"}"#, more: String = ""
  ) -> String {
    """
    {
      "pipeline": \(pipeline),
      "transports": \(transports),
      "state": \(state)\(more.isEmpty ? "" : ",\n  " + more)
    }
    """
  }

  static func diagnostics(
    _ text: String, environment: [String: String] = [:], files: [String: String] = [:]
  ) -> [Diagnostic] {
    do throws(ConfigurationError) {
      _ = try loader(environment: environment, files: files).load(
        SourceText(name: "databus.json", text), directory: "/etc/databus")
      return []
    } catch {
      return error.diagnostics
    }
  }
}
