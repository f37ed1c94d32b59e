import Dispatcher
import Synchronization

/// Tells of attempts that end before anything is sent, and not from within `start`: whoever calls that may hold what `end` needs.
final class RefusedAttempts: Sendable {
  private struct State {
    var waiting: [([AttemptOutcome], any AttemptPort)] = []
    /// Runs while something waits.
    var task: Task<Void, Never>?
  }

  private let state = Mutex(State())

  func end(_ outcomes: [AttemptOutcome], _ port: any AttemptPort) {
    state.withLock { state in
      state.waiting.append((outcomes, port))
      if state.task == nil { state.task = Task.detached { self.tell() } }
    }
  }

  private func tell() {
    while true {
      let next = state.withLock { state in
        defer { state.waiting = [] }
        if state.waiting.isEmpty { state.task = nil }
        return state.waiting
      }
      if next.isEmpty { return }
      for (outcomes, port) in next { port.end(outcomes) }
    }
  }

  /// Returns when all of them have been told.
  func drain() async {
    while let task = state.withLock({ $0.task }) { await task.value }
  }
}
