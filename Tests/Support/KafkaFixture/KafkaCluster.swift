import Foundation
import Synchronization

/// A real Kafka for tests: one that runs already (`DATABUS_TEST_KAFKA`, its bootstrap servers), or one that is started on free
/// ports from a distribution (`KAFKA_HOME`) and ends with this process, however that ends.
public final class KafkaCluster: Sendable {
  /// Tests that need a broker are enabled by this.
  public static var isAvailable: Bool { running != nil || home != nil }
  /// Tests that stop or configure a broker need one of their own.
  public static var canStart: Bool { home != nil }
  public static let requirement =
    "needs a real Kafka: set KAFKA_HOME to a distribution, or DATABUS_TEST_KAFKA to an address"
  public static let startRequirement = "needs a Kafka of its own: set KAFKA_HOME to a distribution"

  private static let environment = ProcessInfo.processInfo.environment
  private static let running = environment["DATABUS_TEST_KAFKA"].flatMap { $0.isEmpty ? nil : $0 }
  private static let home = environment["KAFKA_HOME"].flatMap { $0.isEmpty ? nil : $0 }

  public let bootstrapServers: String
  /// Empty for one that runs already.
  private let nodes: [Node]
  public let folder: URL?

  private static let shared = Mutex<Task<KafkaCluster, any Error>?>(nil)

  /// The cluster that all tests of this process share.
  public static func sharedCluster() async throws -> KafkaCluster {
    let task = shared.withLock { task in
      if let task { return task }
      let new = Task { () async throws -> KafkaCluster in
        if let running { return KafkaCluster(bootstrapServers: running, nodes: [], folder: nil) }
        return try await start()
      }
      task = new
      return new
    }
    return try await task.value
  }

  private init(bootstrapServers: String, nodes: [Node], folder: URL?) {
    self.bootstrapServers = bootstrapServers
    self.nodes = nodes
    self.folder = folder
  }

  /// Starts one node of its own.
  ///
  /// - Parameters:
  ///   - settings: lines of server.properties, after the usual ones.
  ///   - listeners: further listeners, by name: `SASL_SSL`.
  public static func start(
    settings: [String] = [], listeners: [String] = [], prepare: (URL) throws -> [String] = { _ in [] },
    storage: [String] = []
  ) async throws -> KafkaCluster {
    guard let home else { throw Failure(message: requirement) }
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("databus-kafka-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let ports = try FreePorts.find(2 + listeners.count)
    let (broker, controller) = (ports[0], ports[1])
    let others = zip(listeners, ports[2...])
    let lines =
      [
        "process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@127.0.0.1:\(controller)",
        "controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
        "listeners="
          + (["PLAINTEXT://127.0.0.1:\(broker)", "CONTROLLER://127.0.0.1:\(controller)"]
          + others.map { "\($0)://127.0.0.1:\($1)" }).joined(separator: ","),
        "advertised.listeners="
          + (["PLAINTEXT://127.0.0.1:\(broker)"] + others.map { "\($0)://localhost:\($1)" }).joined(separator: ","),
        "listener.security.protocol.map="
          + (["CONTROLLER:PLAINTEXT", "PLAINTEXT:PLAINTEXT"] + listeners.map { "\($0):\($0)" }).joined(separator: ","),
        "log.dirs=\(folder.path)/data", "num.partitions=1", "auto.create.topics.enable=false",
        "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=4",
        "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
        "transaction.state.log.num.partitions=2", "share.coordinator.state.topic.replication.factor=1",
        "share.coordinator.state.topic.min.isr=1", "group.initial.rebalance.delay.ms=0",
        "group.min.session.timeout.ms=1000", "log.cleaner.dedupe.buffer.size=16777216",
        "broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500",
      ] + settings + (try prepare(folder))
    let properties = folder.appendingPathComponent("server.properties")
    try (lines.joined(separator: "\n") + "\n").write(to: properties, atomically: true, encoding: .utf8)
    var id = Data((0..<16).map { _ in UInt8.random(in: 1...0xEF) }).base64EncodedString()
    id = String(id.prefix(22)).replacingOccurrences(of: "+", with: "A").replacingOccurrences(of: "/", with: "B")
    try Tool.run(
      "\(home)/bin/kafka-storage.sh", ["format", "-t", id, "-c", properties.path] + storage)
    let node = Node(home: home, folder: folder, port: broker)
    let cluster = KafkaCluster(bootstrapServers: "127.0.0.1:\(broker)", nodes: [node], folder: folder)
    cluster.secureServers.withLock { servers in
      for (listener, port) in others { servers[listener] = "localhost:\(port)" }
    }
    try await node.start()
    return cluster
  }

  /// The addresses of further listeners.
  public let secureServers = Mutex<[String: String]>([:])

  // MARK: What happens to brokers

  public func kill() { for node in nodes { node.kill() } }
  public func pause() { for node in nodes { node.signal(SIGSTOP) } }
  public func unpause() { for node in nodes { node.signal(SIGCONT) } }
  /// Starts what was killed again, with its data.
  public func resume() async throws { for node in nodes { try await node.start() } }

  /// Ends the cluster and removes its data.
  public func remove() {
    kill()
    if let folder { try? FileManager.default.removeItem(at: folder) }
  }

  /// Runs one of the distribution's tools, with the bootstrap servers.
  @discardableResult
  public func tool(_ name: String, _ arguments: [String], input: String? = nil) throws -> String {
    guard let home = KafkaCluster.home else { throw Failure(message: KafkaCluster.startRequirement) }
    return try Tool.run(
      "\(home)/bin/\(name)", ["--bootstrap-server", bootstrapServers] + arguments, input: input)
  }

  public struct Failure: Error, CustomStringConvertible {
    public var message: String
    public var description: String { message }

    public init(message: String) { self.message = message }
  }
}

/// One broker with its controller.
private final class Node: Sendable {
  private let home: String
  private let folder: URL
  private let port: Int
  private struct State {
    var process: Process?
    /// Held open: the broker's guardian ends it when this process is gone.
    var lifeline: Pipe?
    var broker: Int32 = 0
  }
  private let state = Mutex(State())

  init(home: String, folder: URL, port: Int) {
    self.home = home
    self.folder = folder
    self.port = port
  }

  func start() async throws {
    let log = folder.appendingPathComponent("broker.log").path
    let pidFile = folder.appendingPathComponent("pid").path
    try? FileManager.default.removeItem(atPath: pidFile)
    _ = FileManager.default.createFile(atPath: log, contents: nil)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    // The guardian reads what never comes: at the end of the pipe the test process is gone, and so is the broker.
    process.arguments = [
      "-c",
      """
      "$1/bin/kafka-server-start.sh" "$2/server.properties" >>"$2/broker.log" 2>&1 </dev/null &
      echo $! >"$2/pid"
      cat >/dev/null
      kill -KILL $! 2>/dev/null
      """, "guardian", home, folder.path,
    ]
    let lifeline = Pipe()
    // Programs that tests start must not hold it open.
    _ = fcntl(lifeline.fileHandleForWriting.fileDescriptor, F_SETFD, FD_CLOEXEC)
    process.standardInput = lifeline
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    let deadline = Date().addingTimeInterval(60)
    while Date() < deadline {
      let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
      if text.contains("Kafka Server started"), let pid = try? String(contentsOfFile: pidFile, encoding: .utf8),
        let broker = Int32(pid.trimmingCharacters(in: .whitespacesAndNewlines)), FreePorts.isListening(port)
      {
        state.withLock { state in
          state.process = process
          state.lifeline = lifeline
          state.broker = broker
        }
        return
      }
      try await Task.sleep(for: .milliseconds(50))
    }
    let text = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
    throw KafkaCluster.Failure(message: "the broker did not start within 60 s: \(text.suffix(2000))")
  }

  func signal(_ signal: Int32) {
    let broker = state.withLock { $0.broker }
    if broker > 0 { Foundation.kill(broker, signal) }
  }

  func kill() {
    signal(SIGKILL)
    state.withLock { state in
      try? state.lifeline?.fileHandleForWriting.close()
      if let process = state.process, process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
      state.process?.waitUntilExit()
      state.process = nil
      state.broker = 0
    }
  }
}

/// Runs programs to their end.
public enum Tool {
  @discardableResult
  public static func run(_ program: String, _ arguments: [String], input: String? = nil) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = arguments
    let output = Pipe()
    let errors = FileManager.default.temporaryDirectory.appendingPathComponent("databus-tool-\(UUID().uuidString)")
    _ = FileManager.default.createFile(atPath: errors.path, contents: nil)
    defer { try? FileManager.default.removeItem(at: errors) }
    process.standardOutput = output
    process.standardError = try FileHandle(forWritingTo: errors)
    let pipe = Pipe()
    process.standardInput = pipe
    try process.run()
    if let input { try pipe.fileHandleForWriting.write(contentsOf: Data(input.utf8)) }
    try pipe.fileHandleForWriting.close()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    let text = String(decoding: data, as: UTF8.self)
    guard process.terminationStatus == 0 else {
      let said = (try? String(contentsOf: errors, encoding: .utf8)) ?? ""
      throw KafkaCluster.Failure(
        message:
          "\(program) \(arguments.joined(separator: " ")): exit code \(process.terminationStatus): \(text)\(said)")
    }
    return text
  }
}

/// Ports on the loopback address that nobody uses.
public enum FreePorts {
  public static func find(_ count: Int) throws -> [Int] {
    var sockets: [Int32] = []
    defer { for socket in sockets { close(socket) } }
    return try (0..<count).map { _ in
      let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      sockets.append(descriptor)
      var address = loopback(0)
      var size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let code = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
          bind(descriptor, pointer, size) == 0 ? getsockname(descriptor, pointer, &size) : -1
        }
      }
      guard code == 0 else { throw KafkaCluster.Failure(message: "no port can be taken: errno \(errno)") }
      return Int(UInt16(bigEndian: address.sin_port))
    }
  }

  static func isListening(_ port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = loopback(port)
    return withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }

  private static func loopback(_ port: Int) -> sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    return address
  }
}
