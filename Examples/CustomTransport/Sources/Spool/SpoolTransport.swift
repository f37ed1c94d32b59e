import DatabusCore
import Foundation

/// Streams as directories with one file per record. One partition; no keys, headers or timestamps; positions live in the state.
public struct SpoolTransport: Transport {
  static let sourceCapabilities = SourceCapabilities(
    commits: false, groups: false, timestamps: false, keys: false, headers: false, tombstones: false)
  static let sinkCapabilities = SinkCapabilities(
    maximumInFlight: 1024, maximumRecordBytes: 1 << 20, keys: false, headers: false, tombstones: false)

  /// What the JSON file knows it by: `{"type": "spool", "path": "data"}`.
  public static let type = TransportType(
    "spool",
    settings: ObjectDeclaration(
      "Streams as directories with one file per record.",
      [
        FieldDeclaration(
          "path", .path, required: true, example: "data", "The directory of the streams; made at first use.")
      ]),
    capabilities: TransportCapabilities(source: sourceCapabilities, sink: sinkCapabilities)
  ) { settings, _ in SpoolTransport(path: settings.string("path")) }

  let path: String

  public init(path: String) { self.path = path }

  public func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    SpoolSource(try SpoolDirectory(root: path, stream: stream), mode)
  }

  public func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    SpoolSink(try SpoolDirectory(root: path, stream: stream), completions)
  }

  /// Appends one record, as another program would that writes to the directory.
  public func append(_ value: [UInt8], to stream: String) throws {
    try SpoolDirectory(root: path, stream: stream).append([value])
  }

  // MARK: Streams

  public func topics() async throws -> [TopicDescription] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
    return try names.filter { !$0.hasPrefix(".") }.sorted().map { name in
      let directory = try SpoolDirectory(root: path, stream: name)
      return try TopicDescription(name: name, partitions: [directory.partition()], bounds: [directory.bounds()])
    }
  }

  public func createTopic(_ name: String, partitions: Int) async throws {
    if partitions != 1 { throw TransportError(.transport, "A spool has one partition; \(partitions) were asked for.") }
    _ = try SpoolDirectory(root: path, stream: name)
  }

  public func deleteTopic(_ name: String) async throws {
    let directory = try SpoolDirectory(root: path, stream: name)
    try translated("remove \(directory.path)") { try FileManager.default.removeItem(atPath: directory.path) }
  }
}
