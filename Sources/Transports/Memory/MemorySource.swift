import DatabusCore

/// The reading end of a stream in memory: its batches lend the log's own memory.
final class MemorySource: EventSource, @unchecked Sendable {
  // Sendable: every variable is only touched under the log's lock.
  let capabilities: SourceCapabilities
  let signal: MemorySignal
  let revocationWindow: Duration
  private let tombstoneRetention: Duration?
  private let log: MemoryLog
  private let stream: String
  private let mode: SourceMode
  private var topic: MemoryTopic
  private(set) var group: MemoryGroup?
  private var cursors: [Cursor] = []
  private var pending: [Notice] = []
  private var turn = 0
  private var isClosed = false

  private struct Cursor {
    let assignment: Assignment
    let partition: MemoryPartition
    /// nil: no `seek` yet.
    var position: UInt64?
    var isPaused = false
    var isRevoking = false
  }

  private enum Notice {
    case assigned([Assignment])
    case revoking([Assignment], deadline: Instant)
    case lost([Assignment])
  }

  private enum Found {
    case notice(Notice)
    case records(MemoryChunk, Range<Int>, byteCount: Int, Assignment)
    case gap(Assignment, from: UInt64, to: UInt64)
    case passed(Assignment, to: UInt64)
    case end
    case nothing(version: UInt64, deadline: Instant?)
  }

  /// Called under the log's lock, as is `attach`.
  init(_ log: MemoryLog, _ topic: MemoryTopic, _ mode: SourceMode, _ options: MemoryTransport.Options) {
    self.log = log
    self.topic = topic
    self.mode = mode
    stream = topic.name
    signal = MemorySignal(lock: log.lock)
    revocationWindow = options.revocationWindow
    tombstoneRetention = options.tombstoneRetention
    var isMember = false
    if case .group = mode { isMember = true }
    capabilities = SourceCapabilities(
      commits: isMember && options.commits, groups: isMember, timestamps: options.timestamps,
      seeksByTime: true)
  }

  /// Joins the group, or takes every partition.
  func attach() {
    topic.sources.append(self)
    switch mode {
    case .group(let name):
      let group = topic.group(name)
      self.group = group
      group.join(self)
    case .everything(let starts):
      for partition in topic.partitions {
        take(partition, at: starts[partition.id]?.next ?? partition.first)
      }
    }
  }

  func take(_ partition: MemoryPartition, at position: UInt64) {
    let assignment = Assignment(partition: partition.id, generation: 1)
    tellAssigned(assignment)
    if let index = cursors.firstIndex(where: { $0.assignment == assignment }) {
      cursors[index].position = position
    }
  }

  // MARK: What the group tells, under the lock

  func tellAssigned(_ assignment: Assignment) {
    guard let partition = topic.partition(assignment.partition) else { return }
    cursors.append(Cursor(assignment: assignment, partition: partition))
    if case .assigned(let earlier)? = pending.last {
      pending[pending.count - 1] = .assigned(earlier + [assignment])
    } else {
      pending.append(.assigned([assignment]))
    }
    signal.raise()
  }

  func tellRevoking(_ assignment: Assignment, by deadline: Instant) {
    for index in cursors.indices where cursors[index].assignment == assignment {
      cursors[index].isRevoking = true
    }
    if case .revoking(let earlier, deadline)? = pending.last {
      pending[pending.count - 1] = .revoking(earlier + [assignment], deadline: deadline)
    } else {
      pending.append(.revoking([assignment], deadline: deadline))
    }
    signal.raise()
  }

  func tellLost(_ assignments: [Assignment]) {
    cursors.removeAll { assignments.contains($0.assignment) }
    pending.append(.lost(assignments))
    signal.raise()
  }

  /// Tells an assignment that is in force once more.
  func tellAgain(_ assignment: Assignment) {
    pending.append(.assigned([assignment]))
    signal.raise()
  }

  // MARK: Reading

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    var deadline: Instant?
    while true {
      switch try log.lock.locked({ try poll(records: records, bytes: bytes) }) {
      case .records(let chunk, let range, let byteCount, let assignment):
        return .batch(chunk.batch(range, byteCount: byteCount, assignment: assignment))
      case .notice(.assigned(let assignments)): return .assigned(assignments)
      case .notice(.revoking(let assignments, let deadline)):
        return .revoking(assignments, deadline: deadline)
      case .notice(.lost(let assignments)): return .lost(assignments)
      case .gap(let assignment, let from, let to): return .gap(assignment, from: from, to: to)
      case .passed(let assignment, let position): return .passed(assignment, to: position)
      case .end: return .end
      case .nothing(let version, let wake):
        if wait <= .zero || Task.isCancelled { return .idle }
        let now = log.clock.now()
        let limit = deadline ?? now + wait
        deadline = limit
        if now >= limit { return .idle }
        await signal.wait(since: version, until: min(limit, wake ?? limit), log.clock)
      }
    }
  }

  private func poll(records: Int, bytes: Int) throws -> Found {
    try checkOpen()
    try log.conduct(of: stream).raise(.next)
    if topic.isDeleted { try attachAnew() }
    group?.expire()
    if !pending.isEmpty { return .notice(pending.removeFirst()) }
    var isAtEnd = !cursors.isEmpty
    for _ in cursors.indices {
      turn = turn + 1 < cursors.count ? turn + 1 : 0
      while let position = cursors[turn].position, !cursors[turn].isPaused, !cursors[turn].isRevoking {
        let cursor = cursors[turn]
        switch cursor.partition.read(from: position, records: records, bytes: bytes) {
        case .records(let chunk, let range):
          cursors[turn].position = position + UInt64(range.count)
          return .records(chunk, range, byteCount: chunk.byteCount(of: range), cursor.assignment)
        case .gap(let from, let to):
          cursors[turn].position = to
          return .gap(cursor.assignment, from: from, to: to)
        case .hole(let to):
          cursors[turn].position = to
          // A record behind it says as much by its position.
          if to == cursor.partition.end { return .passed(cursor.assignment, to: to) }
          continue
        case .nothing: break
        }
        break
      }
      if cursors[turn].position != cursors[turn].partition.end { isAtEnd = false }
    }
    if topic.isFinished, isAtEnd { return .end }
    return .nothing(version: signal.version, deadline: group?.earliestDeadline)
  }

  /// The stream was deleted. Where it was made anew, this source goes on with its next life.
  private func attachAnew() throws {
    let old = cursors.map(\.assignment)
    cursors = []
    group = nil
    if !old.isEmpty {
      pending = []
      pending.append(.lost(old))
    }
    guard let next = log.topics[stream] else {
      if !pending.isEmpty { return }
      throw TransportError(
        .transport, "The stream \"\(stream)\" was deleted; create it again to read on.")
    }
    topic = next
    attach()
  }

  private func checkOpen() throws {
    if isClosed {
      throw TransportError(.closed, "The source of \"\(stream)\" is closed.")
    }
  }

  private func isCurrent(_ assignment: Assignment) -> Bool {
    cursors.contains { $0.assignment == assignment }
  }

  // MARK: Everything else

  func commit(_ marks: [CommitMark]) async throws -> [Assignment] {
    try log.lock.locked {
      try checkOpen()
      try log.conduct(of: stream).raise(.commit)
      guard capabilities.commits, let group else {
        throw TransportError(
          .transport, "\"\(stream)\" is read without commits: positions belong into the state.")
      }
      group.expire()
      var refused: [Assignment] = []
      for mark in marks {
        if group.isCurrent(mark.assignment), isCurrent(mark.assignment) {
          let index = mark.assignment.partition.index
          group.committed[index] = CommittedPosition(position: mark.position, metadata: mark.metadata)
          topic.trim(index)
        } else {
          refused.append(mark.assignment)
        }
      }
      return refused
    }
  }

  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try log.lock.locked {
      try checkOpen()
      try log.conduct(of: stream).raise(.committed)
      return assignments.map { assignment in
        topic.partition(assignment.partition).flatMap { group?.committed[$0.id.index] }
      }
    }
  }

  /// An assignment that is over is passed over: `lost` tells of it.
  func seek(_ assignment: Assignment, to position: Position) async throws {
    try log.lock.locked {
      try checkOpen()
      try log.conduct(of: stream).raise(.seek)
      for index in cursors.indices where cursors[index].assignment == assignment {
        cursors[index].position = position.next
      }
      signal.raise()
    }
  }

  func pause(_ assignments: [Assignment], _ paused: Bool) async throws {
    try log.lock.locked {
      try checkOpen()
      for index in cursors.indices where assignments.contains(cursors[index].assignment) {
        cursors[index].isPaused = paused
      }
      signal.raise()
    }
  }

  func release(_ assignments: [Assignment]) async throws {
    try log.lock.locked {
      try checkOpen()
      group?.expire()
      let own = assignments.filter { isCurrent($0) }
      cursors.removeAll { own.contains($0.assignment) }
      for assignment in own { group?.release(assignment) }
    }
  }

  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try log.lock.locked {
      try checkOpen()
      try log.conduct(of: stream).raise(.bounds)
      return try partitions.map { try partition($0).bounds }
    }
  }

  func partitions() async throws -> [PartitionID] {
    try log.lock.locked {
      try checkOpen()
      try log.conduct(of: stream).raise(.bounds)
      return log.topics[stream]?.partitionIDs ?? []
    }
  }

  func compaction() async throws -> StreamCompaction? {
    tombstoneRetention.map { StreamCompaction(tombstoneRetention: $0) }
  }

  func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position] {
    try log.lock.locked {
      try checkOpen()
      return try partitions.map { Position(next: try partition($0).position(at: timestamp)) }
    }
  }

  private func partition(_ id: PartitionID) throws -> MemoryPartition {
    if let partition = log.topics[stream]?.partition(id) { return partition }
    throw TransportError(
      .transport, "There is no partition \(id) in this life of the stream; ask for its partitions again.")
  }

  func close() async {
    log.lock.locked { end() }
  }

  /// Under the lock: leaves without a commit.
  func end() {
    if isClosed { return }
    isClosed = true
    topic.sources.removeAll { $0 === self }
    cursors = []
    pending = []
    let group = self.group
    self.group = nil
    group?.leave(self)
    signal.raise()
  }
}
