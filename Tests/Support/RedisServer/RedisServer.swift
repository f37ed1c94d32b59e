import Foundation

/// A real Redis server of a test's own: in a temporary folder, on a unix socket or a free port. It ends with this object, and
/// also where the test process is killed: a watchdog waits for its end.
public final class RedisServer: @unchecked Sendable {
  // Sendable: the process and its number are touched under `lock` only.

  public enum Listening: Sendable {
    case socket
    case port
  }

  public struct Failure: Error, CustomStringConvertible {
    public var description: String
    public init(description: String) { self.description = description }
  }

  public let folder: URL
  /// Where clients find it.
  public let url: String
  public let port: UInt16?
  private let settings: [String]
  private let lock = NSLock()
  private var process: Process?
  private let watchdog = Process()
  private let watched = Pipe()

  /// Starts a server and waits until it answers.
  ///
  /// - Parameter settings: in the form of the command line: `["--appendonly", "yes"]`. Nothing is written to the disk without any.
  public init(_ listening: Listening = .socket, settings: [String] = [], starts: Bool = true) async throws {
    var name = [UInt8](
      "\(FileManager.default.temporaryDirectory.path)/dbredis-XXXXXX".utf8CString.map { UInt8(bitPattern: $0) })
    let made = name.withUnsafeMutableBytes { mkdtemp($0.baseAddress!.assumingMemoryBound(to: CChar.self)) != nil }
    guard made else { throw Failure(description: "no temporary folder can be made") }
    folder = URL(fileURLWithPath: String(decoding: name.dropLast(), as: UTF8.self))
    let socket = folder.appendingPathComponent("s").path
    let port: UInt16 = listening == .port ? try RedisServer.freePort() : 0
    self.port = listening == .port ? port : nil
    url = listening == .port ? "redis://127.0.0.1:\(port)" : "unix://\(socket)"
    self.settings =
      [
        "--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", socket, "--dir", folder.path, "--logfile",
        folder.appendingPathComponent("log").path, "--save", "", "--daemonize", "no", "--enable-debug-command", "yes",
      ] + settings
    try startWatchdog()
    if starts { try await start() }
  }

  deinit {
    if let process, process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
    // The end of its input: the watchdog removes the folder.
    try? watched.fileHandleForWriting.close()
  }

  /// The socket that it listens on, besides its port.
  public var socket: String { folder.appendingPathComponent("s").path }

  private func startWatchdog() throws {
    watchdog.executableURL = URL(fileURLWithPath: "/bin/sh")
    watchdog.arguments = [
      "-c", #"while read -r line; do pid=$line; done; [ -n "$pid" ] && kill -9 "$pid" 2>/dev/null; rm -rf "$1""#, "sh",
      folder.path,
    ]
    watchdog.standardInput = watched.fileHandleForReading
    // In a group of its own it survives what ends the tests' group.
    try watchdog.run()
    setpgid(watchdog.processIdentifier, watchdog.processIdentifier)
  }

  // MARK: Life

  /// Starts the server on its folder, port and socket, and waits until it answers.
  public func start() async throws {
    guard let program = RedisServer.find("redis-server") else {
      throw Failure(description: "redis-server is not installed: apt-get install redis-server")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = settings
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    lock.withLock { self.process = process }
    try watched.fileHandleForWriting.write(contentsOf: Data("\(process.processIdentifier)\n".utf8))
    try await wait("redis-server answers") {
      if !process.isRunning {
        throw Failure(
          description:
            "redis-server ended: \((try? String(contentsOf: self.folder.appendingPathComponent("log"), encoding: .utf8)) ?? "")"
        )
      }
      return self.ping()
    }
  }

  private var processID: Int32 { lock.withLock { process?.processIdentifier ?? 0 } }

  /// SIGKILL, and its end.
  public func kill() async throws {
    guard let process = lock.withLock({ self.process }) else { return }
    Foundation.kill(process.processIdentifier, SIGKILL)
    try await wait("redis-server has ended") { !process.isRunning }
  }

  /// SIGSTOP: it takes connections and answers nothing.
  public func pause() { Foundation.kill(processID, SIGSTOP) }
  public func resume() { Foundation.kill(processID, SIGCONT) }

  /// Ends it with an end in order, as its service does: what it keeps on the disk is complete.
  public func shutDown() async throws {
    guard let process = lock.withLock({ self.process }) else { return }
    process.terminate()
    try await wait("redis-server has ended") { !process.isRunning }
  }

  // MARK: Looking and meddling

  /// Runs redis-cli and returns what it prints, without the last newline.
  @discardableResult
  public func cli(_ arguments: String..., password: String? = nil, input: Data? = nil) throws -> String {
    guard let program = RedisServer.find("redis-cli") else {
      throw Failure(description: "redis-cli is not installed: apt-get install redis-server")
    }
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = ["-s", socket] + arguments
    if let password {
      process.environment = ProcessInfo.processInfo.environment.merging(["REDISCLI_AUTH": password]) { $1 }
    }
    let output = Pipe()
    process.standardOutput = output
    process.standardError = output
    let feed = Pipe()
    process.standardInput = input == nil ? FileHandle.nullDevice : feed.fileHandleForReading
    try process.run()
    if let input {
      try feed.fileHandleForWriting.write(contentsOf: input)
      try feed.fileHandleForWriting.close()
    }
    let text = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return String(decoding: text, as: UTF8.self).trimmingCharacters(in: .newlines)
  }

  /// Saves all data into a file that `restore` takes: a backup.
  public func dump() throws -> Data {
    try cli("SAVE")
    return try Data(contentsOf: folder.appendingPathComponent("dump.rdb"))
  }

  /// Kills the server, puts a backup in place of its data, and starts it again.
  public func restore(_ dump: Data) async throws {
    try await kill()
    try dump.write(to: folder.appendingPathComponent("dump.rdb"))
    try await start()
  }

  private func ping() -> Bool {
    // A server that asks for a password answers too.
    guard let answer = try? cli("PING") else { return false }
    return answer == "PONG" || answer.contains("NOAUTH")
  }

  /// Looks until it is so, for 20 s at most.
  private func wait(_ what: String, _ isSo: () throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      if try isSo() { return }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw Failure(description: "not within 20 s: \(what)")
  }

  public static func find(_ name: String) -> String? {
    (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin").split(separator: ":").map { "\($0)/\(name)" }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }

  /// A port that nobody listens on at this moment, and that the system gives to nobody by itself.
  public static func freePort() throws -> UInt16 {
    for _ in 0..<1000 {
      let port = UInt16.random(in: 10_000..<32_000)
      let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      guard descriptor >= 0 else { throw Failure(description: "no socket") }
      defer { close(descriptor) }
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = port.bigEndian
      address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      let code = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      if code == 0 { return port }
    }
    throw Failure(description: "no free port")
  }
}
