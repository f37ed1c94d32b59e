import DatabusCore

/// A record as a suite appends it.
public struct TestRecord: Sendable, Hashable {
  /// nil where it has none. Always nil where the source has no `keys`.
  public var key: [UInt8]?
  /// nil for a tombstone. Otherwise one line of JSON, or nothing where `emptyValues`.
  public var value: [UInt8]?
  public var headers: [Header]

  public init(key: [UInt8]? = nil, value: [UInt8]?, headers: [Header] = []) {
    self.key = key
    self.value = value
    self.headers = headers
  }

  init(_ number: Int) {
    self.init(value: Array("{\"n\":\(number)}".utf8))
  }
}

/// A transport as the conformance suite sees it: how to make a fresh one, and what it is.
///
/// What a source and a sink can do is asked of their capabilities; here stands only what these do not say.
public struct TransportUnderTest: Sendable {
  /// For reports.
  public var name: String
  /// `makeSource` is there.
  public var hasSources = true
  /// `makeSink` is there.
  public var hasSinks = true
  /// A record may have an empty value (lines of a file cannot).
  public var emptyValues = true
  /// The most partitions that `make` can be asked for.
  public var maximumPartitions = 2
  /// How long nothing must come before the suite believes that nothing comes. Too short a time overlooks violations and makes none up.
  public var quiet = Duration.milliseconds(80)
  /// Makes a transport with one empty stream of so many partitions, which no other call has seen.
  public var make: @Sendable (_ partitions: Int) async throws -> TransportSubject

  public init(_ name: String, make: @escaping @Sendable (_ partitions: Int) async throws -> TransportSubject) {
    self.name = name
    self.make = make
  }
}

/// A fresh transport with one stream, and what can be done to it from outside. What is nil cannot be done; the cases
/// that need it are reported as skipped.
public struct TransportSubject: Sendable {
  public var transport: any Transport
  /// The name of the stream.
  public var stream: String
  /// Appends a record to a partition, as another producer would. Sources can see it when this returns.
  public var append: @Sendable (_ partition: Int, TestRecord) async throws -> Void
  /// Closes the transport and opens the same storage again.
  public var restart: (@Sendable () async throws -> any Transport)?
  /// Adds one partition to the stream.
  public var addPartition: (@Sendable () async throws -> Void)?
  /// Deletes the stream and makes it anew under the same name. No source or sink is open.
  public var recreate: (@Sendable () async throws -> Void)?
  /// Removes the records of a partition that stand before a position, as retention does.
  public var truncate: (@Sendable (PartitionID, _ before: UInt64) async throws -> Void)?
  /// Lets at least one position of a partition pass that will never hold a record, behind those that are there, as an aborted transaction does.
  public var skip: (@Sendable (_ partition: Int) async throws -> Void)?
  /// Sets what a group has committed, as an operator does. No source is open. Preset: `Transport.setGroupPosition`.
  public var setGroupPosition: (@Sendable (_ group: String, PartitionID, _ position: UInt64) async throws -> Void)?
  /// Has a partition taken away from its owner in good order, and gives it to nobody until the group's member is closed. The source is
  /// polled meanwhile.
  public var revoke: (@Sendable (_ group: String, PartitionID) async throws -> Void)?
  /// Has a partition taken away from its owner at once, as from a member that was silent for too long. The source is polled
  /// meanwhile.
  public var lose: (@Sendable (_ group: String, PartitionID) async throws -> Void)?
  /// The sinks accept so many more deliveries, then have no room; nil: as many as they like.
  public var limitRoom: (@Sendable (_ deliveries: Int?) async throws -> Void)?
  /// Removes everything. Called at the end of every case.
  public var tearDown: @Sendable () async -> Void = {}

  public init(
    transport: any Transport, stream: String,
    append: @escaping @Sendable (_ partition: Int, TestRecord) async throws -> Void
  ) {
    self.transport = transport
    self.stream = stream
    self.append = append
    setGroupPosition = { group, partition, position in
      try await transport.setGroupPosition(group, partition, to: Position(next: position))
    }
  }
}
