#if canImport(Glibc)
  import Glibc
#endif

/// Lets a thread wait for something to happen, for a while. A `wake` that comes before the `wait` is not lost.
final class WakeSignal: @unchecked Sendable {
  // Sendable: `isSet` is only touched under `mutex`; the pointers never change.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var isSet = false

  init() {
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    // The wall clock may be set while somebody waits.
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(condition, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  func wake() {
    pthread_mutex_lock(mutex)
    isSet = true
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(condition)
  }

  /// Returns after a `wake`, or after the time, given in nanoseconds.
  func wait(_ nanoseconds: UInt64) {
    var moment = timespec()
    clock_gettime(CLOCK_MONOTONIC, &moment)
    let end = UInt64(moment.tv_nsec) + min(nanoseconds, 3600 * 1_000_000_000)
    moment.tv_sec += Int(end / 1_000_000_000)
    moment.tv_nsec = Int(end % 1_000_000_000)
    pthread_mutex_lock(mutex)
    while !isSet {
      if pthread_cond_timedwait(condition, mutex, &moment) != 0 { break }
    }
    isSet = false
    pthread_mutex_unlock(mutex)
  }
}
