import DatabusCore

/// Something that callers wait for, with a deadline on a clock that tests own.
///
/// A caller looks at its condition and takes `version` under the log's lock, then waits for another version: a change in
/// between is not missed. Waiters look again after every wake, so waking one too many is harmless.
final class MemorySignal: @unchecked Sendable {
  // Sendable: its variables are only touched under the lock.
  private let lock: MemoryLock
  private(set) var version: UInt64 = 0
  private var waiters: [CheckedContinuation<Void, Never>] = []

  init(lock: MemoryLock) { self.lock = lock }

  /// Wakes all waiters. Called under the lock.
  func raise() {
    version &+= 1
    if waiters.isEmpty { return }
    for waiter in waiters { waiter.resume() }
    waiters.removeAll(keepingCapacity: true)
  }

  /// Returns once the version is not `seen` any more, at the moment, or when the task is cancelled.
  func wait(since seen: UInt64, until moment: Instant?, _ clock: any EngineClock) async {
    let alarm = moment.map { moment in
      Task {
        do { try await clock.sleep(until: moment) } catch { return }
        lock.locked { raise() }
      }
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { waiter in
        let isOver = lock.locked {
          if version != seen || Task.isCancelled { return true }
          waiters.append(waiter)
          return false
        }
        if isOver { waiter.resume() }
      }
    } onCancel: {
      lock.locked { raise() }
    }
    alarm?.cancel()
  }
}
