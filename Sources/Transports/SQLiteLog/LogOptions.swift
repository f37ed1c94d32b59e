import DatabusCore

/// How long records stay in a topic. Every limit that is set holds; none: they stay for ever.
///
/// Limits are those of one partition. Records that a registered group has not read yet stay whatever the limits say, unless `force`.
public struct LogRetention: Sendable, Hashable {
  /// Records older than this are removed.
  public var age: Duration?
  /// Keys, values and headers in a partition, in bytes: the oldest are removed above it.
  public var bytes: Int?
  /// Records in a partition: the oldest are removed above it.
  public var records: Int?
  /// Removes also what a group has not read: its source is then told of a gap.
  public var force: Bool

  public init(age: Duration? = nil, bytes: Int? = nil, records: Int? = nil, force: Bool = false) {
    self.age = age
    self.bytes = bytes
    self.records = records
    self.force = force
  }

  var isUnlimited: Bool { age == nil && bytes == nil && records == nil }
}

/// Limits and intervals of a log file.
public struct SQLiteLogOptions: Sendable {
  /// The largest record (key, value and headers), in bytes, at most 512 MiB; a larger one ends with a *record* error.
  public var maximumRecordBytes = 64 << 20
  /// Records and bytes that wait to be written, for the whole file; at the limit sinks accept no more.
  public var maximumQueuedRecords = 65_536
  public var maximumQueuedBytes = 32 << 20
  /// How long a write waits for another process's.
  public var busyTimeout: Duration = .seconds(5)
  /// How often a waiting source looks whether another process has appended; half as often after a second without any.
  public var pollInterval: Duration = .milliseconds(5)
  /// A group's owner that has not renewed its lease for this long has lost it.
  public var lease: Duration = .seconds(5)
  public var leaseRenewal: Duration = .seconds(1)
  /// How often a standby looks whether the group's owner is gone.
  public var standbyInterval: Duration = .milliseconds(100)
  /// By topic; the entry `*` is for all topics without one of their own.
  public var retention: [String: LogRetention] = [:]
  /// The least time between two looks at what retention removes from a topic.
  public var retentionInterval: Duration = .seconds(10)

  public init() {}

  /// SQLite takes no row larger than 1,000,000,000 bytes.
  var recordLimit: Int { min(max(maximumRecordBytes, 1), 512 << 20) }

  func retention(of topic: String) -> LogRetention? { retention[topic] ?? retention["*"] }
}
