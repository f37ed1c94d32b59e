import Foundation
import Synchronization
import Testing

/// `databus` at a terminal of its own: what is typed goes in, what is shown comes out.
final class TerminalSession: Sendable {
  private let master: Int32
  private let running: Mutex<Process>
  private let shown = Mutex<[UInt8]>([])
  private let ended: AsyncStream<Int32>

  /// - Parameters:
  ///   - output: a file for standard output, in place of the terminal.
  ///   - environment: on top of the tests' own.
  init(
    _ arguments: [String], in databus: DatabusProcess, columns: UInt16 = 100, output: String? = nil,
    environment: [String: String] = [:]
  ) throws {
    var (master, descriptor): (Int32, Int32) = (-1, -1)
    var size = winsize(ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
    try #require(openpty(&master, &descriptor, nil, nil, &size) == 0)
    // The program has the terminal by its standard descriptors alone.
    for end in [master, descriptor] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    self.master = master
    let terminal = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
    let process = Process()
    process.executableURL = DatabusProcess.executable
    process.arguments = arguments
    process.currentDirectoryURL = databus.directory
    var all = ProcessInfo.processInfo.environment
    for name in ["DATABUS_CONFIG", "NO_COLOR"] { all[name] = nil }
    process.environment = all.merging(["TERM": "xterm"]) { $1 }.merging(environment) { $1 }
    process.standardInput = terminal
    process.standardError = terminal
    process.standardOutput = terminal
    if let output {
      try databus.write("", to: output)
      process.standardOutput = try FileHandle(forWritingTo: databus.directory.appendingPathComponent(output))
    }
    let (ended, continuation) = AsyncStream.makeStream(of: Int32.self)
    self.ended = ended
    process.terminationHandler = { process in
      continuation.yield(process.terminationStatus)
      continuation.finish()
    }
    try process.run()
    // Ours would keep the terminal open after the program has ended.
    try terminal.close()
    running = Mutex(process)
    Thread.detachNewThread { [self] in
      var block = [UInt8](repeating: 0, count: 4096)
      while true {
        let count = read(self.master, &block, block.count)
        if count <= 0 { return }
        shown.withLock { $0 += block[..<count] }
      }
    }
  }

  deinit { close(master) }

  /// What has been shown so far, echoes of what was typed included.
  var text: String { shown.withLock { String(decoding: $0, as: UTF8.self) } }

  func type(_ text: String) { _ = text.withCString { write(master, $0, strlen($0)) } }
  func signal(_ signal: Int32) { _ = running.withLock { kill($0.processIdentifier, signal) } }

  /// Waits until `isThere` holds of what is shown; a minute at most.
  func wait(_ what: String, _ isThere: (String) -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(60)
    while !isThere(text) {
      try #require(ContinuousClock.now < deadline, "\(what) did not come; shown is: \(text)")
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// Waits for the end; kills the program where that takes longer than a minute.
  func end() async throws -> Int32 {
    let watchdog = Task { [self] in
      try await Task.sleep(for: .seconds(60))
      signal(SIGKILL)
    }
    defer { watchdog.cancel() }
    var code: Int32 = -1
    for await status in ended { code = status }
    return code
  }
}

extension String {
  /// How often a text stands in it.
  func count(of text: String) -> Int { components(separatedBy: text).count - 1 }
}
