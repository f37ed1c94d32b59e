import AttemptLog
import DatabusCore
import Dispatcher
import Foundation
import SQLiteClient
import Synchronization
import Testing

/// A log in a folder that is removed, on the machine's clock.
final class AttemptFolder: Sendable {
  let url: URL
  let lines = CollectedLines()
  let metrics = MetricRegistry()

  init() throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent("databus-attempts-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }
  deinit { try? FileManager.default.removeItem(at: url) }

  var path: String { url.appendingPathComponent("attempts.db").path }

  func open(age: Duration = .seconds(7 * 86_400), records: Int = 1_000_000) async throws -> AttemptLog {
    try await AttemptLog(
      AttemptsConfiguration(path: path, age: age, records: records), metrics: metrics,
      log: Logger(part: "attempts", minimum: .info, sink: lines))
  }

  /// Writes notes through a log that is opened and closed.
  func write(_ notes: [DeliveryNote], age: Duration = .seconds(7 * 86_400), records: Int = 1_000_000) async throws {
    let log = try await open(age: age, records: records)
    log.note(notes)
    await log.close()
  }

  func read<R: Sendable>(_ body: (AttemptReader) async throws -> R) async throws -> R {
    let reader = try await AttemptReader(path: path)
    let result = try await body(reader)
    await reader.close()
    return result
  }

  func stories(_ change: (inout StoryQuery) -> Void = { _ in }) async throws -> [String] {
    var query = StoryQuery()
    change(&query)
    let wanted = query
    return try await read { try await $0.stories(wanted) }.map(\.id)
  }

  func count(_ sql: String = "SELECT count(*) FROM notes") throws -> Int {
    Int(try SQLiteConnection(path: path, access: .readOnly).integer(sql) ?? -1)
  }

  func counter(_ name: String) -> Int {
    for sample in metrics.snapshot() where sample.name == name {
      if case .counter(let value) = sample.value { return Int(value) }
    }
    return -1
  }
}

final class CollectedLines: LogSink {
  private let lines = Mutex<[LogLine]>([])
  func write(_ line: LogLine) { lines.withLock { $0.append(line) } }
  var all: [String] { lines.withLock { $0.map(\.what) } }
}

/// A note of a delivery `id` of the event `events/0/<number>`.
func note(
  _ id: String, _ happening: DeliveryNote.Happening, to url: String = "https://a.example/hook?key=hush",
  rule: String = "r", number: Int = 1, at: Int64 = SystemClock().wallMilliseconds(), attempts: Int = 1,
  _ change: (inout DeliveryNote) -> Void = { _ in }
) -> DeliveryNote {
  var note = DeliveryNote(
    id: id, happening, at: at, attempts: attempts, url: url, rule: rule, event: "events/0/\(number)",
    partition: PartitionID(stream: "results-http", incarnation: "i", index: 0), position: UInt64(number),
    detail: "it is so")
  change(&note)
  return note
}

func eventually(
  _ what: String, sourceLocation: SourceLocation = #_sourceLocation, _ condition: () async throws -> Bool
) async rethrows {
  for _ in 0..<10_000 {
    if try await condition() { return }
    try? await Task.sleep(for: .milliseconds(2))
  }
  Issue.record("never: \(what)", sourceLocation: sourceLocation)
}
