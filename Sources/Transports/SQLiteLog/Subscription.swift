import DatabusCore
import Synchronization

/// What a source owns and how far it has read: shared by the source, which the engine calls, and its reader, which blocks
/// on a thread of its own.
final class Subscription: Sendable {
  struct Cursor {
    var assignment: Assignment
    /// The position to read next; 0 is the beginning, wherever that is.
    var position: UInt64
    /// The engine has said where to start.
    var isStarted: Bool
    var isPaused = false
    /// Counts the calls of `seek`: what was read for an earlier one is dropped.
    var seeks = 0
    /// There may be records that were not read yet.
    var mayHaveMore = true

    var isReadable: Bool { isStarted && !isPaused && mayHaveMore }
    var index: Int { assignment.partition.index }
  }

  /// What `next` has to tell, but for batches.
  enum Notice {
    case assigned([Assignment])
    case lost([Assignment])
    case gap(Assignment, from: UInt64, to: UInt64)
  }

  struct State {
    var isClosed = false
    var notices: [Notice] = []
    var cursors: [Cursor] = []
    /// Partitions given back by the engine.
    var released: Set<Int> = []
    /// The life of the topic that the cursors belong to.
    var topic: TopicRow?
    var generation: UInt64 = 0
    var lease: Lease?
    var renewed = Instant(nanoseconds: 0)
    /// No attempt to take the lease before this.
    var standsBackUntil = Instant(nanoseconds: 0)
    /// The cursor to look at first, so that no partition keeps others from their turn.
    var turn = 0

    mutating func assign(_ row: TopicRow, _ partitions: Range<Int>, _ cursor: (Assignment) -> Cursor) {
      topic = row
      let assignments = partitions.map { Assignment(partition: row.partition($0), generation: generation) }
      cursors += assignments.map(cursor)
      if !assignments.isEmpty { notices.append(.assigned(assignments)) }
    }

    /// Everything belongs to somebody else, or is gone.
    mutating func lose() {
      if !cursors.isEmpty { notices.append(.lost(cursors.map(\.assignment))) }
      // Gaps of what is lost would be told of nothing.
      cursors = []
      released = []
      topic = nil
      lease = nil
    }

    func cursor(of assignment: Assignment) -> Int? { cursors.firstIndex { $0.assignment == assignment } }
  }

  let topic: String
  let state = Mutex(State())
  let signal = WakeSignal()

  init(_ topic: String) { self.topic = topic }

  func takeNotice() throws -> Notice? {
    try state.withLock { state in
      if state.isClosed { throw TransportError.closedSource(topic) }
      return state.notices.isEmpty ? nil : state.notices.removeFirst()
    }
  }
}

extension SourceEvent {
  init(_ notice: Subscription.Notice) {
    switch notice {
    case .assigned(let assignments): self = .assigned(assignments)
    case .lost(let assignments): self = .lost(assignments)
    case .gap(let assignment, let from, let to): self = .gap(assignment, from: from, to: to)
    }
  }
}
