/// What a source can do. The configuration is checked against it, and so is the conformance suite.
public struct SourceCapabilities: Sendable, Hashable {
  /// A position can be read again after it was read.
  public var replayable: Bool
  /// The transport keeps commits itself. Otherwise positions live in the state backend alone.
  public var commits: Bool
  /// Partitions are divided among the members of a group, and can be taken away.
  public var groups: Bool
  /// Records carry a timestamp of the transport's own.
  public var timestamps: Bool
  /// Records carry keys, headers and tombstones.
  public var keys: Bool
  public var headers: Bool
  public var tombstones: Bool
  /// `positions(of:at:)` is there.
  public var seeksByTime: Bool
  /// Every assignment of a partition starts the whole table again: what is not in it any more is gone (a rules file).
  public var wholeTable: Bool
  /// The stream is over at some time (`end`): standard input, a file that is not followed.
  public var finite: Bool

  public init(
    replayable: Bool = true, commits: Bool = true, groups: Bool = true, timestamps: Bool = true,
    keys: Bool = true, headers: Bool = true, tombstones: Bool = true, seeksByTime: Bool = false,
    wholeTable: Bool = false, finite: Bool = false
  ) {
    self.replayable = replayable
    self.commits = commits
    self.groups = groups
    self.timestamps = timestamps
    self.keys = keys
    self.headers = headers
    self.tombstones = tombstones
    self.seeksByTime = seeksByTime
    self.wholeTable = wholeTable
    self.finite = finite
  }
}

/// What `EventSource.next` has to tell.
public enum SourceEvent: ~Copyable, Sendable {
  /// Records of exactly one assignment, in order.
  case batch(RecordBatch)
  /// Partitions that this process owns from now on. Those of a group deliver nothing until `seek` says where to start; those of
  /// `SourceMode.everything` start by themselves where that says, and a `seek` overrides it.
  case assigned([Assignment])
  /// Partitions that will be taken away: drain, checkpoint, commit, then `release`, all before the deadline.
  /// They deliver nothing any more.
  case revoking([Assignment], deadline: Instant)
  /// Partitions that already belong to somebody else: discard, never commit.
  case lost([Assignment])
  /// Records that are gone, from the first position up to but not including the second.
  case gap(Assignment, from: UInt64, to: UInt64)
  /// No record stands before this position that was not delivered: what lies between holds none and never will (the marks of
  /// transactions, what compaction removed). Told where nothing readable stands behind it yet: otherwise the next record's
  /// position says the same. Without it nobody could tell whether the end of the stream has been reached.
  case passed(Assignment, to: UInt64)
  /// Nothing came within the time to wait.
  case idle
  /// A finite stream is over, for good.
  case end
}

/// A position to commit, with what the engine wants to find beside it later.
public struct CommitMark: Sendable, Hashable {
  public var assignment: Assignment
  public var position: Position
  /// `<backend id>/<checkpoint number>/<rules position vector>`; empty after an operator's reset.
  public var metadata: String

  public init(assignment: Assignment, position: Position, metadata: String) {
    self.assignment = assignment
    self.position = position
    self.metadata = metadata
  }
}

/// What a transport holds as committed for a partition.
public struct CommittedPosition: Sendable, Hashable {
  public var position: Position
  /// Empty where an operator set the position.
  public var metadata: String

  public init(position: Position, metadata: String) {
    self.position = position
    self.metadata = metadata
  }
}

/// What compaction does to a stream: of each key only the latest record is kept, and tombstones go after a while.
public struct StreamCompaction: Sendable, Hashable {
  /// How long a tombstone is kept at least: who has not read for longer may have missed one.
  public var tombstoneRetention: Duration

  public init(tombstoneRetention: Duration) { self.tombstoneRetention = tombstoneRetention }
}

/// What a partition holds now.
public struct PartitionBounds: Sendable, Hashable {
  /// The first position that can be read.
  public var first: Position
  /// The position of the record to be appended next.
  public var end: Position
  /// Records have been removed from the start of this partition (retention, deletion).
  public var isTruncated: Bool

  public init(first: Position, end: Position, isTruncated: Bool = false) {
    self.first = first
    self.end = end
    self.isTruncated = isTruncated
  }
}

/// The reading end of one stream on one transport.
///
/// The engine pulls: what it asks for is its credit. One caller at a time calls `next`; every other method may be called
/// at the same time from elsewhere. All methods throw `TransportError`.
///
/// Order of things for a partition: `assigned`, then `seek` by the engine, then batches from that position on, in order. After
/// `revoking` or `lost` no further batch of that generation comes.
///
/// An assignment can end at any moment, and its caller hears of it only at the next `next`. So `seek`, `pause` and `release`
/// of one that is over (of another generation, released, revoked, lost) do nothing and throw nothing: the engine tries a call that
/// throws again without limit. `commit` alone says what it refused.
public protocol EventSource: Sendable {
  var capabilities: SourceCapabilities { get }

  /// Waits until there is something to tell, at most `wait`.
  ///
  /// - Parameters:
  ///   - records: the most records to return in a batch, at least 1.
  ///   - bytes: the most bytes; a first record that alone is larger comes all the same.
  ///   - wait: zero returns at once with what is there.
  /// - Throws: `TransportError` of class `transport` (call again), `fatal` or `closed`.
  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent

  /// Commits positions under the ownership that each mark names.
  ///
  /// - Returns: the assignments whose generation is not current any more; nothing was committed for them.
  func commit(_ marks: [CommitMark]) async throws -> [Assignment]

  /// What is committed for the assignments, in their order; nil where nothing is.
  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?]

  /// Delivers from this position on. Records read ahead from elsewhere are dropped.
  ///
  /// A position before the first one that exists is told as a `gap` up to that one, and delivery goes on there. One past the
  /// end is told as a `gap` from the position back to the end (`from` is larger than `to`): the records that once stood there are
  /// gone. Delivery goes on at the end, so with the next record that is appended; a transport that takes this for another life of the
  /// stream ends the assignment (`revoking` or `lost`) and assigns the new life, which begins at its beginning. The
  /// position right at the end is no gap.
  func seek(_ assignment: Assignment, to position: Position) async throws

  /// Stops or resumes the delivery of these partitions. Others go on, but where a finite stream promises an order of its
  /// partitions: there what is paused holds back what stands behind it.
  func pause(_ assignments: [Assignment], _ paused: Bool) async throws

  /// Gives assignments back that were `revoking`, or that are not wanted any more. Commits of them are refused from then on. A
  /// partition that nobody asked for is offered to the group's members again some seconds later: it must not stay nobody's.
  func release(_ assignments: [Assignment]) async throws

  /// What the partitions hold now, in their order. Partitions that do not exist throw.
  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds]

  /// All partitions of the stream that exist now, assigned to this process or not.
  func partitions() async throws -> [PartitionID]

  /// The first positions whose records are not older than `timestamp` (milliseconds since 1970), where `seeksByTime`.
  func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position]

  /// What compaction does to the stream; nil: it is not compacted.
  func compaction() async throws -> StreamCompaction?

  /// The token that belongs to `next` in this assignment, for transports whose positions have one.
  func token(for next: UInt64, in assignment: Assignment) -> [UInt8]?

  /// Ends this source: a waiting `next` throws `closed`, and assignments go back without a commit.
  func close() async
}

extension EventSource {
  public func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position] {
    throw TransportError(
      .transport,
      "This transport cannot find a position by time; set \"start\" to \"earliest\" or \"latest\".")
  }
  public func compaction() async throws -> StreamCompaction? { nil }
  public func token(for next: UInt64, in assignment: Assignment) -> [UInt8]? { nil }
}
