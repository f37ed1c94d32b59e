import DatabusCore
import Dispatcher

/// Channels, stores and transports as a program would register them, and configurations that use them.
enum DispatcherFixture {
  /// A signing key, and one that replaced another.
  static let key = "whsec_aHVzaGh1c2hodXNoaHVzaGh1c2hodXNo"
  static let oldKey = "whsec_b2xkZXJvbGRlcm9sZGVyb2xkZXJvbGRlcm9sZGVy"

  static let dispatcher = DispatcherRegistry(
    channels: [
      DeliveryChannelType(
        "http", schemes: ["http", "https"],
        settings: ObjectDeclaration(
          "Over HTTP.", [FieldDeclaration("userAgent", .string(), default: "databus", "A header.")])
      ) { _, _ in throw DeduplicationError.unusable("a fixture sends nothing") },
      DeliveryChannelType(
        "pigeon", schemes: ["pigeon"],
        settings: ObjectDeclaration(
          "Under a wing.", [FieldDeclaration("loft", .string(), required: true, example: "roof", "Where they live.")])
      ) { _, _ in throw DeduplicationError.unusable("a fixture has no pigeons") },
    ],
    stores: [
      DeduplicationStoreType(
        "sqlite",
        settings: ObjectDeclaration("In a file.", [FieldDeclaration("path", .path, required: true, "The file.")])
      ) { _, _ in throw DeduplicationError.unusable("a fixture remembers nothing") },
      DeduplicationStoreType(
        "redis",
        settings: ObjectDeclaration(
          "In Redis.", [FieldDeclaration("password", .string(), secret: true, "The password.")])
      ) { _, _ in throw DeduplicationError.unusable("a fixture remembers nothing") },
    ])

  private static func transport(_ name: String, _ capabilities: TransportCapabilities) -> TransportType {
    TransportType(name, settings: ObjectDeclaration("A transport.", []), capabilities: capabilities) { _, _ in
      throw TransportError(.fatal, "a fixture carries nothing")
    }
  }

  static let registry = ComponentRegistry(
    transports: [
      transport("log", TransportCapabilities()),
      transport(
        "lines",
        TransportCapabilities(
          source: SourceCapabilities(keys: false, headers: false), sink: SinkCapabilities(keys: false, headers: false))),
      transport("once", TransportCapabilities(source: SourceCapabilities(replayable: false))),
      transport("write-only", TransportCapabilities(source: nil)),
      transport("read-only", TransportCapabilities(sink: nil)),
    ],
    stateBackends: [
      StateBackendType(
        "memory", settings: ObjectDeclaration("None.", []),
        capabilities: StateCapabilities(isShared: false, isDurable: false)
      ) { _, _ in throw StateError.unusable("a fixture has no state") }
    ], sections: [dispatcher.section])

  /// A configuration with these members of `dispatcher` beside `deduplication`.
  static func text(
    _ members: String = "", pipeline: String = #"{"name": "p"}"#, transports: String = #"{"l": {"type": "log"}}"#,
    deduplication: String = #"{"type": "sqlite", "path": "d.db"}"#, state: String = #"{"type": "memory"}"#,
    section: String? = nil
  ) -> String {
    let more = members.isEmpty ? "" : ",\n    \(members)"
    return """
      {
        "pipeline": \(pipeline),
        "transports": \(transports),
        "state": \(state),
        "dispatcher": \(section ?? "{\n    \"deduplication\": \(deduplication)\(more)\n  }")
      }
      """
  }

  static func load(
    _ text: String, environment: [String: String] = [:], files: [String: String] = [:]
  ) throws(ConfigurationError) -> DatabusConfiguration {
    try ConfigurationLoader(
      registry: registry, environment: { environment[$0] },
      contents: { path throws(FileReadError) in
        guard let text = files[path] else { throw FileReadError(reason: "there is no such file") }
        return Array(text.utf8)
      }
    ).load(SourceText(name: "databus.json", text), directory: "/etc/databus")
  }

  static func diagnostics(_ text: String) -> [Diagnostic] {
    do throws(ConfigurationError) {
      _ = try load(text)
      return []
    } catch {
      return error.diagnostics
    }
  }

  /// The text without its one "▸", and the line and column that it stood before, from 1 and in bytes.
  static func unmarked(_ text: String) -> (text: String, line: Int, column: Int) {
    let parts = text.split(separator: "▸", maxSplits: 1, omittingEmptySubsequences: false)
    let before = parts[0].split(separator: "\n", omittingEmptySubsequences: false)
    return (parts.joined(), before.count, (before.last?.utf8.count ?? 0) + 1)
  }
}
