import DatabusCore
import HTTPServer
import RedisServerFixture
import SQLiteLogTransport
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

extension DispatchBenchmark {
  /// A log, a Redis and a folder for the dispatchers of a run.
  final class Bench {
    let folder: ScratchFolder
    let log: SQLiteLog
    private let redis: RedisServer
    private let adminPort: Int
    /// A program that keeps others to one processor; nil where there is just one anyway.
    private let taskset = ChildProcess.find("taskset")

    init() async throws {
      folder = try ScratchFolder()
      log = try await SQLiteLog(path: "\(folder.path)/log.db")
      redis = try await RedisServer(.socket)
      // A free port, which nobody else takes in the meantime.
      let server = try HTTPServer(.init(), respond: { _ in HTTPResponse(status: 200) })
      adminPort = server.port
      await server.stop()
    }

    /// A configuration whose dispatcher has read and sent nothing yet.
    func configuration(_ name: String, results: String, concurrency: Int) throws -> String {
      try folder.write(
        "\(name).json",
        """
        {"pipeline": {"name": "\(name)", "results": {"streams": {"http": "\(results)"}}},
         "transports": {"local": {"type": "sqlite-log", "path": "log.db"}},
         "limits": {"inFlightRecords": 131072},
         "state": {"type": "sqlite", "path": "\(name)-state.db"},
         "dispatcher": {"deduplication": {"type": "redis", "url": "\(redis.url)"},
           "delivery": {"concurrency": \(concurrency), "timeout": "60s"},
           "channels": {"http": {"allow": ["127.0.0.1"]}}},
         "admin": {"port": \(adminPort)}}
        """)
    }

    func result(_ url: String, id: String) -> String {
      let event = SampleEvents.event(type: 1, user: 1)
      return
        "{\"destination\":\"\(url)\",\"payload\":\(event),\"id\":\"\(id)\",\"rule\":\"rule_1\",\"event\":\"events/0/\(id)\"}"
    }

    func append(_ stream: String, _ values: [String]) async throws {
      _ = try await log.append(values.map { LogRecord(value: Array($0.utf8)) }, to: stream)
    }

    /// Fills a stream with results of different ids.
    func fill(_ stream: String, _ count: Int, _ url: (Int) -> String) async throws {
      var next = 0
      while next < count {
        let end = min(count, next + 10_000)
        try await append(stream, (next..<end).map { result(url($0), id: "\(stream)-\($0)") })
        next = end
      }
    }

    func onOneCore(_ arguments: [String]) -> [String] { taskset.map { [$0, "-c", "0"] + arguments } ?? arguments }

    /// A receiver that answers everything, on the other core.
    func startReceiver() throws -> ReceiverProcess {
      let errors = "\(folder.path)/receiver"
      let command = [try ChildProcess.databus(), "receive", "--quiet", "--port", "0", "--connections", "4096"]
      let process = try ChildProcess.start((taskset.map { [$0, "-c", "1"] } ?? []) + command, error: errors)
      for _ in 0..<500 {
        if let text = FolderFile.text(errors), let range = text.range(of: "\"port\":") {
          let digits = text[range.upperBound...].prefix { $0.isNumber }
          if let port = Int(digits) { return ReceiverProcess(process: process, port: port) }
        }
        usleep(10_000)
      }
      kill(process, SIGKILL)
      throw ChildProcess.Failure(description: "the receiver does not say on which port it listens")
    }

    /// What the dispatcher under way says that it holds.
    func inMemory() async throws -> Int {
      guard let curl = ChildProcess.find("curl") else {
        throw ChildProcess.Failure(description: "curl is not installed")
      }
      let output = "\(folder.path)/metrics"
      guard (try? ChildProcess.run([curl, "-sf", "http://127.0.0.1:\(adminPort)/metrics"], output: output)) != nil,
        let text = FolderFile.text(output)
      else { return 0 }
      let line = text.split(separator: "\n").first { $0.hasPrefix("databus_dispatch_in_memory ") }
      return line.flatMap { Int($0.split(separator: " ")[1]) } ?? 0
    }
  }

  struct ReceiverProcess {
    let process: pid_t
    let port: Int

    func stop() {
      kill(process, SIGTERM)
      _ = try? ChildProcess.wait(process)
    }
  }

  /// A receiver in this process that notes when each id arrives first. What is sent to /hang is never answered.
  final class ArrivalReceiver: Sendable {
    let server: HTTPServer
    private let noted: Noted

    private final class Noted: Sendable {
      let arrivals = Mutex<[String: Instant]>([:])
      let hanging = Mutex<[HTTPResponder]>([])
    }

    init(_ clock: SystemClock) throws {
      let noted = Noted()
      self.noted = noted
      let configuration = HTTPServer.Configuration(
        maximumConnections: 4096, maximumBodyBytes: 1 << 20, answerTimeout: .seconds(600))
      server = try HTTPServer(configuration) { request, responder in
        let now = clock.now()
        if request.target == "/hang" { return noted.hanging.withLock { $0.append(responder) } }
        if let id = request.header("webhook-id") {
          noted.arrivals.withLock { if $0[id] == nil { $0[id] = now } }
        }
        responder.respond(HTTPResponse(status: 200))
      }
    }

    var arrivals: [String: Instant] { noted.arrivals.withLock { $0 } }

    func wait(for count: Int) async throws {
      for _ in 0..<6000 {
        if noted.arrivals.withLock({ $0.count }) >= count { return }
        try await Task.sleep(for: .milliseconds(10))
      }
      throw ChildProcess.Failure(description: "only \(arrivals.count) of \(count) deliveries arrived within 60 s")
    }
  }
}

/// A small file, read whole.
enum FolderFile {
  static func text(_ path: String) -> String? {
    guard let stream = fopen(path, "r") else { return nil }
    defer { fclose(stream) }
    var bytes = [UInt8](repeating: 0, count: 1 << 20)
    let count = fread(&bytes, 1, bytes.count, stream)
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }
}

extension ChildProcess {
  /// The most memory that a process has had so far (proc(5), VmHWM).
  static func peakMegabytes(_ process: pid_t) throws -> Double {
    let line = FolderFile.text("/proc/\(process)/status")?.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
    guard
      let kibibytes = line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first.flatMap({ Double($0) })
    else { throw Failure(description: "the dispatcher has ended") }
    return kibibytes * 1024 / 1e6
  }
}
