import DatabusCore

/// Several streams as one: the results streams and their retry streams, so that one pipeline reads them all.
///
/// The first ones are waited for; the others, whose records are in no hurry, are looked at in between.
actor JoinedSource: EventSource {
  struct Member: Sendable {
    var stream: String
    var source: any EventSource
    /// How long its records wait in it.
    var delay: Duration

    /// What it tells is waited for.
    var isUrgent: Bool { delay == .zero }
  }

  nonisolated let capabilities: SourceCapabilities
  private nonisolated let members: [Member]
  private let clock: any EngineClock
  private var forgotten: ForgottenRecords
  private var turn = 0
  private var looksAt = Instant(nanoseconds: 0)

  /// How often streams are looked at that are in no hurry, and how long one of several urgent ones is waited for.
  private static let interval = Duration.milliseconds(100)
  private static let shortWait = Duration.milliseconds(5)

  /// - Parameter members: at least one, and one of them urgent; all on transports of the same kind.
  init(_ members: [Member], clock: any EngineClock, forgotten: ForgottenRecords) {
    self.members = members
    self.clock = clock
    self.forgotten = forgotten
    var capabilities = members.first?.source.capabilities ?? SourceCapabilities()
    for member in members {
      let other = member.source.capabilities
      capabilities.replayable = capabilities.replayable && other.replayable
      capabilities.commits = capabilities.commits && other.commits
      capabilities.finite = capabilities.finite && other.finite
    }
    self.capabilities = capabilities
  }

  private nonisolated func source(of partition: PartitionID) throws -> any EventSource {
    guard let member = members.first(where: { $0.stream == partition.stream }) else {
      throw TransportError(.transport, "The stream \(partition.stream) is not one of the dispatcher's.")
    }
    return member.source
  }

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    let deadline = clock.now() + wait
    while true {
      if clock.now() >= looksAt {
        looksAt = clock.now() + JoinedSource.interval
        for member in members where !member.isUrgent {
          if let event = try await look(member, records, bytes, .zero) {
            // There may be more at once.
            looksAt = clock.now()
            return event
          }
        }
      }
      let urgent = members.filter(\.isUrgent)
      for offset in urgent.indices {
        let member = urgent[(turn + offset) % urgent.count]
        let rest = urgent.count == 1 ? min(deadline - clock.now(), JoinedSource.interval) : .zero
        if let event = try await look(member, records, bytes, rest) {
          turn = (turn + offset + 1) % urgent.count
          return event
        }
      }
      if clock.now() >= deadline { return .idle }
      if urgent.count > 1 { try await clock.sleep(for: min(JoinedSource.shortWait, deadline - clock.now())) }
    }
  }

  /// What one member has to tell; nil: nothing.
  private func look(_ member: Member, _ records: Int, _ bytes: Int, _ wait: Duration) async throws -> SourceEvent? {
    let event = try await member.source.next(records: records, bytes: bytes, wait: wait)
    switch consume event {
    case .idle: return nil
    case .end: return nil
    case .batch(let batch):
      forgotten.look(batch, delay: member.delay)
      return .batch(batch)
    case .assigned(let assignments):
      forgotten.begin(assignments)
      return .assigned(assignments)
    case .revoking(let assignments, let deadline): return .revoking(assignments, deadline: deadline)
    case .lost(let assignments): return .lost(assignments)
    case .gap(let assignment, let from, let to): return .gap(assignment, from: from, to: to)
    case .passed(let assignment, let to): return .passed(assignment, to: to)
    }
  }

  /// Calls `body` with what belongs to each member, and puts the answers back into order.
  private nonisolated func split<Item, Answer>(
    _ items: [Item], _ partition: KeyPath<Item, PartitionID>,
    _ body: (any EventSource, [Item]) async throws -> [Answer]
  ) async throws -> [Answer] {
    var answers: [Answer?] = Array(repeating: nil, count: items.count)
    for member in members {
      let places = items.indices.filter { items[$0][keyPath: partition].stream == member.stream }
      if places.isEmpty { continue }
      let found = try await body(member.source, places.map { items[$0] })
      for (place, answer) in zip(places, found) { answers[place] = answer }
    }
    if let place = answers.firstIndex(where: { $0 == nil }) { _ = try source(of: items[place][keyPath: partition]) }
    return answers.compactMap { $0 }
  }

  nonisolated func commit(_ marks: [CommitMark]) async throws -> [Assignment] {
    var stale: [Assignment] = []
    for member in members {
      let own = marks.filter { $0.assignment.partition.stream == member.stream }
      if !own.isEmpty { stale += try await member.source.commit(own) }
    }
    return stale
  }

  nonisolated func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try await split(assignments, \.partition) { try await $0.committed($1) }
  }

  nonisolated func seek(_ assignment: Assignment, to position: Position) async throws {
    try await source(of: assignment.partition).seek(assignment, to: position)
  }

  nonisolated func pause(_ assignments: [Assignment], _ paused: Bool) async throws {
    for member in members {
      let own = assignments.filter { $0.partition.stream == member.stream }
      if !own.isEmpty { try await member.source.pause(own, paused) }
    }
  }

  nonisolated func release(_ assignments: [Assignment]) async throws {
    for member in members {
      let own = assignments.filter { $0.partition.stream == member.stream }
      if !own.isEmpty { try await member.source.release(own) }
    }
  }

  nonisolated func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try await split(partitions, \.self) { try await $0.bounds(of: $1) }
  }

  nonisolated func partitions() async throws -> [PartitionID] {
    var all: [PartitionID] = []
    for member in members { all += try await member.source.partitions() }
    return all
  }

  nonisolated func positions(of partitions: [PartitionID], at timestamp: Int64) async throws -> [Position] {
    try await split(partitions, \.self) { try await $0.positions(of: $1, at: timestamp) }
  }

  nonisolated func token(for next: UInt64, in assignment: Assignment) -> [UInt8]? {
    members.first { $0.stream == assignment.partition.stream }?.source.token(for: next, in: assignment)
  }

  nonisolated func close() async {
    for member in members { await member.source.close() }
  }
}
