import DatabusCore
import Synchronization

/// Streams in one SQLite file: topics with partitions, consumer groups and retention. What was acknowledged survives the loss
/// of power.
///
/// Any number of processes of one machine may use a file at the same time. A topic is made at its first use, with one partition.
/// A position is a row's number: the first record of a partition is 1.
public final class SQLiteLog: Transport {
  public let path: String
  let file: LogFile
  private let process: ProcessIdentity
  private let clock: any EngineClock
  private let isClosed = Atomic(false)

  /// - Parameter path: made, with mode 0600, where it does not exist.
  /// - Throws: `TransportError` where the file cannot be used: damaged, not a log, of a newer schema, no permission.
  public convenience init(
    path: String, options: SQLiteLogOptions = SQLiteLogOptions(), clock: any EngineClock = SystemClock()
  ) async throws {
    try await self.init(path: path, options: options, clock: clock, process: .own)
  }

  /// - Parameter process: as whom leases are taken; tests are several.
  init(path: String, options: SQLiteLogOptions, clock: any EngineClock, process: ProcessIdentity) async throws {
    self.path = path
    self.process = process
    self.clock = clock
    file = try await LogFile.open(path, options, clock)
  }

  public func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    try retainFile()
    let source = LogSource(stream, mode, file, process, clock)
    do {
      try await source.open()
    } catch {
      await source.close()
      throw error
    }
    return source
  }

  public func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    _ = try await file.writer.ensureTopic(stream)
    try retainFile()
    return LogSink(stream, file, completions)
  }

  // MARK: Topics

  public func topics() async throws -> [TopicDescription] { try await file.queries.topics() }

  public func createTopic(_ name: String, partitions: Int) async throws {
    try await file.writer.createTopic(name, partitions: partitions)
    file.wakeReaders()
  }

  /// Removes the topic with its records, groups and positions. Sources that read it are told that their partitions are lost.
  public func deleteTopic(_ name: String) async throws {
    try await file.writer.deleteTopic(name)
    file.wakeReaders()
  }

  /// Makes the topic have `count` partitions. Keys go to other partitions from then on; records stay where they are.
  public func addPartitions(_ name: String, to count: Int) async throws {
    try await file.writer.addPartitions(name, to: count)
    file.wakeReaders()
  }

  /// Appends records, all of them or none, and returns where they stand, once they are on the disk. Calls that wait at the same time
  /// share one wait for the disk.
  ///
  /// - Parameter partition: nil: by each record's key, and those without key together into one after another.
  @discardableResult
  public func append(
    _ records: [LogRecord], to topic: String, partition: Int? = nil
  ) async throws -> [(partition: PartitionID, position: UInt64)] {
    try LogWriter.check(topic)
    if isClosed.load(ordering: .relaxed) { throw TransportError(.closed, "The log \(path) was closed.") }
    if records.isEmpty {
      _ = try await file.writer.ensureTopic(topic)
      return []
    }
    return try await file.append(records, to: topic, partition)
  }

  /// Removes now what the topic's retention allows.
  ///
  /// - Returns: the number of records removed.
  @discardableResult
  public func applyRetention(_ topic: String) async throws -> Int { try await file.writer.sweep(topic) }

  // MARK: Groups

  public func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  {
    let partitions = try await file.queries.partitions(stream)
    let committed = try await file.queries.committed(group, partitions)
    return Array(zip(partitions, committed)).map { (partition: $0.0, committed: $0.1) }
  }

  public func setGroupPosition(_ group: String, _ partition: PartitionID, to position: Position) async throws {
    try await file.writer.setPosition(group, partition, position, process, clock)
  }

  /// Forgets a group that is not used any more: otherwise it keeps retention from removing what it has not read.
  public func removeGroup(_ group: String, of topic: String) async throws {
    try await file.writer.removeGroup(group, topic, process, clock)
  }

  /// Ends the transport. Its sources and sinks are closed by whoever asked for them; the last of all closes the file.
  public func close() async {
    if !isClosed.exchange(true, ordering: .relaxed) { await file.release() }
  }

  /// One more user of the file.
  private func retainFile() throws {
    if isClosed.load(ordering: .relaxed) { throw TransportError(.closed, "The log \(path) was closed.") }
    file.retain()
  }
}
