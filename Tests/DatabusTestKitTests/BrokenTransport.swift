import DatabusCore
import DatabusTestKit
import Synchronization

/// One thing that a transport does wrong, and the case that must find it.
enum TransportDefect: String, CaseIterable, Sendable {
  case swapsRecords = "order within a partition"
  case exceedsBatch = "a batch is no larger than asked for"
  case makesKeysUp = "keys"
  case losesNilHeaders = "headers"
  case fillsTombstones = "a tombstone is a record without value"
  case emptiesToTombstones = "an empty value is a value"
  case losesMetadata = "a commit is found again with its metadata"
  case resumesOneEarly = "resumes at exactly the position"
  case commitsForAnyGeneration = "a commit of another generation is refused"
  case keepsMetadataOverReset = "a position reset by an operator is found without metadata"
  case refusesInRevokeWindow = "revoked with work in flight: commits count until the release"
  case commitsWhatIsLost = "a lost assignment can commit nothing"
  case refusesPastAssignments = "what is asked of an assignment that is over is ignored"
  case assignsTwice = "a partition has one owner and is assigned once"
  case ignoresStart = "everything is read without a group, from where it is told"
  case ignoresPause = "a paused partition is silent and goes on"
  case restampsOnReread = "read again, a record has the same identity"
  case keepsIncarnation = "in a stream made anew, a record has another identity"
  case jumpsOverGaps = "a position out of range is told as a gap"
  case staysBeforeHoles = "positions without records are passed"
  case listsOldPartitions = "an added partition is listed and delivered from its beginning"
  case forgetsFirstAtRestart = "records and commits survive a restart"
  case staysOpen = "closing ends a wait"
  case claimsTooMuch = "a full sink accepts a part and takes the rest later"
  case mistakesOversize = "a record too large fails alone, as a record error"
  case endsTwice = "every accepted delivery ends exactly once"
}

/// A sound transport with one defect put over it.
struct BrokenTransport: Transport {
  let base: any Transport
  let defect: TransportDefect
  var isReopened = false
  let memory = BrokenMemory()

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    var mode = mode
    if case .everything(let from) = mode {
      mode = .everything(from: defect == .ignoresStart ? [:] : try await inward(from, stream))
    }
    return BrokenSource(try await base.makeSource(stream, mode), defect, isReopened: isReopened, memory)
  }

  /// The partitions as the sound transport knows them.
  private func inward(_ from: [PartitionID: Position], _ stream: String) async throws -> [PartitionID: Position] {
    if defect != .keepsIncarnation { return from }
    let partitions = try await base.topics().first { $0.name == stream }?.partitions ?? []
    return Dictionary(
      from.map { (partitions[$0.key.index], $0.value) }, uniquingKeysWith: { $1 })
  }

  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    let port = BrokenPort(base: completions, defect: defect)
    return BrokenSink(base: try await base.makeSink(stream, port), defect: defect)
  }

  func groupPositions(_ group: String, stream: String) async throws
    -> [(partition: PartitionID, committed: CommittedPosition?)]
  {
    try await base.groupPositions(group, stream: stream).map { partition, committed in
      (defect == .keepsIncarnation ? partition.withIncarnation("always") : partition, committed)
    }
  }

  func close() async { await base.close() }

  /// The subject with this defect.
  static func subject(_ defect: TransportDefect, _ sound: TransportSubject) -> TransportSubject {
    var subject = sound
    subject.transport = BrokenTransport(base: sound.transport, defect: defect)
    if let restart = sound.restart {
      subject.restart = { BrokenTransport(base: try await restart(), defect: defect, isReopened: true) }
    }
    return subject
  }
}

extension PartitionID {
  func withIncarnation(_ incarnation: String) -> PartitionID {
    PartitionID(stream: stream, incarnation: incarnation, index: index)
  }
}

/// What a broken transport remembers from one source to the next.
final class BrokenMemory: Sendable {
  let metadata = Mutex<[PartitionID: String]>([:])
  let delivered = Mutex<Set<[UInt64]>>([])
}

private final class BrokenSource: EventSource {
  private struct State {
    var held: [Int: Assignment] = [:]
    var revoking: Set<Assignment> = []
    var lost: Set<Assignment> = []
    var again: [Assignment] = []
    var incarnation = ""
    var partitions: [PartitionID]?
  }

  private let base: any EventSource
  private let defect: TransportDefect
  private let isReopened: Bool
  private let memory: BrokenMemory
  private let state = Mutex(State())

  init(
    _ base: any EventSource, _ defect: TransportDefect, isReopened: Bool, _ memory: BrokenMemory
  ) {
    self.base = base
    self.defect = defect
    self.isReopened = isReopened
    self.memory = memory
  }

  var capabilities: SourceCapabilities { base.capabilities }

  // MARK: The incarnation that never changes

  private func outward(_ partition: PartitionID) -> PartitionID {
    if defect != .keepsIncarnation { return partition }
    state.withLock { $0.incarnation = partition.incarnation }
    return partition.withIncarnation("always")
  }

  private func outward(_ assignment: Assignment) -> Assignment {
    Assignment(partition: outward(assignment.partition), generation: assignment.generation)
  }

  private func inward(_ partition: PartitionID) -> PartitionID {
    defect == .keepsIncarnation ? partition.withIncarnation(state.withLock { $0.incarnation }) : partition
  }

  private func inward(_ assignment: Assignment) -> Assignment {
    Assignment(partition: inward(assignment.partition), generation: assignment.generation)
  }

  // MARK: Events

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let again = state.withLock { state in
      defer { state.again = [] }
      return state.again
    }
    if !again.isEmpty { return .assigned(again) }
    do {
      return try await event(records: defect == .exceedsBatch ? records * 2 : records, bytes: bytes, wait: wait)
    } catch let error as TransportError where error.class == .closed && defect == .staysOpen {
      return .idle
    }
  }

  private func event(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let event = try await base.next(records: records, bytes: bytes, wait: wait)
    switch consume event {
    case .batch(let batch): return .batch(rebuild(batch))
    case .assigned(let assignments):
      state.withLock { state in
        for assignment in assignments { state.held[assignment.partition.index] = assignment }
        if defect == .assignsTwice { state.again = assignments }
      }
      return .assigned(assignments.map(outward))
    case .revoking(let assignments, let deadline):
      state.withLock { $0.revoking.formUnion(assignments) }
      return .revoking(assignments.map(outward), deadline: deadline)
    case .lost(let assignments):
      drop(assignments)
      state.withLock { $0.lost.formUnion(assignments) }
      return .lost(assignments.map(outward))
    case .gap(let assignment, let from, let to):
      if defect == .jumpsOverGaps {
        return try await self.event(records: records, bytes: bytes, wait: wait)
      }
      return .gap(outward(assignment), from: from, to: to)
    case .passed(let assignment, let position):
      if defect == .staysBeforeHoles {
        return try await self.event(records: records, bytes: bytes, wait: wait)
      }
      return .passed(outward(assignment), to: position)
    case .idle: return .idle
    case .end: return .end
    }
  }

  private func drop(_ assignments: [Assignment]) {
    state.withLock { state in
      for assignment in assignments { state.held[assignment.partition.index] = nil }
    }
  }

  private struct Copy {
    var key: [UInt8]?
    var value: [UInt8]?
    var headers: [Header]
    var timestamp: Int64
    var position: UInt64
    var next: UInt64
  }

  private func rebuild(_ batch: borrowing RecordBatch) -> RecordBatch {
    func bytes(_ start: UnsafeRawPointer?, _ count: Int32) -> [UInt8]? {
      start.map { Array(UnsafeRawBufferPointer(start: $0, count: Int(count))) }
    }
    var copies: [Copy] = []
    for index in 0..<batch.count {
      let raw = batch[index].raw
      copies.append(
        Copy(
          key: bytes(raw.key, raw.keyCount), value: bytes(raw.value, raw.valueCount),
          headers: batch.headers(at: index), timestamp: raw.timestamp, position: raw.position, next: raw.next))
    }
    spoil(&copies, UInt64(batch.assignment.partition.index))
    var builder = RecordBatchBuilder()
    for copy in copies {
      builder.append(
        key: copy.key, value: copy.value, headers: copy.headers, timestamp: copy.timestamp,
        position: copy.position, next: copy.next)
    }
    return builder.finish(outward(batch.assignment))
  }

  private func spoil(_ copies: inout [Copy], _ partition: UInt64) {
    switch defect {
    case .swapsRecords: if copies.count >= 8 { copies.swapAt(6, 7) }
    case .forgetsFirstAtRestart: if isReopened { copies.removeAll { $0.position == 0 } }
    default:
      for index in copies.indices { spoil(&copies[index], partition) }
    }
  }

  private func spoil(_ copy: inout Copy, _ partition: UInt64) {
    switch defect {
    case .makesKeysUp: copy.key = copy.key ?? []
    case .losesNilHeaders:
      copy.headers = copy.headers.map { Header(name: $0.name, value: $0.value ?? []) }
    case .fillsTombstones: copy.value = copy.value ?? []
    case .emptiesToTombstones: if copy.value == [] { copy.value = nil }
    case .keepsIncarnation: copy.timestamp = 1_795_000_000_000
    case .restampsOnReread:
      let place = [partition, copy.position]
      if !memory.delivered.withLock({ $0.insert(place).inserted }) { copy.timestamp += 1 }
    default: break
    }
  }

  // MARK: Positions

  func commit(_ marks: [CommitMark]) async throws -> [Assignment] {
    var refused: [Assignment] = []
    var passed: [CommitMark] = []
    for original in marks {
      var mark = original
      mark.assignment = inward(mark.assignment)
      let (isRevoking, isLost, held) = state.withLock { state in
        (
          state.revoking.contains(mark.assignment), state.lost.contains(mark.assignment),
          state.held[mark.assignment.partition.index]
        )
      }
      if defect == .refusesInRevokeWindow, isRevoking {
        refused.append(mark.assignment)
        continue
      }
      if defect == .commitsWhatIsLost, isLost { continue }
      if defect == .commitsForAnyGeneration, let held { mark.assignment = held }
      memory.metadata.withLock { $0[mark.assignment.partition] = mark.metadata }
      passed.append(mark)
    }
    return try await (refused + base.commit(passed)).map(outward)
  }

  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    let found = try await base.committed(assignments.map(inward))
    return zip(assignments, found).map { assignment, found in
      guard var found else { return nil }
      if defect == .losesMetadata { found.metadata = "" }
      if defect == .keepsMetadataOverReset, found.metadata.isEmpty {
        found.metadata = memory.metadata.withLock { $0[assignment.partition] } ?? ""
      }
      return found
    }
  }

  func seek(_ assignment: Assignment, to position: Position) async throws {
    if defect == .refusesPastAssignments, state.withLock({ $0.held[assignment.partition.index] }) != assignment {
      throw TransportError(.transport, "\(assignment) is not current any more")
    }
    var position = position
    if defect == .resumesOneEarly, position.next > 0, position.next < 100 { position.next -= 1 }
    try await base.seek(inward(assignment), to: position)
  }

  func pause(_ assignments: [Assignment], _ paused: Bool) async throws {
    if defect == .ignoresPause { return }
    try await base.pause(assignments.map(inward), paused)
  }

  func release(_ assignments: [Assignment]) async throws {
    drop(assignments)
    try await base.release(assignments.map(inward))
  }

  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try await base.bounds(of: partitions.map(inward))
  }

  func partitions() async throws -> [PartitionID] {
    let now = try await base.partitions().map(outward)
    if defect != .listsOldPartitions { return now }
    return state.withLock { state in
      let listed = state.partitions ?? now
      state.partitions = listed
      return listed
    }
  }

  func close() async { await base.close() }
}

private struct BrokenSink: EventSink {
  let base: any EventSink
  let defect: TransportDefect

  var capabilities: SinkCapabilities { base.capabilities }

  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int {
    let accepted = try base.send(batch, from: start)
    let isPart = accepted > 0 && accepted < batch.count - start
    return defect == .claimsTooMuch && isPart ? accepted + 1 : accepted
  }

  func writable() async throws { try await base.writable() }
  func flush(by deadline: Instant) async throws { try await base.flush(by: deadline) }
  func close() async { await base.close() }
}

private final class BrokenPort: CompletionPort {
  private let base: any CompletionPort
  private let defect: TransportDefect

  init(base: any CompletionPort, defect: TransportDefect) {
    self.base = base
    self.defect = defect
  }

  func complete(_ tokens: Span<UInt64>) {
    base.complete(tokens)
    if defect == .endsTwice { base.complete(tokens) }
  }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    let mistaken = TransportError(.transport, error.message)
    base.fail(tokens, defect == .mistakesOversize ? mistaken : error)
  }
}
