/// How a source reads its stream.
public enum SourceMode: Sendable {
  /// As a member of a group: partitions are divided among the members, and the group's commits are kept.
  case group(String)
  /// All partitions, no group and no commits (rules). Right after `assigned`, and without a `seek`, partitions named here start
  /// there and all others at their beginning; a `seek` overrides that.
  case everything(from: [PartitionID: Position])
}

/// A stream as a transport knows it.
public struct TopicDescription: Sendable, Hashable {
  public var name: String
  public var partitions: [PartitionID]
  public var bounds: [PartitionBounds]

  public init(name: String, partitions: [PartitionID], bounds: [PartitionBounds]) {
    self.name = name
    self.partitions = partitions
    self.bounds = bounds
  }
}

/// A kind of stream carrier, opened: what a custom transport registers a factory for. All methods throw `TransportError`.
public protocol Transport: Sendable {
  /// Opens the reading end of a stream, or the writing one. A stream that does not exist is made, or the call throws an error of class
  /// `transport` until it exists: it is tried again.
  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource
  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink

  /// All streams that exist.
  func topics() async throws -> [TopicDescription]
  func createTopic(_ name: String, partitions: Int) async throws
  func deleteTopic(_ name: String) async throws

  /// Positions of a group, and setting them, for operators. Setting refuses while a member of the group is alive.
  func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  func setGroupPosition(_ group: String, _ partition: PartitionID, to position: Position) async throws

  func close() async
}

extension Transport {
  private func unsupported(_ what: String) -> TransportError {
    TransportError(.transport, "This transport cannot \(what).")
  }
  public func topics() async throws -> [TopicDescription] { throw unsupported("list its streams") }
  public func createTopic(_ name: String, partitions: Int) async throws {
    throw unsupported("create streams")
  }
  public func deleteTopic(_ name: String) async throws { throw unsupported("delete streams") }
  public func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  { throw unsupported("show a group's positions") }
  public func setGroupPosition(_ group: String, _ partition: PartitionID, to position: Position)
    async throws
  { throw unsupported("set a group's positions") }
  public func close() async {}
}
