import DatabusCommandLine
import DatabusCore
import Foundation
import Synchronization

struct DiscardingLogSink: LogSink {
  func write(_ line: LogLine) {}
}

/// A program run inside the test, with its output in memory.
struct CommandFixture {
  let output = Output(descriptor: nil)
  let errors = Output(descriptor: nil)
  var program = DatabusCommand.program
  var environment: [String: String] = [:]
  var width: Int?

  func run(_ words: String...) async -> ExitCode { await run(words) }

  func run(_ words: [String]) async -> ExitCode {
    let environment = environment
    let context = CommandContext(
      program: program, registry: CommandFixture.registry, output: output, errors: errors,
      terminal: Terminal(width: width, allowsColor: false), environment: { environment[$0] },
      logSink: DiscardingLogSink())
    return await DatabusCommand.run(words, context)
  }

  /// What another program's `main(registering:)` would make.
  static let registry = DatabusCommand.registry([
    .transport(
      TransportType(
        "pigeon",
        settings: ObjectDeclaration(
          "Carries records under a wing.",
          [FieldDeclaration("loft", .path, required: true, "Where the pigeons live.")])
      ) { _, _ in throw TransportError(.fatal, "no pigeons") }),
    .stateBackend(
      StateBackendType(
        "notebook", settings: ObjectDeclaration("State on paper.", []),
        capabilities: StateCapabilities(isShared: false, isDurable: true)
      ) { _, _ in throw StateError.unusable("no paper") }),
  ])

  static let valid = #"""
    {"pipeline": {"name": "p"}, "transports": {"air": {"type": "pigeon", "loft": "attic"}}, "state": {"type": "notebook"}}
    """#
}

/// Runs the body with a file that is removed afterwards.
func withFile<Result>(_ text: String, _ body: (String) async throws -> Result) async throws -> Result {
  let directory = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: directory) }
  let file = directory.appendingPathComponent("databus.json")
  try text.write(to: file, atomically: true, encoding: .utf8)
  return try await body(file.path)
}
