import DatabusCore
import Synchronization

/// The reading end of one topic.
///
/// As a member of a group it owns all partitions or none: the group's lease has one owner at a time, and the others stand by.
final class LogSource: EventSource {
  let capabilities: SourceCapabilities
  private let file: LogFile
  private let clock: any EngineClock
  private let group: String?
  private let owner: LeaseOwner
  private let subscription: Subscription
  private let reader: LogReader
  private let renewal = Mutex<Task<Void, Never>?>(nil)
  private static let count = Atomic<UInt64>(0)

  private var topic: String { subscription.topic }

  init(_ topic: String, _ mode: SourceMode, _ file: LogFile, _ process: ProcessIdentity, _ clock: any EngineClock) {
    subscription = Subscription(topic)
    self.file = file
    self.clock = clock
    owner = LeaseOwner(process: process, source: LogSource.count.add(1, ordering: .relaxed).newValue)
    switch mode {
    case .group(let name):
      group = name
      reader = LogReader(file, subscription, starts: nil)
    case .everything(let from):
      group = nil
      reader = LogReader(file, subscription, starts: from)
    }
    capabilities = SourceCapabilities(commits: group != nil, groups: group != nil, seeksByTime: true)
  }

  func open() async throws {
    file.register(subscription.signal)
    _ = try await file.writer.ensureTopic(topic)
    try await reader.open()
  }

  // MARK: Reading

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let deadline = SystemClock().now() + wait
    guard let group else { return try await reader.next(records: records, bytes: bytes, until: deadline) }
    while true {
      if let notice = try subscription.takeNotice() { return SourceEvent(notice) }
      if Task.isCancelled { return .idle }
      if try await holdsLease(group) { return try await reader.next(records: records, bytes: bytes, until: deadline) }
      if subscription.state.withLock({ !$0.notices.isEmpty }) { continue }
      let rest = deadline - SystemClock().now()
      if rest == .zero { return .idle }
      await reader.wait(min(rest, file.options.standbyInterval))
    }
  }

  /// Whether this source has the group's lease; takes it where it is free.
  private func holdsLease(_ group: String) async throws -> Bool {
    let (lease, renewed, standsBackUntil) = subscription.state.withLock { ($0.lease, $0.renewed, $0.standsBackUntil) }
    if let lease {
      // The process may have been stopped for longer than the lease: somebody else may be reading.
      if clock.now() - renewed > file.options.lease { try await renew(lease) }
      return subscription.state.withLock { $0.lease != nil }
    }
    if clock.now() < standsBackUntil { return false }
    guard try await file.queries.isLeaseFree(topic, group, for: owner.process, at: clock.milliseconds()) else {
      return false
    }
    let asked = clock.now()
    guard let lease = try await file.writer.acquire(topic, group, for: owner, clock) else { return false }
    let isWanted = subscription.state.withLock { state in
      if state.isClosed { return false }
      state.lease = lease
      state.renewed = asked
      state.generation = lease.generation
      state.cursors = []
      state.released = []
      state.assign(lease.topic, 0..<lease.topic.partitions) {
        Subscription.Cursor(assignment: $0, position: 0, isStarted: false)
      }
      return true
    }
    if !isWanted {
      try await file.writer.release(lease)
      return false
    }
    keepRenewing(lease)
    return false
  }

  private func keepRenewing(_ lease: Lease) {
    let interval = file.options.leaseRenewal
    let clock = clock
    let task = Task { [weak self] in
      while !Task.isCancelled {
        do { try await clock.sleep(for: interval) } catch { return }
        guard let self, subscription.state.withLock({ $0.lease == lease }) else { return }
        // A disk that is full or a file that is locked now may not be at the next turn; the lease outlasts several.
        try? await renew(lease)
      }
    }
    renewal.withLock { old in
      old?.cancel()
      old = task
    }
  }

  private func renew(_ lease: Lease) async throws {
    let asked = clock.now()
    let isHeld = try await file.writer.renew(lease, clock)
    subscription.state.withLock { state in
      guard state.lease == lease else { return }
      if isHeld { state.renewed = asked } else { state.lose() }
    }
    if !isHeld { subscription.signal.wake() }
  }

  // MARK: Positions

  func commit(_ marks: [CommitMark]) async throws -> [Assignment] {
    guard let group else {
      throw TransportError(
        .transport, "The source of \(topic) reads without a group and cannot commit: its positions belong in the state."
      )
    }
    try refuseClosed()
    let stale = try await file.writer.commit(marks, topic: topic, group: group, owner: owner, clock)
    if !stale.isEmpty {
      subscription.state.withLock { state in
        guard let lease = state.lease, stale.contains(where: { $0.generation == lease.generation }) else { return }
        state.lose()
      }
      subscription.signal.wake()
    }
    return stale
  }

  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try refuseClosed()
    guard let group else { return assignments.map { _ in nil } }
    return try await file.queries.committed(group, assignments.map(\.partition))
  }

  func seek(_ assignment: Assignment, to position: Position) async throws {
    try subscription.state.withLock { state in
      if state.isClosed { throw TransportError.closedSource(topic) }
      // Lost meanwhile: that is told by `next`.
      guard let index = state.cursor(of: assignment) else { return }
      state.cursors[index].position = max(position.next, 1)
      state.cursors[index].isStarted = true
      state.cursors[index].mayHaveMore = true
      state.cursors[index].seeks += 1
    }
    subscription.signal.wake()
  }

  func pause(_ assignments: [Assignment], _ paused: Bool) async throws {
    try subscription.state.withLock { state in
      if state.isClosed { throw TransportError.closedSource(topic) }
      for assignment in assignments {
        guard let index = state.cursor(of: assignment) else { continue }
        state.cursors[index].isPaused = paused
      }
    }
    subscription.signal.wake()
  }

  func release(_ assignments: [Assignment]) async throws {
    let now = clock.now()
    let pause = file.options.lease
    let lease: Lease? = subscription.state.withLock { state in
      for assignment in assignments {
        if let index = state.cursor(of: assignment) { state.cursors.remove(at: index) }
      }
      // A group's lease is for the whole topic: with its last partition it goes to whoever stands by.
      guard state.cursors.isEmpty, let lease = state.lease else { return nil }
      state.lease = nil
      state.topic = nil
      state.standsBackUntil = now + pause
      return lease
    }
    if let lease { try await file.writer.release(lease) }
  }

  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try refuseClosed()
    return try await file.queries.bounds(partitions)
  }

  func partitions() async throws -> [PartitionID] {
    try refuseClosed()
    return try await file.queries.partitions(topic)
  }

  func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position] {
    try refuseClosed()
    return try await file.queries.positions(partitions, at: timestamp)
  }

  private func refuseClosed() throws {
    if subscription.state.withLock({ $0.isClosed }) { throw TransportError.closedSource(topic) }
  }

  func close() async {
    let (isFirst, lease) = subscription.state.withLock { state -> (Bool, Lease?) in
      if state.isClosed { return (false, nil) }
      state.isClosed = true
      let lease = state.lease
      state.lease = nil
      return (true, lease)
    }
    guard isFirst else { return }
    renewal.withLock { $0?.cancel() }
    subscription.signal.wake()
    // Best effort: a lease that cannot be given back expires.
    if let lease { try? await file.writer.release(lease) }
    file.unregister(subscription.signal)
    await reader.close()
    await file.release()
  }
}
