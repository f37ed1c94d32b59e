import Synchronization

/// Batches on their way to the routing workers: first in, first out, any number of takers.
final class WorkQueue: Sendable {
  private struct State {
    var items: [RoutedBatch] = []
    var first = 0
    var waiters: [CheckedContinuation<RoutedBatch?, Never>] = []
    var isClosed = false
  }

  private let state = Mutex(State())

  func put(_ batch: RoutedBatch) {
    let waiter = state.withLock { state -> CheckedContinuation<RoutedBatch?, Never>? in
      if let waiter = state.waiters.popLast() { return waiter }
      state.items.append(batch)
      return nil
    }
    waiter?.resume(returning: batch)
  }

  /// The next batch; nil once the queue is closed and empty.
  func take() async -> RoutedBatch? {
    await withCheckedContinuation { continuation in
      let (ready, item) = state.withLock { state -> (Bool, RoutedBatch?) in
        if state.first < state.items.count {
          let item = state.items[state.first]
          state.first += 1
          if state.first == state.items.count {
            state.items.removeAll(keepingCapacity: true)
            state.first = 0
          }
          return (true, item)
        }
        if state.isClosed { return (true, nil) }
        state.waiters.append(continuation)
        return (false, nil)
      }
      if ready { continuation.resume(returning: item) }
    }
  }

  func close() {
    let waiters = state.withLock { state in
      state.isClosed = true
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.resume(returning: nil) }
  }
}

/// Batches that are routed, given out in the order in which they were read, however many workers routed them.
final class Resequencer: Sendable {
  private struct State {
    var waiting: [UInt64: RoutedBatch] = [:]
    var next: UInt64 = 0
  }

  private let state = Mutex(State())
  private let signal: Signal

  /// - Parameter signal: notified when a batch can be taken.
  init(signal: Signal) { self.signal = signal }

  func put(_ batch: RoutedBatch) {
    let isNext = state.withLock { state in
      state.waiting[batch.sequence] = batch
      return batch.sequence == state.next
    }
    if isNext { signal.notify() }
  }

  /// The next batch in order, where it is there.
  func take() -> RoutedBatch? {
    state.withLock { state in
      guard let batch = state.waiting.removeValue(forKey: state.next) else { return nil }
      state.next += 1
      return batch
    }
  }
}
