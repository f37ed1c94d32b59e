import Foundation
import Testing

/// The built `databus`, run as a process in a directory of its own that is removed afterwards.
struct DatabusProcess {
  struct Result {
    var code: Int32
    var output: String
    var errors: String

    var lines: [String] { output.split(separator: "\n").map(String.init) }
    var errorLines: [String] { errors.split(separator: "\n").map(String.init) }
  }

  let directory: URL
  /// Besides what the tests themselves have.
  var environment: [String: String] = [:]

  private final class BundleAnchor {}

  /// Beside the test bundle: `.build/<configuration>/databus`.
  static let executable: URL = {
    var folder = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    for candidate in [Bundle(for: BundleAnchor.self).bundleURL, Bundle.main.bundleURL, folder] {
      folder = candidate
      for _ in 0..<4 {
        let file = folder.appendingPathComponent("databus")
        var isDirectory: ObjCBool = false
        if FileManager.default.fileExists(atPath: file.path, isDirectory: &isDirectory), !isDirectory.boolValue,
          FileManager.default.isExecutableFile(atPath: file.path)
        {
          return file
        }
        folder.deleteLastPathComponent()
      }
    }
    return URL(fileURLWithPath: "/nonexistent/databus")
  }()

  /// The repository's folder of configurations.
  static let configurations = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Configs")

  static func with<R>(
    environment: [String: String] = [:], _ body: (DatabusProcess) async throws -> R
  ) async throws -> R {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("databus-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    return try await body(DatabusProcess(directory: directory, environment: environment))
  }

  func path(_ name: String) -> String { directory.appendingPathComponent(name).path }

  func write(_ text: String, to name: String) throws {
    try Data(text.utf8).write(to: directory.appendingPathComponent(name))
  }

  func append(_ text: String, to name: String) throws {
    let file = try FileHandle(forWritingTo: directory.appendingPathComponent(name))
    try file.seekToEnd()
    try file.write(contentsOf: Data(text.utf8))
    try file.close()
  }

  /// Runs a line of Python in the directory.
  func python(_ line: String) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["python3", "-c", line]
    process.currentDirectoryURL = directory
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(line)")
  }

  func read(_ name: String) throws -> String {
    String(decoding: try Data(contentsOf: directory.appendingPathComponent(name)), as: UTF8.self)
  }

  /// Takes one of the repository's configurations as this directory's `databus.json`.
  func useConfiguration(_ name: String) throws {
    for file in [name, "rules.jsonl"] {
      try FileManager.default.copyItem(
        at: DatabusProcess.configurations.appendingPathComponent(file),
        to: directory.appendingPathComponent(file == name ? "databus.json" : file))
    }
  }

  /// Runs a command to its end.
  @discardableResult
  func run(_ arguments: String..., input: String = "", output: String? = nil) async throws -> Result {
    try await run(arguments, input: input, output: output)
  }

  func run(_ arguments: [String], input: String = "", output: String? = nil) async throws -> Result {
    let running = try start(arguments, input: input, output: output)
    return try await running.end()
  }

  /// Starts a command and lets it run.
  func start(_ arguments: [String], input: String = "", output: String? = nil) throws -> RunningDatabus {
    let number = UUID().uuidString
    try write(input, to: "\(number).in")
    for name in ["out", "err"] { try write("", to: "\(number).\(name)") }
    let process = Process()
    process.executableURL = DatabusProcess.executable
    process.arguments = arguments
    process.currentDirectoryURL = directory
    var inherited = ProcessInfo.processInfo.environment
    inherited["DATABUS_CONFIG"] = nil
    process.environment = inherited.merging(environment) { _, own in own }
    let outputPath = output ?? path("\(number).out")
    let files = [
      try FileHandle(forReadingFrom: directory.appendingPathComponent("\(number).in")),
      try FileHandle(forWritingTo: URL(fileURLWithPath: outputPath)),
      try FileHandle(forWritingTo: directory.appendingPathComponent("\(number).err")),
    ]
    // The child has its own; ours would pile up until Foundation reads past the end of its list of them.
    defer { for file in files { try? file.close() } }
    process.standardInput = files[0]
    process.standardOutput = files[1]
    process.standardError = files[2]
    let running = RunningDatabus(
      process: process, output: output == nil ? outputPath : nil, errors: path("\(number).err"))
    try running.launch()
    return running
  }
}

/// A process that was started.
final class RunningDatabus: @unchecked Sendable {
  // Sendable: what changes is the process, which Foundation guards itself.
  private let process: Process
  private let outputPath: String?
  private let errorsPath: String
  private let ended: AsyncStream<Int32>
  private let continuation: AsyncStream<Int32>.Continuation

  init(process: Process, output: String?, errors: String) {
    self.process = process
    outputPath = output
    errorsPath = errors
    (ended, continuation) = AsyncStream.makeStream()
  }

  func launch() throws {
    let continuation = continuation
    process.terminationHandler = { process in
      continuation.yield(process.terminationStatus)
      continuation.finish()
    }
    try process.run()
  }

  var processID: Int32 { process.processIdentifier }
  func signal(_ signal: Int32) { kill(processID, signal) }

  private func text(_ path: String?) throws -> String {
    guard let path else { return "" }
    return String(decoding: try Data(contentsOf: URL(fileURLWithPath: path)), as: UTF8.self)
  }

  /// What it has written so far.
  func output() throws -> String { try text(outputPath) }

  /// What it has written to standard error so far.
  func errors() throws -> String { try text(errorsPath) }

  /// Waits for its end; kills it where that takes longer than a minute.
  func end() async throws -> DatabusProcess.Result {
    let watchdog = Task { [self] in
      try await Task.sleep(for: .seconds(60))
      signal(SIGKILL)
    }
    defer { watchdog.cancel() }
    var code: Int32 = -1
    for await status in ended { code = status }
    return DatabusProcess.Result(code: code, output: try text(outputPath), errors: try text(errorsPath))
  }

  /// SIGTERM, and its end.
  func terminate() async throws -> DatabusProcess.Result {
    signal(SIGTERM)
    return try await end()
  }

  /// Looks at its output until `isThere` holds; a minute at most.
  func waitForOutput(_ isThere: (String) -> Bool) async throws -> String {
    try await wait(for: output, isThere)
  }

  /// Looks at what it writes to standard error until `isThere` holds; a minute at most.
  func waitForErrors(_ isThere: (String) -> Bool) async throws -> String {
    try await wait(for: errors, isThere)
  }

  private func wait(for text: () throws -> String, _ isThere: (String) -> Bool) async throws -> String {
    for _ in 0..<6000 {
      let text = try text()
      if isThere(text) { return text }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw OutputTimeout(output: try text())
  }

  struct OutputTimeout: Error { var output: String }
}

extension String {
  /// Its lines as JSON objects.
  var objects: [[String: Any]] {
    get throws {
      try split(separator: "\n").map { line in
        try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
      }
    }
  }
}
