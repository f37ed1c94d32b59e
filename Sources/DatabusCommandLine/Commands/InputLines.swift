import DatabusCore

#if canImport(Glibc)
  import Glibc
#endif

/// Lines of a file or of standard input, a block at a time, read on a thread of its own.
actor InputLines {
  /// What an operand `[FILE|JSON|-]` names.
  enum Source: Sendable, Equatable {
    case standardInput
    case file(String)
    case text(String)

    /// - Parameter operand: nil and `-` are standard input; what begins like a JSON object is JSON.
    init(_ operand: String?) {
      guard let operand, operand != "-" else {
        self = .standardInput
        return
      }
      let first = operand.first { !$0.isWhitespace }
      self = first == "{" || first == "[" ? .text(operand) : .file(operand)
    }

    /// For messages.
    var name: String {
      switch self {
      case .standardInput: "standard input"
      case .file(let path): path
      case .text: "the argument"
      }
    }
  }

  struct Line: Sendable {
    /// From 1.
    var number: Int
    var bytes: [UInt8]
  }

  private static let blockBytes = 256 << 10

  private let worker = WorkerThread(name: "databus-input")
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }
  nonisolated let source: Source
  /// Somebody types: lines come one at a time.
  nonisolated let isTerminal: Bool
  private let descriptor: Int32
  /// Where somebody who types is asked for a line.
  private nonisolated let prompts: Output?
  private var rest: [UInt8] = []
  private var lastNumber = 0
  private var isAtEnd = false

  /// - Parameter prompts: where somebody who types is asked for the next line.
  /// - Throws: `CommandFailure` where a file cannot be opened.
  init(_ source: Source, prompts: Output? = nil) throws {
    self.source = source
    self.prompts = prompts
    switch source {
    case .standardInput:
      descriptor = STDIN_FILENO
      isTerminal = isatty(STDIN_FILENO) == 1
    case .file(let path):
      descriptor = open(path, O_RDONLY | O_CLOEXEC)
      isTerminal = false
      if descriptor < 0 {
        throw CommandFailure(
          .usage, "\(path) cannot be read: \(String(cString: strerror(errno)))",
          hint: "name a file, JSON text, or - for standard input")
      }
    case .text(let text):
      descriptor = -1
      isTerminal = false
      rest = Array(text.utf8)
      isAtEnd = true
    }
  }

  deinit {
    if descriptor > STDERR_FILENO { close(descriptor) }
    worker.stop()
  }

  /// The whole input as one line: for JSON text that may be spread over lines.
  func whole() throws -> Line {
    while !isAtEnd { try fill() }
    defer { rest = [] }
    return Line(number: 1, bytes: rest)
  }

  /// Asks somebody who types for the next line.
  nonisolated func prompt() throws { if isTerminal { try prompts?.write("> ") } }

  /// The next lines that are there, without blank ones; waits for at least one. Empty at the end.
  func next() throws -> [Line] {
    while true {
      let before = lastNumber
      let lines = takeLines()
      if !lines.isEmpty { return lines }
      if isAtEnd { return [] }
      if lastNumber != before { try prompt() }
      try fill()
    }
  }

  private func fill() throws {
    var block = [UInt8](repeating: 0, count: InputLines.blockBytes)
    let count = block.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
    if count < 0 {
      if errno == EINTR { return }
      throw CommandFailure(.failed, "\(source.name) cannot be read: \(String(cString: strerror(errno)))")
    }
    if count == 0 { isAtEnd = true }
    rest += block[..<count]
  }

  private func takeLines() -> [Line] {
    var lines: [Line] = []
    var start = 0
    func add(_ end: Int) {
      lastNumber += 1
      var line = rest[start..<end]
      if line.last == 13 { line.removeLast() }
      let isBlank = line.allSatisfy { $0 == 0x20 || $0 == 0x09 }
      if !isBlank { lines.append(Line(number: lastNumber, bytes: Array(line))) }
    }
    while let newline = rest[start...].firstIndex(of: 10) {
      add(newline)
      start = newline + 1
    }
    if isAtEnd, start < rest.count {
      add(rest.count)
      start = rest.count
    }
    rest.removeFirst(start)
    return lines
  }
}
