import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// JSON lines in files, on standard input and on standard output: one record a line, its position the byte where it
/// begins. No keys, headers, tombstones or timestamps, and no commits: positions live in the state backend.
public final class FileTransport: Transport {
  private let configuration: FileTransportConfiguration
  private let identities: any FileIdentityStore
  private let nonce: String

  /// - Parameter identities: what files are known by across restarts; by default as long as this process lasts.
  public init(
    configuration: FileTransportConfiguration, identities: any FileIdentityStore = MemoryFileIdentities()
  ) {
    self.configuration = configuration
    self.identities = identities
    nonce = configuration.runID ?? Incarnation.mint()
  }

  /// Opens the stream's files for reading.
  ///
  /// With `.everything`, reading starts without a `seek` (which is honoured all the same), and a followed file that is
  /// replaced or rewritten is told as `lost`, then `assigned` with a new generation and incarnation of the same partition
  /// index, and is read whole.
  public func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    let files = try configuration.files(of: stream)
    let settings = FileReader.Settings(
      configuration: configuration, follow: files.follow ?? configuration.follow, identities: identities, nonce: nonce)
    return try await FileSource(files, mode, settings)
  }

  /// Opens the stream's one file for appending; it is made where it is missing.
  public func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    let files = try configuration.files(of: stream)
    guard files.paths.count == 1, let path = files.paths.first else {
      throw TransportError(
        .transport, "The stream \"\(stream)\" has \(files.paths.count) paths: a stream that is written to has one.")
    }
    return try await FileSink.open(path, completions, bufferBytes: configuration.bufferBytes)
  }
}
