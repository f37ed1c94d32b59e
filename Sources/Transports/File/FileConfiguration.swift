import DatabusCore

/// What the file transport is told: where the streams' files are and how they are read.
///
/// A stream named in `streams` is read from, or written to, the paths that stand there; any other stream `name` is the file
/// `<directory>/<name>.jsonl`. The path `-` is standard input for a source and standard output for a
/// sink; `/dev/stderr` is standard error.
public struct FileTransportConfiguration: Sendable {
  /// The files of one stream.
  public struct Stream: Sendable, Hashable {
    /// In the order of their partitions. A sink takes exactly one.
    public var paths: [String]
    /// Whether the files are read on as they grow; nil: as the transport says.
    public var follow: Bool?

    public init(paths: [String], follow: Bool? = nil) {
      self.paths = paths
      self.follow = follow
    }
  }

  /// Where the streams are that `streams` does not name; nil: there are no others.
  public var directory: String?
  public var streams: [String: Stream]
  /// Whether sources read on as files grow, are rotated and are truncated, or end where the files end.
  public var follow: Bool
  /// Stands for the incarnation of every file, so that the same input gives the same delivery ids in every run; nil: a
  /// file is known by its `FileIdentity` and standard input by a nonce of this transport.
  public var runID: String?
  /// A line longer than this, in bytes, is delivered as its first `maximumLineBytes + 1` bytes, so that the engine
  /// sets it aside as too large; the rest is skipped in constant memory.
  public var maximumLineBytes: Int
  /// Bytes read at once, and the unit of reading ahead.
  public var blockBytes: Int
  /// How often a file that is followed is looked at when it has nothing more.
  public var pollInterval: Duration
  /// How long a file that was renamed or deleted is still watched for what its writer adds, since its last growth.
  public var rotationGrace: Duration
  /// Bytes that a sink holds before it accepts no more.
  public var bufferBytes: Int

  public init(
    directory: String? = nil, streams: [String: Stream] = [:], follow: Bool = false, runID: String? = nil,
    maximumLineBytes: Int = 64 << 20, blockBytes: Int = 256 << 10, pollInterval: Duration = .milliseconds(20),
    rotationGrace: Duration = .seconds(5), bufferBytes: Int = 2 << 20
  ) {
    self.directory = directory
    self.streams = streams
    self.follow = follow
    self.runID = runID
    // Int32 is the width of a record's length.
    self.maximumLineBytes = min(max(maximumLineBytes, 1), Int(Int32.max) - 1)
    self.blockBytes = max(blockBytes, 64)
    self.pollInterval = max(pollInterval, .milliseconds(1))
    self.rotationGrace = rotationGrace
    self.bufferBytes = max(bufferBytes, 1)
  }

  /// The files of a stream.
  func files(of stream: String) throws -> Stream {
    if let named = streams[stream] {
      guard !named.paths.isEmpty else {
        throw TransportError(.transport, "The stream \"\(stream)\" has no paths: name at least one file in \"paths\".")
      }
      return named
    }
    if let directory {
      guard !stream.isEmpty, !stream.contains("/"), !stream.utf8.contains(0) else {
        throw TransportError(
          .transport,
          "\"\(stream)\" cannot be the name of a file in \(directory): give the stream a path under \"streams\".")
      }
      return Stream(paths: ["\(directory)/\(stream).jsonl"])
    }
    throw TransportError(
      .transport,
      "The file transport knows no stream \"\(stream)\": give it a path under \"streams\", or set \"path\" to a directory."
    )
  }

  /// Whether the path stands for standard input or output.
  static func isStandard(_ path: String, input: Bool) -> Bool {
    path == "-" || path == (input ? "/dev/stdin" : "/dev/stdout")
  }
}
