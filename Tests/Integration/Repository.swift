import Foundation

/// The repository that the tests were built from, and the program that was built with them.
enum Repository {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  /// The program as people build it, where `bin/test` has built it; else the one beside the running tests.
  static let program: URL = {
    let environment = ProcessInfo.processInfo.environment
    if let path = environment["DATABUS_RELEASE_BINARY"] ?? environment["DATABUS_BINARY"] {
      return URL(fileURLWithPath: path)
    }
    let tests = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    return tests.deletingLastPathComponent().appendingPathComponent("databus")
  }()

  static func text(_ path: String) throws -> String {
    try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
  }

  /// The documents that people read.
  static let documents: [String] = {
    let docs = root.appendingPathComponent("docs")
    let pages =
      FileManager.default.enumerator(atPath: docs.path)?.compactMap { $0 as? String }.filter { $0.hasSuffix(".md") }
      ?? []
    return ["README.md", "CONTRIBUTING.md"] + pages.sorted().map { "docs/" + $0 }
  }()
}

/// What a process wrote and how it ended.
struct ProcessResult {
  var status: Int32
  var output: String
}

/// A directory of its own in which commands run as in a clone with the program on the PATH. It is removed at the end.
final class Workspace {
  let directory: URL
  private let tools: URL
  private let environment: [String: String]
  private var background: [(process: Process, log: URL, place: String)] = []
  private let session: URL

  /// - Parameters:
  ///   - programs: a folder of programs that are on the PATH too.
  ///   - variables: set in every command.
  init(programs: String? = nil, variables: [String: String] = [:]) throws {
    let home = FileManager.default.temporaryDirectory.appendingPathComponent("databus-\(UUID().uuidString)")
    directory = home.appendingPathComponent("clone")
    tools = home.appendingPathComponent("tools")
    session = home.appendingPathComponent("session")
    for path in [directory, tools] {
      try FileManager.default.createDirectory(at: path, withIntermediateDirectories: true)
    }
    try FileManager.default.copyItem(
      at: Repository.root.appendingPathComponent("Configs"), to: directory.appendingPathComponent("Configs"))
    try FileManager.default.createSymbolicLink(
      at: directory.appendingPathComponent("bin"), withDestinationURL: Repository.root.appendingPathComponent("bin"))
    try FileManager.default.createSymbolicLink(
      at: tools.appendingPathComponent("databus"), withDestinationURL: Repository.program)
    // What a shell needs, and nothing that this machine happens to have set.
    let own = ProcessInfo.processInfo.environment
    // What a sanitizer is told, the program that is built with it must be told as well.
    let sanitizers = own.filter { $0.key.hasSuffix("SAN_OPTIONS") }
    let path = [tools.path] + (programs.map { [$0] } ?? []) + [own["PATH"] ?? "/usr/local/bin:/usr/bin:/bin"]
    environment = sanitizers.merging([
      "PATH": path.joined(separator: ":"), "HOME": home.path, "TMPDIR": NSTemporaryDirectory(),
      "DATABUS_BINARY": Repository.program.path,
    ]) { $1 }.merging(variables) { $1 }
    try "cd \(directory.path)\n".write(to: session, atomically: true, encoding: .utf8)
  }

  /// Ports that nobody listens on.
  let adminPort = Workspace.freePort()
  let receiverPort = Workspace.freePort()

  private static func freePort() -> UInt16 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    var count = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        _ = bind(descriptor, $0, count)
        _ = getsockname(descriptor, $0, &count)
      }
    }
    return UInt16(bigEndian: address.sin_port)
  }

  deinit {
    for entry in background where entry.process.isRunning { kill(entry.process.processIdentifier, SIGKILL) }
    try? FileManager.default.removeItem(at: directory.deletingLastPathComponent())
  }

  /// Runs a script in bash, in the directory and with the variables that the one before left behind.
  func run(_ script: String, input: String = "", timeout: Duration = .seconds(240)) throws -> ProcessResult {
    let (process, log) = try make("set -euo pipefail\n. \(session.path)\n\(script)\n\(remember)", input: input)
    try process.run()
    let watch = DispatchWorkItem { kill(process.processIdentifier, SIGKILL) }
    DispatchQueue.global().asyncAfter(deadline: .now() + Double(timeout.components.seconds), execute: watch)
    process.waitUntilExit()
    watch.cancel()
    return ProcessResult(status: process.terminationStatus, output: try String(contentsOf: log, encoding: .utf8))
  }

  /// Starts one command that goes on beside the others, as in a terminal of its own.
  func start(_ command: String, place: String) throws {
    let (process, log) = try make("set -euo pipefail\n. \(session.path)\nexec \(command)", input: "")
    try process.run()
    background.append((process, log, place))
  }

  /// Ctrl-C in every terminal; what did not end well.
  func interruptAll() throws -> [String] {
    var problems: [String] = []
    for (process, log, place) in background {
      process.interrupt()
      process.waitUntilExit()
      if process.terminationStatus != 0 || process.terminationReason != .exit {
        let text = try String(contentsOf: log, encoding: .utf8)
        problems.append("\(place): ended with \(process.terminationStatus) after Ctrl-C:\n\(text)")
      }
    }
    background = []
    return problems
  }

  /// Where relative names lead to now.
  func write(_ text: String, to name: String) throws {
    let result = try run("cat > '\(name)'", input: text)
    if result.status != 0 { throw CocoaError(.fileWriteUnknown) }
  }

  private var remember: String { "{ export -p; printf 'cd %q\\n' \"$PWD\"; } > '\(session.path)'" }

  private func make(_ script: String, input: String) throws -> (Process, URL) {
    let name = UUID().uuidString
    let home = directory.deletingLastPathComponent()
    let log = home.appendingPathComponent(name + ".log")
    let typed = home.appendingPathComponent(name + ".in")
    try input.write(to: typed, atomically: true, encoding: .utf8)
    try "".write(to: log, atomically: true, encoding: .utf8)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = ["-c", script]
    process.environment = environment
    process.standardInput = try FileHandle(forReadingFrom: typed)
    let output = try FileHandle(forWritingTo: log)
    process.standardOutput = output
    process.standardError = output
    return (process, log)
  }
}
