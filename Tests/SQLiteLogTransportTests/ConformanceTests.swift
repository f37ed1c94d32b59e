import DatabusCore
import DatabusTestKit
import Foundation
import SQLiteClient
import Synchronization
import Testing

@testable import SQLiteLogTransport

@Suite struct ConformanceTests {
  private static let skipped: [String: String] = [
    "revoked with work in flight: commits count until the release": "its partitions cannot be revoked from here",
    "positions without records are passed": "every position of its partitions holds a record",
  ]

  @Test(arguments: TransportSuite.cases)
  func conforms(_ one: ConformanceCase<TransportUnderTest>) async {
    let transport = TransportUnderTest("sqlite-log") { try await subject(partitions: $0) }
    #expect(await one.run(transport) == Self.skipped[one.name].map { .skipped($0) } ?? .passed)
  }

  private func subject(partitions: Int) async throws -> TransportSubject {
    let folder = try TemporaryFolder()
    let path = folder.path()
    var options = SQLiteLogOptions()
    options.maximumQueuedRecords = 64
    options.maximumRecordBytes = 65_536
    options.leaseRenewal = .milliseconds(20)
    let settled = options
    let transport = try await open(path, settled)
    try await transport.createTopic("events", partitions: partitions)
    let outside = Outside(path, settled)
    var subject = TransportSubject(transport: transport, stream: "events") { partition, record in
      let records = [LogRecord(key: record.key, value: record.value, headers: record.headers)]
      _ = try await outside.log().append(records, to: "events", partition: partition)
    }
    subject.restart = {
      await transport.close()
      await outside.close()
      return try await open(path, settled)
    }
    subject.addPartition = {
      let log = try await outside.log()
      let count = try await log.topics().first?.partitions.count ?? 0
      try await log.addPartitions("events", to: count + 1)
    }
    subject.recreate = {
      let log = try await outside.log()
      try await log.deleteTopic("events")
      try await log.createTopic("events", partitions: partitions)
    }
    subject.truncate = { partition, before in
      // What retention does to a partition's row and table.
      let connection = try SQLiteConnection(path: path, access: .readWrite)
      try connection.execute("DELETE FROM \(SQLiteSchema.logTable(1, partition.index)) WHERE id < \(before)")
      try connection.execute("UPDATE partitions SET first = \(before) WHERE topic = 1 AND number = \(partition.index)")
    }
    subject.lose = { group, _ in try await outside.takeLease(of: "events", group) }
    subject.limitRoom = { try await outside.limitRoom(to: $0) }
    subject.tearDown = {
      await outside.close()
      await transport.close()
      _ = folder
    }
    return subject
  }
}

/// A clock that is ahead of the machine's: to whoever has it, leases have expired.
private struct ClockAhead: EngineClock {
  let base = SystemClock()
  func now() -> Instant { base.now() + .seconds(3600) }
  func wallMilliseconds() -> Int64 { base.wallMilliseconds() }
  func sleep(until moment: Instant) async throws { try await base.sleep(for: moment - now()) }
}

/// Everybody else who uses the file.
private actor Outside {
  private let path: String
  private let options: SQLiteLogOptions
  private var open: SQLiteLog?
  private var taker: (log: SQLiteLog, source: any EventSource)?
  private var blocker: Blocker?
  private var filler: (any EventSink)?

  init(_ path: String, _ options: SQLiteLogOptions) {
    self.path = path
    self.options = options
  }

  func log() async throws -> SQLiteLog {
    if let open { return open }
    let log = try await SQLiteLog(path: path, options: options)
    open = log
    return log
  }

  /// Another process takes the group's lease, which to its mind has expired.
  func takeLease(of topic: String, _ group: String) async throws {
    let other = ProcessIdentity(process: getppid())
    let log = try await SQLiteLog(path: path, options: options, clock: ClockAhead(), process: other)
    let source = try await log.makeSource(topic, .group(group))
    taker = (log, source)
    _ = try await source.assignments()
  }

  /// Another process holds the file's lock, so that what is accepted stays in the queue, and the queue is filled up to the room.
  func limitRoom(to room: Int?) async throws {
    blocker?.end()
    blocker = nil
    guard let room else { return }
    let sink = try await log().makeSink("filler", Ends())
    filler = sink
    blocker = try Blocker(path)
    // The first batch leaves the queue: the writer waits with it for the file.
    var count = 0
    var accepted = 0
    repeat {
      accepted = try sink.send(deliveries(Array(repeating: "x", count: 64 - room)), from: 0)
      count += 1
    } while accepted > 0 && count < 100
  }

  func close() async {
    blocker?.end()
    await filler?.close()
    await taker?.source.close()
    await taker?.log.close()
    await open?.close()
    blocker = nil
    filler = nil
    taker = nil
    open = nil
  }
}
