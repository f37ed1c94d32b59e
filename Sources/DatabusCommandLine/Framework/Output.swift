import DatabusCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The reader of an output has gone away (`| head`). The program ends quietly.
public struct OutputClosed: Error, Sendable {
  public init() {}
}

/// Text to standard output, standard error or, in tests, to memory. Written at once on a terminal, otherwise in blocks:
/// `flush` at the end, and wherever somebody waits for a line.
public final class Output: Sendable {
  private let descriptor: Int32?
  public let isTerminal: Bool
  private let buffer: Mutex<[UInt8]>
  private static let blockBytes = 16_384

  /// - Parameter descriptor: nil keeps everything in memory.
  public init(descriptor: Int32?, isTerminal: Bool? = nil) {
    self.descriptor = descriptor
    self.isTerminal = isTerminal ?? descriptor.map { isatty($0) == 1 } ?? false
    buffer = Mutex([])
  }

  /// What was written and not yet handed to the system; all of it for an output in memory.
  public var text: String { buffer.withLock { String(decoding: $0, as: UTF8.self) } }

  /// - Throws: `OutputClosed`, or `CommandFailure` where the system does not take it (a full disk).
  public func write(_ text: String) throws {
    let isFull = buffer.withLock { buffer in
      buffer.append(contentsOf: text.utf8)
      return buffer.count >= Output.blockBytes
    }
    if isTerminal || isFull { try flush() }
  }

  public func flush() throws {
    guard let descriptor else { return }
    try buffer.withLock { buffer in
      defer { buffer.removeAll(keepingCapacity: true) }
      var written = 0
      while written < buffer.count {
        let count = buffer.withUnsafeBytes { bytes -> Int in
          let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
          return Glibc.write(descriptor, rest.baseAddress, rest.count)
        }
        if count >= 0 {
          written += count
        } else if errno == EPIPE {
          throw OutputClosed()
        } else if errno != EINTR {
          throw CommandFailure(.failed, "the output cannot be written: \(String(cString: strerror(errno)))")
        }
      }
    }
  }
}
