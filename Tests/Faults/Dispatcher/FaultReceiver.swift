import Foundation
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// A request as the receiver got it.
struct Arrival: Sendable {
  /// The `webhook-id`.
  var id: String
  /// Milliseconds since 1970.
  var time: Int64
  var target: String
  /// nil where the connection is closed.
  var status: Int?
  var body: String
  var signature: String

  var isAcknowledged: Bool { status.map { (200..<300).contains($0) } ?? false }
  /// The number that the payload carries.
  var number: Int? {
    guard let range = body.range(of: "\"number\":") else { return nil }
    return Int(body[range.upperBound...].drop { $0 == " " }.prefix { $0.isNumber })
  }
}

/// `databus receive` as a process, and what has arrived there, in its order. How a destination behaves stands in its query.
final class FaultReceiver: Sendable {
  let port: Int
  private let folder: URL
  private let process: DatabusProcess

  private struct Reading {
    var offset: UInt64 = 0
    var arrivals: [Arrival] = []
  }
  private let reading = Mutex(Reading())

  private init(_ arguments: [String], _ folder: URL) async throws {
    guard let program = FaultBinary.path else { throw HarnessError("\(FaultBinary.missing)") }
    self.folder = folder
    let process = try DatabusProcess(
      [program, "receive", "--port", "0", "--json"] + arguments, environment: [:],
      outputPath: folder.path + "/arrivals", errorPath: folder.path + "/errors")
    self.process = process
    try await process.wait("the receiver listening") { process.errors.contains("\n") }
    let errors = process.errors
    guard let range = errors.range(of: "127.0.0.1:"),
      let port = Int(errors[range.upperBound...].prefix { $0.isNumber })
    else {
      process.signal(SIGKILL)
      throw HarnessError("the receiver names no port: \(errors)")
    }
    self.port = port
  }

  /// Runs `body` beside a receiver.
  static func with<R>(_ arguments: String..., body: (FaultReceiver) async throws -> R) async throws -> R {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("databus-receiver-" + UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    let receiver = try await FaultReceiver(arguments, folder)
    do {
      let result = try await body(receiver)
      try await receiver.end()
      return result
    } catch {
      try? await receiver.end()
      throw error
    }
  }

  private func end() async throws {
    process.signal(SIGKILL)
    _ = try await process.end()
    try FileManager.default.removeItem(at: folder)
  }

  /// A destination here.
  func url(_ path: String) -> String { "http://127.0.0.1:\(port)/\(path)" }

  /// Everything that has arrived so far.
  func arrivals() throws -> [Arrival] {
    try reading.withLock { reading in
      let file = try FileHandle(forReadingFrom: folder.appendingPathComponent("arrivals"))
      defer { try? file.close() }
      try file.seek(toOffset: reading.offset)
      let data = try file.readToEnd() ?? Data()
      guard let end = data.lastIndex(of: UInt8(ascii: "\n")) else { return reading.arrivals }
      reading.offset += UInt64(end - data.startIndex + 1)
      for line in data[...end].split(separator: UInt8(ascii: "\n")) {
        guard let object = try JSONSerialization.jsonObject(with: line) as? [String: Any],
          let time = object["time"] as? String
        else { throw HarnessError("the receiver shows \(String(decoding: line.prefix(500), as: UTF8.self))") }
        reading.arrivals.append(
          Arrival(
            id: object["id"] as? String ?? "", time: try FaultReceiver.milliseconds(time),
            target: object["target"] as? String ?? "", status: object["status"] as? Int,
            body: object["body"] as? String ?? "", signature: object["signature"] as? String ?? ""))
      }
      return reading.arrivals
    }
  }

  /// `2026-11-25T04:05:06.789Z`.
  private static func milliseconds(_ text: String) throws -> Int64 {
    let numbers = text.split { !$0.isNumber }.compactMap { Int32($0) }
    guard numbers.count == 7 else { throw HarnessError("\(text) is no time with milliseconds") }
    var parts = tm()
    (parts.tm_year, parts.tm_mon, parts.tm_mday) = (numbers[0] - 1900, numbers[1] - 1, numbers[2])
    (parts.tm_hour, parts.tm_min, parts.tm_sec) = (numbers[3], numbers[4], numbers[5])
    return Int64(timegm(&parts)) * 1000 + Int64(numbers[6])
  }
}
