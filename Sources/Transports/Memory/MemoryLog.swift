import DatabusCore

/// The streams of one or more `MemoryTransport`s: what a transport that is opened again finds, as a broker keeps it.
///
/// It lives as long as somebody holds it. Two transports over one log are two processes at one broker.
public final class MemoryLog: @unchecked Sendable {
  // Sendable: everything that changes is only touched under `lock`.
  let lock = MemoryLock()
  let clock: any EngineClock
  private let nonce: String?
  private var lives: UInt64 = 0
  private(set) var topics: [String: MemoryTopic] = [:]
  private var conducts: [String: MemoryConduct] = [:]

  /// - Parameters:
  ///   - clock: appended records get its wall time; deadlines are moments of it.
  ///   - nonce: the start of every incarnation; nil for one that no other log has.
  public init(clock: any EngineClock = SystemClock(), nonce: String? = nil) {
    self.clock = clock
    self.nonce = nonce
  }

  private static func randomName() -> String {
    var random = SystemRandomNumberGenerator()
    let number = String(random.next(), radix: 16)
    return String(repeating: "0", count: 16 - number.count) + number
  }

  // MARK: Under the lock

  func makeTopic(_ name: String, partitions: Int, retention: MemoryTransport.Retention) -> MemoryTopic {
    lives += 1
    let topic = MemoryTopic(
      name: name, incarnation: nonce.map { "\($0)-\(lives)" } ?? Incarnation.mint(), partitions: partitions,
      retention: retention,
      log: self)
    topics[name] = topic
    return topic
  }

  /// The stream ends for ever; its readers are told.
  func removeTopic(_ name: String) {
    guard let topic = topics.removeValue(forKey: name) else { return }
    topic.isDeleted = true
    for source in topic.sources { source.signal.raise() }
  }

  func conduct(of stream: String) -> MemoryConduct {
    if let conduct = conducts[stream] { return conduct }
    let conduct = MemoryConduct()
    conducts[stream] = conduct
    return conduct
  }
}

/// One life of a stream. Touched only under the log's lock.
final class MemoryTopic {
  let name: String
  let incarnation: String
  let retention: MemoryTransport.Retention
  unowned let log: MemoryLog
  private(set) var partitions: [MemoryPartition] = []
  private(set) var groups: [String: MemoryGroup] = [:]
  var sources: [MemorySource] = []
  var isDeleted = false
  var isFinished = false
  /// Where the next record without key goes.
  private var turn = 0

  init(
    name: String, incarnation: String, partitions: Int, retention: MemoryTransport.Retention,
    log: MemoryLog
  ) {
    self.name = name
    self.incarnation = incarnation
    self.retention = retention
    self.log = log
    for _ in 0..<max(partitions, 1) { _ = addPartition() }
  }

  var partitionIDs: [PartitionID] { partitions.map(\.id) }

  func addPartition() -> PartitionID {
    let id = PartitionID(stream: name, incarnation: incarnation, index: partitions.count)
    partitions.append(MemoryPartition(id: id, retention: retention, lock: log.lock))
    return id
  }

  func partition(_ id: PartitionID) -> MemoryPartition? {
    id.stream == name && id.incarnation == incarnation && partitions.indices.contains(id.index)
      ? partitions[id.index] : nil
  }

  /// Records with the same key go to the same partition, those without one to each in turn.
  func partition(for key: RawSpan?) -> MemoryPartition {
    if partitions.count == 1 { return partitions[0] }
    guard let key else {
      turn = (turn + 1) % partitions.count
      return partitions[turn]
    }
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325  // FNV-1a
    for offset in key.byteOffsets {
      hash = (hash ^ UInt64(key.unsafeLoad(fromByteOffset: offset, as: UInt8.self))) &* 0x100_0000_01b3
    }
    return partitions[Int(hash % UInt64(partitions.count))]
  }

  func group(_ name: String) -> MemoryGroup {
    if let group = groups[name] { return group }
    let group = MemoryGroup(name: name, topic: self)
    groups[name] = group
    return group
  }

  func wakeSources() {
    for source in sources { source.signal.raise() }
  }

  /// What every group has committed needs no memory any more, where the stream was made so.
  func trim(_ index: Int) {
    if retention != .untilCommitted { return }
    let committed = groups.values.map { $0.committed[index]?.position.next ?? 0 }
    if let least = committed.min() { partitions[index].trim(committed: least) }
  }
}
