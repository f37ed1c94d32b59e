import DatabusCore
import FileTransport
import MemoryState
import MemoryTransport
import SQLiteLogTransport
import SQLiteState

#if canImport(Glibc)
  import Glibc
#endif

/// The transports and state backends that every program over this library has.
public enum BuiltInComponents {
  public static let registry = ComponentRegistry(
    transports: [sqliteLog, kafka, file, memory], stateBackends: [sqliteState, redisState, memoryState],
    sections: [dispatcher.section])

  // MARK: sqlite-log

  private static let retention = ObjectDeclaration(
    "How long records of a topic stay; without any limit, for ever.",
    [
      FieldDeclaration("age", .duration(.seconds(1)...(.seconds(1 << 32))), "Records older than this are removed."),
      FieldDeclaration(
        "bytes", .size(1...(1 << 50)), "The oldest records of a partition are removed above so many bytes."),
      FieldDeclaration(
        "records", .integer(1...(1 << 50)), "The oldest records of a partition are removed above this number."),
      FieldDeclaration(
        "force", .boolean, default: false,
        "Remove also what a consumer group has not read yet: it is then told of a gap."),
    ])

  static let sqliteLog = TransportType(
    "sqlite-log",
    settings: ObjectDeclaration(
      "Durable streams in one SQLite file on this machine: topics, partitions, consumer groups and retention.",
      [
        FieldDeclaration("path", .path, required: true, example: "databus-log.db", "The file; made at first use."),
        FieldDeclaration(
          "retention",
          .map(of: .object(retention), MapRule(nameMeaning: "a topic, or `*` for all that have none of their own")),
          default: [:], example: ["results-http": ["age": "7d"]], "How long records stay."),
        FieldDeclaration(
          "pollInterval", .duration(.milliseconds(1)...(.seconds(60))), default: "5ms",
          "How often a waiting reader looks whether another process has appended."),
      ]),
    capabilities: TransportCapabilities(source: SourceCapabilities(seeksByTime: true))
  ) { settings, context in
    var options = SQLiteLogOptions()
    options.pollInterval = settings.duration("pollInterval")
    for (topic, value) in settings.map("retention") {
      guard case .object(let limits) = value.content else { continue }
      options.retention[topic] = LogRetention(
        age: limits.optionalDuration("age"), bytes: limits.optionalSize("bytes"),
        records: limits.optionalInteger("records"), force: limits.boolean("force"))
    }
    return try await SQLiteLog(path: settings.string("path"), options: options, clock: context.clock)
  }

  // MARK: file

  private static let fileStream = ObjectDeclaration(
    "The files of one stream.",
    [
      FieldDeclaration(
        "paths", .array(of: .path, count: 1...1_000_000), required: true, example: ["-"],
        "Its files in the order of their partitions; a stream that is written to has one. `-` is standard input or output."
      ),
      FieldDeclaration("follow", .boolean, defaultMeaning: "the transport's", "Read on as its files grow."),
    ])

  @Sendable
  private static func fileCapabilities(_ settings: ConfigurationObject) -> TransportCapabilities {
    let usesStandardInput = settings.map("streams").contains { entry in
      guard case .object(let stream) = entry.value.content else { return false }
      return stream.strings("paths").contains("-")
    }
    return TransportCapabilities(
      source: SourceCapabilities(
        replayable: !usesStandardInput, commits: false, groups: false, timestamps: false, keys: false, headers: false,
        tombstones: false, finite: !settings.boolean("follow")),
      sink: SinkCapabilities(keys: false, headers: false, tombstones: false, confirmsOnFlush: true))
  }

  static let file = TransportType(
    "file",
    settings: ObjectDeclaration(
      "JSON lines in files, on standard input and on standard output: one record a line.",
      [
        FieldDeclaration(
          "path", .path, example: "data",
          "The directory of streams that `streams` does not name: `<path>/<stream>.jsonl`."
        ),
        FieldDeclaration(
          "streams", .map(of: .object(fileStream), MapRule(nameMeaning: "a stream")), default: [:],
          example: ["events": ["paths": ["-"]]], "The files of streams by their names."),
        FieldDeclaration(
          "follow", .boolean, default: false,
          "Read on as files grow, are rotated and are truncated; otherwise a stream is over where its files end."),
        FieldDeclaration(
          "pollInterval", .duration(.milliseconds(1)...(.seconds(60))), default: "20ms",
          "How often a file that is followed is looked at."),
        FieldDeclaration(
          "rotationGrace", .duration(.milliseconds(1)...(.seconds(86_400))), default: "5s",
          "How long a renamed or deleted file is still watched since its last growth."),
      ]),
    capabilities: fileCapabilities
  ) { settings, context in
    var streams: [String: FileTransportConfiguration.Stream] = [:]
    for (name, value) in settings.map("streams") {
      guard case .object(let stream) = value.content else { continue }
      streams[name] = .init(paths: stream.strings("paths"), follow: stream.optionalBoolean("follow"))
    }
    let configuration = FileTransportConfiguration(
      directory: settings.optionalString("path"), streams: streams, follow: settings.boolean("follow"),
      maximumLineBytes: max(context.limits.eventBytes, context.limits.ruleBytes),
      pollInterval: settings.duration("pollInterval"), rotationGrace: settings.duration("rotationGrace"))
    guard let state = context.state else { return FileTransport(configuration: configuration) }
    return FileTransport(
      configuration: configuration,
      identities: StateFileIdentities(state, isWritable: context.access == .pipeline))
  }

  // MARK: memory

  static let memory = TransportType(
    "memory",
    settings: ObjectDeclaration(
      "Streams inside the process, for tests: nobody else can see them, and they end with it.",
      [
        FieldDeclaration(
          "partitions", .integer(1...10_000), default: 1, "Partitions of a stream, made at its first use.")
      ]),
    capabilities: TransportCapabilities(
      source: SourceCapabilities(seeksByTime: true), sink: SinkCapabilities(maximumRecordBytes: 16 << 20))
  ) { settings, _ in
    var options = MemoryTransport.Options()
    options.partitions = settings.integer("partitions")
    return MemoryTransport(options: options)
  }

  // MARK: State

  static let sqliteState = StateBackendType(
    "sqlite",
    settings: ObjectDeclaration(
      "State in one SQLite file: one process writes it, tools read it.",
      [FieldDeclaration("path", .path, required: true, example: "databus-state.db", "The file; made at first use.")]),
    capabilities: StateCapabilities(isShared: false, isDurable: true)
  ) { settings, context in
    let path = settings.string("path")
    if context.access == .pipeline { return try await SQLiteState(path: path, pipeline: context.pipeline) }
    // A pipeline that has never run has no state yet.
    if access(path, F_OK) != 0, errno == ENOENT { return MemoryState() }
    // One that is being made at this moment has none either, and will have in another.
    let deadline = context.clock.now() + .seconds(1)
    while true {
      do {
        return try await SQLiteState(path: path, pipeline: context.pipeline, access: .reader)
      } catch StateError.unavailable(let reason) {
        if context.clock.now() >= deadline { throw StateError.unavailable(reason) }
        try await context.clock.sleep(for: .milliseconds(5))
      }
    }
  }

  static let memoryState = StateBackendType(
    "memory",
    settings: ObjectDeclaration("State inside the process: it ends with it, and every start is the first.", []),
    capabilities: StateCapabilities(isShared: false, isDurable: false)
  ) { _, _ in MemoryState() }
}
