/// One partition of one life of a stream: the unit of order and of ownership.
public struct PartitionID: Hashable, Sendable {
  /// The stream's name on its transport.
  public var stream: String
  /// Names one life of the stream: re-created under the same name it is another one.
  public var incarnation: String
  /// The partition's number within the stream, from 0.
  public var index: Int

  public init(stream: String, incarnation: String, index: Int) {
    self.stream = stream
    self.incarnation = incarnation
    self.index = index
  }
}

extension PartitionID: Comparable {
  public static func < (a: PartitionID, b: PartitionID) -> Bool {
    (a.stream, a.index, a.incarnation) < (b.stream, b.index, b.incarnation)
  }
}

extension PartitionID: CustomStringConvertible {
  /// `stream/partition`, as people see it in locators and messages.
  public var description: String { "\(stream)/\(index)" }
}

/// A partition that this process owns. Commits name the generation, so that a commit of an earlier
/// ownership is told apart and refused.
public struct Assignment: Hashable, Sendable {
  public var partition: PartitionID
  /// The source's count of this ownership.
  public var generation: UInt64

  public init(partition: PartitionID, generation: UInt64) {
    self.partition = partition
    self.generation = generation
  }
}

extension Assignment: CustomStringConvertible {
  public var description: String { "\(partition) (generation \(generation))" }
}

/// The place of the record to read next in a partition.
public struct Position: Hashable, Sendable {
  public var next: UInt64
  /// For transports whose places are more than one number.
  public var token: [UInt8]?

  public init(next: UInt64, token: [UInt8]? = nil) {
    self.next = next
    self.token = token
  }
}

extension Position: CustomStringConvertible {
  public var description: String { String(next) }
}
