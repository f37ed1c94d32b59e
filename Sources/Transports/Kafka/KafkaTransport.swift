import DatabusCore

/// Streams on Apache Kafka, over librdkafka.
///
/// A stream is a topic, a group is a consumer group, and a position is an offset.
public final class KafkaTransport: Transport {
  private let options: KafkaOptions
  private let log: Logger
  private let administration: KafkaAdministration

  /// Nothing is connected to yet.
  ///
  /// - Parameter readerName: the group's name that librdkafka's readers of whole streams carry, though they never join it: the
  ///   pipeline's, for which permissions are there.
  /// - Throws: `TransportError` of class `fatal` where librdkafka refuses a property.
  public init(_ options: KafkaOptions, readerName: String, log: Logger = .off) throws {
    self.options = options
    self.log = log
    administration = try KafkaAdministration(options, readerName: readerName, log)
    // A producer's properties are checked now, and not at the first result.
    try KafkaProperties.check(.producer, options)
  }

  public func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    try await openSource(stream, mode)
  }

  func openSource(_ stream: String, _ mode: SourceMode) async throws -> KafkaSource {
    var isTable = false
    if case .everything = mode { isTable = true }
    let topology = try await administration.topology(stream, isTable: isTable)
    let incarnation = try await administration.incarnation(of: stream)
    let source = try KafkaSource(
      stream, mode, options, log, incarnation: incarnation, administration: administration)
    do {
      try await source.open(topology)
    } catch {
      await source.close()
      throw error
    }
    return source
  }

  public func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    if options.creation.isOn { _ = try await administration.topology(stream, isTable: false) }
    let sink = try KafkaSink(stream, options, log, completions)
    do {
      try await sink.open()
    } catch {
      await sink.close()
      throw error
    }
    return sink
  }

  // MARK: Topics

  public func topics() async throws -> [TopicDescription] {
    let all = try await administration.client.topologies()
    var topics: [TopicDescription] = []
    for (name, topology) in all.sorted(by: { $0.key < $1.key }) {
      let incarnation = try await administration.incarnation(of: name)
      let indices = topology.indices
      let bounds: [(first: Int64, end: Int64)]
      do {
        bounds = try await administration.client.bounds(name, indices)
      } catch {
        // Deleted since the list was made.
        do { _ = try await administration.client.topology(name) } catch is UnknownTopic { continue }
        throw error
      }
      topics.append(
        TopicDescription(
          name: name, partitions: indices.map { PartitionID(stream: name, incarnation: incarnation, index: $0) },
          bounds: bounds.map { PartitionBounds(first: $0, end: $1) }))
    }
    return topics
  }

  public func createTopic(_ name: String, partitions: Int) async throws {
    var settings = options.creation.settings(of: name, isTable: false)
    settings.partitions = partitions
    try await administration.create(name, settings)
    _ = try await administration.existing(name)
  }

  public func deleteTopic(_ name: String) async throws { try await administration.delete(name) }

  // MARK: Groups

  public func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  {
    let topology: KafkaTopology
    do {
      topology = try await administration.client.topology(stream)
    } catch let unknown as UnknownTopic {
      throw administration.missing(unknown)
    }
    let incarnation = try await administration.incarnation(of: stream)
    let indices = topology.indices
    let committed = try await administration.committed(group, stream, indices)
    return zip(indices, committed).map {
      (partition: PartitionID(stream: stream, incarnation: incarnation, index: $0), committed: $1)
    }
  }

  public func setGroupPosition(_ group: String, _ partition: PartitionID, to position: Position) async throws {
    try await administration.setCommitted(group, partition.stream, partition.index, Int64(clamping: position.next))
  }

  public func close() async { await administration.close() }
}
