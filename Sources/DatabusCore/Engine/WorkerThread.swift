import CSystem

#if canImport(Glibc)
  import Glibc
#endif

/// One thread that runs Swift tasks and actors: for work that may block (SQLite, files) or that must not share a thread
/// (routing). Swift's own pool never blocks.
///
/// As the executor of an actor it serialises that actor; as a task executor it runs a task's whole body. The thread ends
/// once `stop` was called and the last job has run.
public final class WorkerThread: SerialExecutor, TaskExecutor, @unchecked Sendable {
  // Sendable: the queue and the flag are only touched under `mutex`.
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private let name: String
  private var queue: [UnownedJob] = []
  private var isStopping = false
  private var isSleeping = false
  private var hasThread = false

  /// - Parameter name: shown by the system's tools; its first 15 bytes are used.
  public init(name: String) {
    self.name = String(name.prefix(15))
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(condition, nil)
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    pthread_mutex_lock(mutex)
    queue.append(job)
    let wake = isSleeping
    if !hasThread { startThread() }
    pthread_mutex_unlock(mutex)
    if wake { pthread_cond_signal(condition) }
  }

  public func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }
  public func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }

  /// Lets the thread end once it has nothing to do. A job that comes later starts another one: none is lost.
  public func stop() {
    pthread_mutex_lock(mutex)
    isStopping = true
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(condition)
  }

  /// Called under `mutex`.
  private func startThread() {
    hasThread = true
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        guard let argument else { return nil }
        let worker = Unmanaged<WorkerThread>.fromOpaque(argument).takeRetainedValue()
        databus_name_thread(worker.name)
        worker.run()
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    precondition(code == 0, "the system refuses another thread (pthread_create: \(code))")
    pthread_detach(thread)
  }

  private func run() {
    var jobs: [UnownedJob] = []
    let serial = asUnownedSerialExecutor()
    let tasks = asUnownedTaskExecutor()
    while true {
      pthread_mutex_lock(mutex)
      while queue.isEmpty, !isStopping {
        isSleeping = true
        pthread_cond_wait(condition, mutex)
        isSleeping = false
      }
      swap(&jobs, &queue)
      if jobs.isEmpty { hasThread = false }
      pthread_mutex_unlock(mutex)
      if jobs.isEmpty { return }
      for job in jobs { job.runSynchronously(isolatedTo: serial, taskExecutor: tasks) }
      jobs.removeAll(keepingCapacity: true)
    }
  }
}
