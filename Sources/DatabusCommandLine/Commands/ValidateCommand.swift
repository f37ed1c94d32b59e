import DatabusCore
import Dispatcher

extension DatabusCommand {
  static let validate = Command(
    "validate", summary: "Check a configuration and say what would run",
    discussion: """
      Reads the configuration as `run` does, and opens nothing. Every problem is told at once with its place
      (file:line:column and JSON pointer) and what to do about it, causes first.

      Exit code 0: the configuration is valid; 2: it is not.
      """,
    examples: [
      .init("databus validate", "Check $DATABUS_CONFIG, else ./databus.json."),
      .init("databus validate --config production.json", "Check another file."),
      .init("databus validate --json | jq .diagnostics", "The problems as JSON objects."),
    ], options: [.config, .json]
  ) { arguments, context in
    let loader = ConfigurationLoader(registry: context.registry, environment: context.environment)
    let path = loader.path(option: arguments.value("config"))
    let configuration: DatabusConfiguration
    do throws(ConfigurationError) {
      configuration = try loader.load(path: path)
    } catch {
      guard arguments.flag("json") else { throw error }
      let result: JSONValue = [
        "file": JSONValue(.string(path)), "valid": false,
        "diagnostics": JSONValue(.array(error.diagnostics.map(\.json))),
      ]
      try context.output.write(result.prettyText + "\n")
      return .usage
    }
    try write(configuration, path, json: arguments.flag("json"), context)
    return .done
  }

  private static func write(
    _ configuration: DatabusConfiguration, _ path: String, json: Bool, _ context: CommandContext
  ) throws {
    let dispatcher = DispatcherConfiguration(configuration, registry: context.dispatcher)
    let flow = flow(configuration, dispatcher)
    if json {
      let result: JSONValue = [
        "file": JSONValue(.string(path)), "valid": true, "diagnostics": [],
        "pipeline": JSONValue(.string(configuration.pipeline.name)),
        "streams": JSONValue(
          .array(
            flow.map { row in
              [
                "role": JSONValue(.string(row.role)), "stream": JSONValue(.string(row.stream)),
                "transport": JSONValue(.string(row.transport)), "type": JSONValue(.string(row.type)),
              ]
            })), "state": configuration.state.settings.dump,
        "dispatcher": configuration.sections["dispatcher"]?.dump ?? JSONValue(.null),
        "admin": configuration.admin.map { JSONValue(.string(AdminServer.url($0, port: $0.port))) } ?? JSONValue(.null),
      ]
      return try context.output.write(result.prettyText + "\n")
    }
    var table = Table(["", "stream", "transport", "type"])
    for row in flow { table.add([row.role, row.stream, row.transport, row.type]) }
    let admin = configuration.admin.map { "Health and metrics: \(AdminServer.url($0, port: $0.port))\n" } ?? ""
    let dispatch =
      dispatcher.map { dispatcher in
        "Dispatcher: \(dispatcher.settings.results.map(\.stream).joined(separator: ", ")) by "
          + "\(dispatcher.channels.map(\.name).joined(separator: ", ")); deduplication in \(dispatcher.deduplication.type), "
          + "for \(Quantity.text(dispatcher.settings.memory)).\n"
      } ?? ""
    try context.output.write(
      """
      \(path): ok

      Pipeline "\(configuration.pipeline.name)" would run:

      \(table.text(width: context.terminal.width))
      State: \(configuration.state.type); a checkpoint every \(Quantity.text(configuration.checkpoint.interval)) or \
      \(configuration.checkpoint.records) records.
      \(dispatch)\(admin)
      """)
  }

  private struct Flow {
    var role: String
    var stream: String
    var transport: String
    var type: String
  }

  private static func flow(_ configuration: DatabusConfiguration, _ dispatcher: DispatcherConfiguration?) -> [Flow] {
    let pipeline = configuration.pipeline
    func row(_ role: String, _ stream: StreamReference) -> Flow {
      Flow(
        role: role, stream: stream.stream, transport: stream.transport,
        type: configuration.transport(stream.transport)?.type ?? "")
    }
    let results = pipeline.results.streams.sorted { $0.key < $1.key }.map { scheme, stream in
      row("results \(scheme)", StreamReference(transport: pipeline.results.transport, stream: stream))
    }
    var rows = [row("events", pipeline.events.stream), row("rules", pipeline.rules.stream)] + results
    rows.append(row("dead letters", pipeline.deadLetters))
    guard let dispatcher else { return rows }
    rows += dispatcher.settings.retryStreams.map { row("retries", $0) }
    rows.append(row("dispatcher's dead letters", dispatcher.deadLetters))
    return rows
  }
}
