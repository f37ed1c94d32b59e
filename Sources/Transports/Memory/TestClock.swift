import DatabusCore
import Synchronization

/// A clock that stands still until a test moves it.
public final class TestClock: EngineClock {
  private struct State {
    var now: Instant
    /// The wall clock at `wallStart`.
    var wall: Int64
    var wallStart: Instant
    var sleepers: [Sleeper] = []
    var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    var lastID: UInt64 = 0
  }

  private struct Sleeper {
    var id: UInt64
    var moment: Instant
    var continuation: CheckedContinuation<Void, any Error>
  }

  private let state: Mutex<State>

  /// - Parameters:
  ///   - start: nanoseconds of the first moment.
  ///   - wall: milliseconds since 1970 at that moment.
  public init(start: UInt64 = 1_000_000_000, wall: Int64 = 1_795_000_000_000) {
    state = Mutex(
      State(
        now: Instant(nanoseconds: start), wall: wall, wallStart: Instant(nanoseconds: start)))
  }

  public func now() -> Instant { state.withLock { $0.now } }
  public func wallMilliseconds() -> Int64 {
    state.withLock { state in
      state.wall + Int64(clamping: (state.now - state.wallStart).wholeNanoseconds / 1_000_000)
    }
  }

  public func sleep(until moment: Instant) async throws {
    let id = state.withLock { state in
      state.lastID += 1
      return state.lastID
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { continuation in
        let outcome: Result<Void, any Error>? = state.withLock { state in
          if Task.isCancelled { return .failure(CancellationError()) }
          if moment <= state.now { return .success(()) }
          state.sleepers.append(Sleeper(id: id, moment: moment, continuation: continuation))
          let count = state.sleepers.count
          for watcher in state.watchers where watcher.count <= count { watcher.continuation.resume() }
          state.watchers.removeAll { $0.count <= count }
          return nil
        }
        if let outcome { continuation.resume(with: outcome) }
      }
    } onCancel: {
      let sleeper = state.withLock { state -> Sleeper? in
        guard let index = state.sleepers.firstIndex(where: { $0.id == id }) else { return nil }
        return state.sleepers.remove(at: index)
      }
      sleeper?.continuation.resume(throwing: CancellationError())
    }
  }

  /// Moves the clock and wakes everybody whose moment has come, in the order of the moments; those of the same moment in the
  /// order in which they lay down.
  public func advance(by duration: Duration) {
    let due = state.withLock { state in
      state.now = state.now + duration
      let due = state.sleepers.filter { $0.moment <= state.now }
      state.sleepers.removeAll { $0.moment <= state.now }
      return due.sorted { ($0.moment, $0.id) < ($1.moment, $1.id) }
    }
    for sleeper in due { sleeper.continuation.resume() }
  }

  /// Sets the wall clock, as an operator or a time server does. Moments and sleepers stay.
  public func setWall(milliseconds: Int64) {
    state.withLock { state in
      state.wall = milliseconds
      state.wallStart = state.now
    }
  }

  /// How many sleep now.
  public var sleeperCount: Int { state.withLock { $0.sleepers.count } }

  /// Returns once at least `count` sleep: then moving the clock reaches them.
  public func waitForSleepers(_ count: Int = 1) async {
    await withCheckedContinuation { continuation in
      let isThere = state.withLock { state in
        if state.sleepers.count >= count { return true }
        state.watchers.append((count, continuation))
        return false
      }
      if isThere { continuation.resume() }
    }
  }
}
