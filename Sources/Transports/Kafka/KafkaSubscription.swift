import DatabusCore
import Synchronization

/// What a source owns, how far it has read, and what it has to tell: shared by the source, which the engine calls, and its poller,
/// which hears of rebalances on a thread of its own.
final class KafkaSubscription: Sendable {
  struct Cursor {
    let assignment: Assignment
    let queue: PartitionQueue
    /// The record to come next; nil: fetching has not begun, or is moved elsewhere right now.
    var position: UInt64?
    var isPaused = false
    var isRevoking = false
    /// Counts the moves: what was fetched before a move is dropped.
    var seeks = 0
    /// Where a source without a group starts by itself.
    var start: UInt64?

    var index: Int { assignment.partition.index }
    var isReadable: Bool { position != nil && !isPaused && !isRevoking }
  }

  enum Notice {
    case assigned([Assignment])
    case revoking([Assignment], deadline: Instant)
    case lost([Assignment])
    case gap(Assignment, from: UInt64, to: UInt64)
    case passed(Assignment, to: UInt64)
  }

  /// Partitions that are on their way to somebody else.
  struct Revocation {
    var assignments: [Assignment]
    var deadline: Instant
  }

  struct State {
    var isClosed = false
    var notices: [Notice] = []
    /// In the order of the partitions.
    var cursors: [Cursor] = []
    var generation: UInt64 = 0
    /// What the group has given to this process.
    var owned: Set<Int> = []
    /// Given back by the engine though nobody has asked for it, and when.
    var returned: [Int: Instant] = [:]
    var revocation: Revocation?
    /// The cursor to look at first, so that no partition keeps others from their turn.
    var turn = 0
    /// When the trouble was told last.
    var toldTrouble = Instant(nanoseconds: 0)
    /// Somebody is asking whether the trouble is over.
    var isProbing = false
    /// The client is of no use any more.
    var fatal: String?

    func place(of assignment: Assignment) -> Int? { cursors.firstIndex { $0.assignment == assignment } }

    /// Takes partitions in.
    mutating func assign(_ cursors: [Cursor]) {
      if cursors.isEmpty { return }
      self.cursors += cursors
      self.cursors.sort { $0.index < $1.index }
      notices.append(.assigned(cursors.map(\.assignment)))
    }

    /// Forgets partitions that belong to somebody else now. What was to be told of them is not told any more.
    mutating func lose(_ indices: Set<Int>) {
      let lost = cursors.filter { indices.contains($0.index) }.map(\.assignment)
      cursors.removeAll { indices.contains($0.index) }
      owned.subtract(indices)
      if !lost.isEmpty { notices.append(.lost(lost)) }
    }
  }

  let topic: String
  let state = Mutex(State())
  /// Something came, or there is something to tell.
  let signal = Signal()

  init(_ topic: String) { self.topic = topic }

  func takeNotice() throws -> Notice? {
    try state.withLock { state in
      if state.isClosed { throw TransportError.closedSource(topic) }
      return state.notices.isEmpty ? nil : state.notices.removeFirst()
    }
  }

  func tell(_ change: (inout State) -> Void) {
    state.withLock { change(&$0) }
    signal.notify()
  }
}

extension SourceEvent {
  init(_ notice: KafkaSubscription.Notice) {
    switch notice {
    case .assigned(let assignments): self = .assigned(assignments)
    case .revoking(let assignments, let deadline): self = .revoking(assignments, deadline: deadline)
    case .lost(let assignments): self = .lost(assignments)
    case .gap(let assignment, let from, let to): self = .gap(assignment, from: from, to: to)
    case .passed(let assignment, let position): self = .passed(assignment, to: position)
    }
  }
}

extension TransportError {
  static func closedSource(_ topic: String) -> TransportError {
    TransportError(.closed, "The source of \(topic) was closed.")
  }
  static func closedSink(_ topic: String) -> TransportError {
    TransportError(.closed, "The sink of \(topic) was closed.")
  }
}
