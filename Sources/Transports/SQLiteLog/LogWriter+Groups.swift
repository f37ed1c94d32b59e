import DatabusCore
import SQLiteClient

/// Who asks for a lease: one source of one process.
struct LeaseOwner: Hashable, Sendable {
  var process: ProcessIdentity
  /// Two sources of one process are two owners.
  var source: UInt64

  var text: String { "\(process.text)|\(source)" }
}

/// The ownership of a topic by a group.
struct Lease: Hashable, Sendable {
  var topic: TopicRow
  var group: String
  var owner: LeaseOwner
  var generation: UInt64
}

/// A group's row as it stands.
struct LeaseRow: Sendable {
  var generation: UInt64
  var owner: String?
  /// On the machine's monotonic clock, which all processes of one boot share; in milliseconds.
  var expires: Int64

  static let find = "SELECT generation, owner, expires FROM groups WHERE topic = ? AND name = ?"

  init(_ row: SQLiteStatement) {
    generation = UInt64(bitPattern: row.integer(0))
    owner = row.text(1)
    expires = row.integer(2)
  }

  /// Whether somebody else may take it: it was given back, it expired, or its owner's process has ended.
  func isFree(at now: Int64, for process: ProcessIdentity) -> Bool {
    guard let owner, expires > now else { return true }
    guard let holder = ProcessIdentity(owner) else { return false }
    return holder.isGone(asSeenBy: process)
  }

  var holder: String {
    owner.flatMap { ProcessIdentity($0) }.map { "process \($0.process)" } ?? "another process"
  }
}

extension EngineClock {
  func milliseconds() -> Int64 { Int64(now().nanoseconds / 1_000_000) }
}

extension LogWriter {
  private func leaseRow(_ topic: Int64, _ group: String) throws -> LeaseRow? {
    let select = try statement(LeaseRow.find)
    try select.bind(1, topic)
    try select.bind(2, group)
    return try select.first { LeaseRow($0) }
  }

  private func expiry(_ clock: any EngineClock) -> Int64 {
    clock.milliseconds() + Int64(options.lease.wholeNanoseconds / 1_000_000)
  }

  /// Takes the group's lease under a new generation where it is free. The topic is made where it does not exist.
  func acquire(_ topic: String, _ group: String, for owner: LeaseOwner, _ clock: any EngineClock) throws -> Lease? {
    try translated {
      try connection().write {
        let row = try topicRow(topic) ?? makeTopic(topic, partitions: 1)
        let present = try leaseRow(row.id, group)
        if let present, !present.isFree(at: clock.milliseconds(), for: owner.process) { return nil }
        let generation = (present?.generation ?? 0) + 1
        let insert = try statement(
          """
          INSERT INTO groups (topic, name, generation, owner, expires) VALUES (?1, ?2, ?3, ?4, ?5)
          ON CONFLICT DO UPDATE SET generation = ?3, owner = ?4, expires = ?5
          """)
        try insert.bind(1, row.id)
        try insert.bind(2, group)
        try insert.bind(3, Int64(bitPattern: generation))
        try insert.bind(4, owner.text)
        try insert.bind(5, expiry(clock))
        try insert.run()
        return Lease(topic: row, group: group, owner: owner, generation: generation)
      }
    }
  }

  /// - Returns: whether the lease still was the owner's.
  func renew(_ lease: Lease, _ clock: any EngineClock) throws -> Bool {
    try translated {
      let update = try statement(
        "UPDATE groups SET expires = ? WHERE topic = ? AND name = ? AND generation = ? AND owner = ?")
      try update.bind(1, expiry(clock))
      try update.bind(2, lease.topic.id)
      try update.bind(3, lease.group)
      try update.bind(4, Int64(bitPattern: lease.generation))
      try update.bind(5, lease.owner.text)
      try update.run()
      return try connection().changes == 1
    }
  }

  /// Gives the lease back, so that a standby need not wait.
  func release(_ lease: Lease) throws {
    try translated {
      let update = try statement(
        "UPDATE groups SET owner = NULL, expires = 0 WHERE topic = ? AND name = ? AND generation = ? AND owner = ?")
      try update.bind(1, lease.topic.id)
      try update.bind(2, lease.group)
      try update.bind(3, Int64(bitPattern: lease.generation))
      try update.bind(4, lease.owner.text)
      try update.run()
    }
  }

  /// Commits positions under the lease, and renews it.
  ///
  /// - Returns: the assignments that are not the owner's any more.
  func commit(
    _ marks: [CommitMark], topic: String, group: String, owner: LeaseOwner, _ clock: any EngineClock
  ) throws -> [Assignment] {
    try translated {
      try connection().write {
        guard let row = try topicRow(topic), let lease = try leaseRow(row.id, group), lease.owner == owner.text else {
          return marks.map(\.assignment)
        }
        var stale: [Assignment] = []
        for mark in marks {
          let partition = mark.assignment.partition
          if partition.stream != row.name || partition.incarnation != row.incarnation
            || !(0..<row.partitions).contains(partition.index) || mark.assignment.generation != lease.generation
          {
            stale.append(mark.assignment)
          } else {
            try store(mark.position, mark.metadata, row.id, group, partition.index)
          }
        }
        if stale.count < marks.count {
          let update = try statement("UPDATE groups SET expires = ? WHERE topic = ? AND name = ?")
          try update.bind(1, expiry(clock))
          try update.bind(2, row.id)
          try update.bind(3, group)
          try update.run()
        }
        return stale
      }
    }
  }

  private func store(_ position: Position, _ metadata: String, _ topic: Int64, _ group: String, _ number: Int) throws {
    let insert = try statement(
      """
      INSERT INTO positions (topic, name, number, position, metadata) VALUES (?1, ?2, ?3, ?4, ?5)
      ON CONFLICT DO UPDATE SET position = ?4, metadata = ?5
      """)
    try insert.bind(1, topic)
    try insert.bind(2, group)
    try insert.bind(3, number)
    try insert.bind(4, Int64(clamping: position.next))
    try insert.bind(5, metadata)
    try insert.run()
  }

  /// An operator's reset: without metadata, and under a new generation, so that no owner that was only asleep undoes it.
  func setPosition(
    _ group: String, _ partition: PartitionID, _ position: Position, _ process: ProcessIdentity,
    _ clock: any EngineClock
  ) throws {
    try translated {
      try connection().write {
        guard let row = try topicRow(partition.stream), row.incarnation == partition.incarnation,
          (0..<row.partitions).contains(partition.index)
        else {
          throw TransportError(
            .transport, "There is no partition \(partition) in \(path), or its topic was made anew since: look again.")
        }
        let lease = try leaseRow(row.id, group)
        if let lease, !lease.isFree(at: clock.milliseconds(), for: process) {
          throw TransportError(
            .transport,
            "The group \(group) is reading \(partition.stream) (\(lease.holder)): stop it, then set its position.")
        }
        let insert = try statement(
          """
          INSERT INTO groups (topic, name, generation) VALUES (?1, ?2, 1)
          ON CONFLICT DO UPDATE SET generation = generation + 1, owner = NULL, expires = 0
          """)
        try insert.bind(1, row.id)
        try insert.bind(2, group)
        try insert.run()
        try store(position, "", row.id, group, partition.index)
      }
    }
  }

  /// Forgets a group: its positions, and its hold on what retention removes.
  func removeGroup(_ group: String, _ topic: String, _ process: ProcessIdentity, _ clock: any EngineClock) throws {
    try translated {
      try connection().write {
        guard let row = try topicRow(topic) else { throw missing(topic) }
        if let lease = try leaseRow(row.id, group), !lease.isFree(at: clock.milliseconds(), for: process) {
          throw TransportError(
            .transport, "The group \(group) is reading \(topic) (\(lease.holder)): stop it, then remove it.")
        }
        for table in ["groups", "positions"] {
          let delete = try statement("DELETE FROM \(table) WHERE topic = ? AND name = ?")
          try delete.bind(1, row.id)
          try delete.bind(2, group)
          try delete.run()
        }
      }
    }
  }
}
