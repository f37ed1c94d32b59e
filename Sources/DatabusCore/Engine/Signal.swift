import Synchronization

/// Wakes a task that waits for something to change. A notification that comes while nobody waits is kept for the next one who does.
public final class Signal: Sendable {
  private struct State {
    var isPending = false
    var next = 0
    var waiters: [(id: Int, continuation: CheckedContinuation<Void, Never>)] = []
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
      if let now = register(continuation).ready { now.resume() }
    }
  }

  /// Returns at the next notification or when the time has passed, whichever comes first.
  public func wait(for duration: Duration, _ clock: any EngineClock) async {
    let deadline = clock.now() + duration
    var timer: Task<Void, Never>?
    await withCheckedContinuation { continuation in
      let registration = register(continuation)
      if let now = registration.ready { return now.resume() }
      timer = Task {
        try? await clock.sleep(until: deadline)
        self.resume(registration.id)
      }
    }
    timer?.cancel()
  }

  private func register(
    _ continuation: CheckedContinuation<Void, Never>
  ) -> (id: Int, ready: CheckedContinuation<Void, Never>?) {
    state.withLock { state in
      if state.isPending {
        state.isPending = false
        return (0, continuation)
      }
      state.next += 1
      state.waiters.append((state.next, continuation))
      return (state.next, nil)
    }
  }

  private func resume(_ id: Int) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard let place = state.waiters.firstIndex(where: { $0.id == id }) else { return nil }
      return state.waiters.remove(at: place).continuation
    }
    waiter?.resume()
  }
}
