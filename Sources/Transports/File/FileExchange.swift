import DatabusCore
import Synchronization

/// What the reader's thread and the source's callers share: records read ahead, and what was asked for.
final class FileExchange: Sendable {
  enum Item {
    case records(ReadBlock, first: Int)
    case assigned, revoking, lost
    case gap(from: UInt64, to: UInt64)
  }

  struct Entry {
    var assignment: Assignment
    var item: Item
  }

  struct Partition {
    var assignment: Assignment
    /// Streams cannot be read again.
    var isSeekable: Bool
    /// `seek` has said where to start.
    var isStarted: Bool
    var isPaused = false
    /// It is being taken away, or is over by truncation.
    var isLeaving = false
    /// A place to go to that the reader has not seen yet.
    var seek: UInt64?
    var serial: UInt64 = 0
    /// Blocks read ahead.
    var queued = 0
    /// The position behind the last record handed out.
    var handedOut: UInt64 = 0
  }

  struct BoundsRequest {
    var partitions: [PartitionID]
    var answer: CheckedContinuation<[PartitionBounds], any Error>
  }

  struct State {
    var partitions: [UInt64: Partition] = [:]
    var entries: [Entry] = []
    var requests: [BoundsRequest] = []
    var waiter: (continuation: CheckedContinuation<Void, Never>, deadline: Instant)?
    var failure: TransportError?
    var readAhead = 1
    var hasEnded = false
    var isClosed = false
    /// The reader has gone: nobody answers any more.
    var isOver = false
    /// Counts what the reader has to look at.
    var changes: UInt64 = 0
    var readerSleepsUntil: Instant?
  }

  let wakePipe: WakePipe
  private let state = Mutex(State())

  init() throws { wakePipe = try WakePipe() }

  /// Changes the state for the reader to see, and wakes it.
  func ask<R: Sendable>(_ body: (inout State) throws -> R) rethrows -> R {
    let (result, wakes) = try state.withLock { state in
      let result = try body(&state)
      state.changes &+= 1
      return (result, state.readerSleepsUntil != nil)
    }
    if wakes { wakePipe.wake() }
    return result
  }

  /// Changes the state and wakes a waiting `next`.
  func tell<R: Sendable>(_ body: (inout State) -> R) -> R {
    let (result, waiter) = state.withLock { state in
      let result = body(&state)
      let waiter = state.waiter?.continuation
      state.waiter = nil
      return (result, waiter)
    }
    waiter?.resume()
    return result
  }

  func look<R: Sendable>(_ body: (inout State) throws -> R) rethrows -> R { try state.withLock { try body(&$0) } }

  // MARK: For `next`

  enum Taken: Sendable {
    case records(ReadBlock, first: Int, count: Int, bytes: Int, Assignment)
    case assigned([Assignment])
    case revoking(Assignment)
    case lost(Assignment)
    case gap(Assignment, from: UInt64, to: UInt64)
    case nothing, end
    case failed(TransportError)
  }

  /// Takes the next thing to tell.
  func take(records: Int, bytes: Int, readAhead: Int) -> Taken {
    let (taken, wakes) = state.withLock { state in
      state.readAhead = readAhead
      let before = state.changes
      let taken = state.take(records: records, bytes: bytes)
      return (taken, state.changes != before && state.readerSleepsUntil != nil)
    }
    if wakes { wakePipe.wake() }
    return taken
  }

  /// Returns when there may be something to take, or at the deadline.
  func wait(until deadline: Instant) async {
    await withCheckedContinuation { continuation in
      let (isReady, wakes) = state.withLock { state in
        if state.hasSomething { return (true, false) }
        state.waiter = (continuation, deadline)
        state.changes &+= 1
        return (false, state.readerSleepsUntil.map { $0 > deadline } ?? false)
      }
      if isReady { continuation.resume() }
      if wakes { wakePipe.wake() }
    }
  }
}

extension FileExchange.State {
  /// The first entry whose partition is not paused.
  private var firstReady: Int? {
    for (index, entry) in entries.enumerated() {
      guard case .records = entry.item, partitions[entry.assignment.generation]?.isPaused == true else { return index }
    }
    return nil
  }

  var hasSomething: Bool { isClosed || failure != nil || firstReady != nil || hasEnded && entries.isEmpty }

  fileprivate mutating func take(records: Int, bytes: Int) -> FileExchange.Taken {
    if isClosed { return .failed(TransportError(.closed, "The file source is closed.")) }
    while let index = firstReady {
      let entry = entries[index]
      let generation = entry.assignment.generation
      switch entry.item {
      case .assigned:
        var all: [Assignment] = []
        while index < entries.count, case .assigned = entries[index].item {
          all.append(entries.remove(at: index).assignment)
        }
        return .assigned(all)
      case .revoking:
        entries.remove(at: index)
        return .revoking(entry.assignment)
      case .lost:
        entries.remove(at: index)
        return .lost(entry.assignment)
      case .gap(let from, let to):
        entries.remove(at: index)
        return .gap(entry.assignment, from: from, to: to)
      case .records(let block, let first):
        guard partitions[generation] != nil else {
          entries.remove(at: index)
          continue
        }
        let (count, total) = block.slice(from: first, records: records, bytes: bytes)
        partitions[generation]?.handedOut = block.records[first + count - 1].next
        if first + count == block.recordCount {
          entries.remove(at: index)
          partitions[generation]?.queued -= 1
          changes &+= 1
        } else {
          entries[index].item = .records(block, first: first + count)
        }
        return .records(block, first: first, count: count, bytes: total, entry.assignment)
      }
    }
    if let error = failure {
      failure = nil
      return .failed(error)
    }
    return hasEnded && entries.isEmpty ? .end : .nothing
  }
}

extension ReadBlock {
  /// How many records from `first` on fit the limits, at least one, and their bytes.
  func slice(from first: Int, records limit: Int, bytes: Int) -> (count: Int, bytes: Int) {
    let most = min(max(limit, 1), recordCount - first)
    var total = 0
    var count = 0
    while count < most {
      let more = Int(records[first + count].valueCount)
      if count > 0, total + more > bytes { break }
      total += more
      count += 1
    }
    return (count, total)
  }
}
