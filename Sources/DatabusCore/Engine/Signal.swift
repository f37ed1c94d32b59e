import Synchronization

/// Wakes a task that waits for something to change. A notification that comes while nobody waits is kept for the next one who does.
public final class Signal: Sendable {
  private struct Waiter {
    /// nil: it waits for a notification, however long that takes.
    var deadline: Instant?
    var continuation: CheckedContinuation<Void, Never>
  }

  private struct State {
    var isPending = false
    var waiters: [Waiter] = []
    /// When the next timer rings. It is left alone by a wait that ends before: the next one can use it, and one that waits
    /// thousands of times a second makes no timer for each.
    var timer: Instant?
  }

  private let state = Mutex(State())

  public init() {}

  public func notify() {
    let waiters = state.withLock { state in
      if state.waiters.isEmpty { state.isPending = true }
      defer { state.waiters = [] }
      return state.waiters
    }
    for waiter in waiters { waiter.continuation.resume() }
  }

  /// Returns at the next notification.
  public func wait() async {
    await withCheckedContinuation { continuation in
      if register(Waiter(continuation: continuation)) == .isPending { continuation.resume() }
    }
  }

  /// Returns at the next notification or when the time has passed, whichever comes first.
  public func wait(for duration: Duration, _ clock: any EngineClock) async {
    let deadline = clock.now() + duration
    await withCheckedContinuation { continuation in
      switch register(Waiter(deadline: deadline, continuation: continuation)) {
      case .isPending: continuation.resume()
      case .needsTimer: startTimer(deadline, clock)
      case .waits: break
      }
    }
  }

  private enum Registration { case isPending, needsTimer, waits }

  private func register(_ waiter: Waiter) -> Registration {
    state.withLock { state in
      if state.isPending {
        state.isPending = false
        return .isPending
      }
      state.waiters.append(waiter)
      guard let deadline = waiter.deadline else { return .waits }
      if let timer = state.timer, timer <= deadline { return .waits }
      state.timer = deadline
      return .needsTimer
    }
  }

  private func startTimer(_ moment: Instant, _ clock: any EngineClock) {
    Task { [weak self] in
      try? await clock.sleep(until: moment)
      self?.ring(moment, clock)
    }
  }

  private func ring(_ moment: Instant, _ clock: any EngineClock) {
    let (due, next) = state.withLock { state -> ([Waiter], Instant?) in
      func isDue(_ waiter: Waiter) -> Bool { waiter.deadline.map { $0 <= moment } ?? false }
      let due = state.waiters.filter(isDue)
      if !due.isEmpty { state.waiters.removeAll(where: isDue) }
      // One that was started later rings earlier, and looks after the others.
      if let timer = state.timer, timer > moment { return (due, nil) }
      state.timer = state.waiters.compactMap(\.deadline).min()
      return (due, state.timer)
    }
    for waiter in due { waiter.continuation.resume() }
    if let next { startTimer(next, clock) }
  }
}
