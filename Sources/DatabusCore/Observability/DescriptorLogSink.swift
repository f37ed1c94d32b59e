#if canImport(Glibc)
  import Glibc
#endif

/// Writes log lines to a file descriptor, one `write` a line, so that lines of several threads never mix. A line that the
/// system does not take is dropped: there is nowhere to say so.
public struct DescriptorLogSink: LogSink {
  public let descriptor: Int32
  public let format: LogFormat

  public init(descriptor: Int32, format: LogFormat) {
    self.descriptor = descriptor
    self.format = format
  }

  /// Standard error: text on a terminal, in colour unless `NO_COLOR` is set and not empty (no-color.org) or the terminal is
  /// `dumb`; JSON lines otherwise.
  ///
  /// - Parameter environment: the value of an environment variable; nil where it is not set.
  public static func standardError(environment: (String) -> String?) -> DescriptorLogSink {
    guard isatty(STDERR_FILENO) == 1 else { return DescriptorLogSink(descriptor: STDERR_FILENO, format: .json) }
    return DescriptorLogSink(
      descriptor: STDERR_FILENO, format: .text(color: allowsColor(environment: environment)))
  }

  /// Whether a terminal with this environment may be written to in colour.
  public static func allowsColor(environment: (String) -> String?) -> Bool {
    if let value = environment("NO_COLOR"), !value.isEmpty { return false }
    return environment("TERM") != "dumb"
  }

  public func write(_ line: LogLine) {
    var buffer = ByteBuffer(capacity: 512)
    format.append(line, to: &buffer)
    var written = 0
    while written < buffer.count {
      let count = Glibc.write(descriptor, buffer.base + written, buffer.count - written)
      if count < 0 {
        if errno == EINTR { continue }
        return
      }
      written += count
    }
  }
}
