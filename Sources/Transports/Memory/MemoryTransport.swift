import DatabusCore

/// Streams within one process: for tests, for benchmarks, and for programs that feed the engine themselves.
///
/// It does what a broker does: partitions, keys, headers, tombstones, timestamps, and groups that divide the partitions
/// and keep commits. Its records live in a `MemoryLog`; opening a second transport over the same log is a restart, or a
/// second process. Records cross without a copy of their own: a batch lends the log's memory, and a sink copies a whole
/// batch at once.
///
/// `control` tells it to misbehave (revoke, lose, leave gaps, fail, hold ends back), for the tests of others.
public final class MemoryTransport: Transport, @unchecked Sendable {
  // Sendable: its variables are only touched under the log's lock.

  /// What becomes of records.
  public enum Retention: Sendable, Hashable {
    case everything
    /// Blocks of records that every group has committed are given back.
    case untilCommitted
    /// Records are counted and dropped: the end of a benchmark.
    case nothing
  }

  public struct Options: Sendable {
    /// Streams come into being when they are first used. Otherwise a missing one is an error.
    public var createsStreams = true
    /// Partitions of a stream that is made at first use.
    public var partitions = 1
    /// Retention of a stream that is made at first use.
    public var retention = Retention.everything
    /// Groups keep commits. false: as transports whose positions live in the state alone.
    public var commits = true
    /// Records carry their timestamp. false: as transports that have none.
    public var timestamps = true
    /// The largest key and value together, in bytes.
    public var maximumRecordBytes = 16 * 1_048_576
    /// Deliveries that a sink holds without an end, at most.
    public var maximumInFlight = 65_536
    /// Streams are compacted, and tombstones stay so long; nil: they are not. Compaction itself is the test's to do (`truncate`).
    public var tombstoneRetention: Duration?
    /// The time a member has to give a partition back.
    public var revocationWindow = Duration.seconds(10)

    public init() {}
  }

  public let log: MemoryLog
  public let options: Options
  private var sources: [MemorySource] = []
  private var sinks: [MemorySink] = []
  private var isClosed = false

  /// - Parameter log: nil for streams of its own.
  public init(_ log: MemoryLog? = nil, options: Options = Options()) {
    self.log = log ?? MemoryLog()
    self.options = options
  }

  public func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    try log.lock.locked {
      try checkOpen()
      let source = MemorySource(log, try topic(stream), mode, options)
      source.attach()
      sources.append(source)
      return source
    }
  }

  public func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    try log.lock.locked {
      try checkOpen()
      let sink = MemorySink(log, try topic(stream), completions, options)
      sinks.append(sink)
      return sink
    }
  }

  public func topics() async throws -> [TopicDescription] {
    try log.lock.locked {
      try checkOpen()
      return log.topics.values.sorted { $0.name < $1.name }.map { topic in
        TopicDescription(
          name: topic.name, partitions: topic.partitionIDs, bounds: topic.partitions.map(\.bounds))
      }
    }
  }

  public func createTopic(_ name: String, partitions: Int) async throws {
    try createTopic(name, partitions: partitions, retention: options.retention)
  }

  /// Makes a stream whose records are kept as `retention` says.
  public func createTopic(_ name: String, partitions: Int, retention: Retention) throws {
    try log.lock.locked {
      try checkOpen()
      if log.topics[name] != nil {
        throw TransportError(.transport, "The stream \"\(name)\" exists already; choose another name.")
      }
      if partitions < 1 {
        throw TransportError(.transport, "A stream has at least one partition; \(partitions) were asked for.")
      }
      _ = log.makeTopic(name, partitions: partitions, retention: retention)
    }
  }

  public func deleteTopic(_ name: String) async throws {
    try log.lock.locked {
      try checkOpen()
      _ = try existing(name)
      log.removeTopic(name)
    }
  }

  public func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  {
    try log.lock.locked {
      try checkOpen()
      let topic = try existing(stream)
      return topic.partitionIDs.map { ($0, topic.groups[group]?.committed[$0.index]) }
    }
  }

  public func setGroupPosition(_ group: String, _ partition: PartitionID, to position: Position) async throws {
    try log.lock.locked {
      try checkOpen()
      let topic = try existing(partition.stream)
      guard topic.partition(partition) != nil else {
        throw TransportError(
          .transport, "There is no partition \(partition) in this life of the stream.")
      }
      if topic.groups[group]?.members.isEmpty == false {
        throw TransportError(
          .transport, "A member of the group \"\(group)\" is alive; stop it, then set its position.")
      }
      topic.group(group).committed[partition.index] = CommittedPosition(position: position, metadata: "")
    }
  }

  /// Ends all sources and sinks that this transport made. The log stays.
  public func close() async {
    log.lock.locked {
      isClosed = true
      for source in sources { source.end() }
      for sink in sinks { sink.end() }
      sources = []
      sinks = []
    }
  }

  // MARK: Records from outside

  /// Appends one record, as a producer would.
  ///
  /// - Parameters:
  ///   - partition: nil: by the key, as a sink chooses.
  ///   - value: nil for a tombstone.
  ///   - timestamp: milliseconds since 1970; nil for the clock's.
  /// - Returns: the record's partition and position.
  @discardableResult
  public func append(
    to stream: String, partition: Int? = nil, key: [UInt8]? = nil, value: [UInt8]?,
    headers: [Header] = [], timestamp: Int64? = nil
  ) throws -> (partition: PartitionID, position: UInt64) {
    try log.lock.locked {
      try checkOpen()
      let topic = try topic(stream)
      let own = key ?? []
      if let partition, !topic.partitions.indices.contains(partition) {
        throw TransportError(
          .transport, "\"\(stream)\" has \(topic.partitions.count) partitions; there is none numbered \(partition).")
      }
      let chosen =
        partition.map { topic.partitions[$0] } ?? topic.partition(for: key == nil ? nil : own.span.bytes)
      let position = chosen.end
      let time = options.timestamps ? timestamp ?? log.clock.wallMilliseconds() : RawRecord.noTimestamp
      chosen.append(key, value, headers, timestamp: time)
      topic.wakeSources()
      return (chosen.id, position)
    }
  }

  /// Appends one record with a text for its value.
  @discardableResult
  public func append(to stream: String, partition: Int? = nil, key: String? = nil, _ text: String) throws
    -> (partition: PartitionID, position: UInt64)
  {
    try append(to: stream, partition: partition, key: key.map { Array($0.utf8) }, value: Array(text.utf8))
  }

  /// Copies of the records that a stream holds, partition by partition; empty where there is no such stream.
  public func records(of stream: String) -> [MemoryRecord] {
    log.lock.locked { log.topics[stream]?.partitions.flatMap(\.records) ?? [] }
  }

  /// How many records were ever appended to a stream.
  public func appendedCount(of stream: String) -> UInt64 {
    log.lock.locked { log.topics[stream]?.partitions.reduce(0) { $0 + $1.end } ?? 0 }
  }

  // MARK: Under the lock

  private func topic(_ name: String) throws -> MemoryTopic {
    if let topic = log.topics[name] { return topic }
    if options.createsStreams {
      return log.makeTopic(name, partitions: options.partitions, retention: options.retention)
    }
    return try existing(name)
  }

  private func existing(_ name: String) throws -> MemoryTopic {
    if let topic = log.topics[name] { return topic }
    throw TransportError(.transport, "There is no stream \"\(name)\"; create it first.")
  }

  private func checkOpen() throws {
    if isClosed { throw TransportError(.closed, "The memory transport is closed.") }
  }
}
