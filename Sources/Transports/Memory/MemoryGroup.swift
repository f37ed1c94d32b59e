import DatabusCore

/// A consumer group of one stream: who owns which partition, and what is committed. Touched only under the log's lock.
///
/// Partitions are divided evenly and stay where they are as far as that allows. One that has to move is first `revoking`
/// at its owner; its next owner gets it when it was released or the deadline has passed.
final class MemoryGroup {
  let name: String
  private unowned let topic: MemoryTopic
  private(set) var members: [MemorySource] = []
  private(set) var owners: [Int: Owner] = [:]
  var committed: [Int: CommittedPosition] = [:]
  private var generation: UInt64 = 0
  private var revoking = 0
  /// Partitions that a member gave back of its own accord, and when they are offered again.
  private var returned: [Int: Instant] = [:]
  /// At once one would come straight back to its member, which had a reason.
  private static let returnPause = Duration.seconds(5)
  /// A test says who owns what; nothing is assigned by itself.
  var isManual = false

  struct Owner {
    var member: MemorySource
    var assignment: Assignment
    var deadline: Instant?
  }

  init(name: String, topic: MemoryTopic) {
    self.name = name
    self.topic = topic
  }

  func isCurrent(_ assignment: Assignment) -> Bool {
    owners[assignment.partition.index]?.assignment == assignment
  }

  func join(_ member: MemorySource) {
    members.append(member)
    rebalance()
  }

  func leave(_ member: MemorySource) {
    members.removeAll { $0 === member }
    for (index, owner) in owners where owner.member === member { remove(index) }
    rebalance()
  }

  func assign(_ index: Int, to member: MemorySource) {
    remove(index)
    generation += 1
    let assignment = Assignment(partition: topic.partitions[index].id, generation: generation)
    owners[index] = Owner(member: member, assignment: assignment)
    member.tellAssigned(assignment)
  }

  func revoke(_ index: Int, by deadline: Instant) {
    guard var owner = owners[index], owner.deadline == nil else { return }
    owner.deadline = deadline
    owners[index] = owner
    revoking += 1
    owner.member.tellRevoking(owner.assignment, by: deadline)
  }

  func lose(_ index: Int) {
    guard let owner = owners[index] else { return }
    remove(index)
    owner.member.tellLost([owner.assignment])
    rebalance()
  }

  func release(_ assignment: Assignment) {
    guard isCurrent(assignment) else { return }
    let wasRevoking = owners[assignment.partition.index]?.deadline != nil
    remove(assignment.partition.index)
    if wasRevoking { return rebalance() }
    if !isManual { returned[assignment.partition.index] = topic.log.clock.now() + MemoryGroup.returnPause }
  }

  private func remove(_ index: Int) {
    if owners.removeValue(forKey: index)?.deadline != nil { revoking -= 1 }
  }

  /// Takes away what was not released in time, and offers again what was given back.
  func expire() {
    if revoking == 0, returned.isEmpty { return }
    let now = topic.log.clock.now()
    var isChanged = returned.values.contains { $0 <= now }
    for (index, owner) in owners.sorted(by: { $0.key < $1.key }) {
      guard let deadline = owner.deadline, deadline <= now else { continue }
      remove(index)
      owner.member.tellLost([owner.assignment])
      isChanged = true
    }
    if isChanged { rebalance() }
  }

  var earliestDeadline: Instant? {
    let returns = returned.values.min()
    if revoking == 0 { return returns }
    return (owners.values.compactMap(\.deadline) + (returns.map { [$0] } ?? [])).min()
  }

  func rebalance() {
    if isManual || members.isEmpty { return }
    returned = [:]
    func load(_ member: MemorySource) -> [Int] {
      owners.filter { $0.value.member === member && $0.value.deadline == nil }.keys.sorted()
    }
    let share = topic.partitions.count / members.count
    var larger = topic.partitions.count % members.count
    let deadline = topic.log.clock.now()
    for member in members.sorted(by: { load($0).count > load($1).count }) {
      let quota = share + (larger > 0 ? 1 : 0)
      if larger > 0 { larger -= 1 }
      for index in load(member).dropFirst(quota) { revoke(index, by: deadline + member.revocationWindow) }
    }
    for index in topic.partitions.indices where owners[index] == nil {
      guard let least = members.min(by: { load($0).count < load($1).count }) else { return }
      assign(index, to: least)
    }
  }
}
