import CRdkafka
import DatabusCore
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// Wakes the threads of librdkafka that fetch, while a partition's queue has been full.
///
/// librdkafka 2.0 stops to fetch into a full queue and looks again only once a second, or when something else happens on that broker's
/// connection: so something else happens. The question asked is for the partition's bounds; nobody needs the answer.
final class FetchWaker: Sendable {
  private struct State {
    var leaders: [Int: Int32] = [:]
    /// Partitions whose queue has been found full since the last turn.
    var full: Set<Int> = []
    var isRunning = false
    var isStopped = false
  }
  private let state = Mutex(State())
  private let client: KafkaClient
  private let topic: String
  private let thread = WorkerThread(name: "kafka-waker")

  init(_ client: KafkaClient, _ topic: String) {
    self.client = client
    self.topic = topic
  }

  func setLeaders(_ topology: KafkaTopology) { state.withLock { $0.leaders = topology.leaders } }

  /// The partition's queue is full, and about to be emptied.
  func wake(_ index: Int) {
    if client.options.wakeInterval == .zero { return }
    let starts = state.withLock { state in
      if state.isStopped { return false }
      state.full.insert(index)
      if state.isRunning { return false }
      state.isRunning = true
      client.retain()
      return true
    }
    if starts { Task.detached(executorPreference: thread) { [self] in run() } }
  }

  /// Goes on for as long as queues are found full, and a little longer.
  private func run() {
    let interval = UInt32(clamping: client.options.wakeInterval.wholeNanoseconds / 1000)
    // A queue that is read from quickly is seen full only now and then.
    let patience = 50
    var quiet = 0
    var indices: [Int] = []
    defer { client.release() }
    while true {
      let next = state.withLock { state -> [Int]? in
        if state.isStopped { return nil }
        if state.full.isEmpty {
          quiet += 1
          if quiet > patience {
            state.isRunning = false
            return nil
          }
          return indices
        }
        quiet = 0
        // One partition of each broker is enough.
        var byLeader: [Int32: Int] = [:]
        for index in state.full { byLeader[state.leaders[index] ?? -1] = index }
        state.full = []
        return Array(byLeader.values)
      }
      guard let next else { return }
      indices = next
      for index in indices {
        var first: Int64 = 0
        var end: Int64 = 0
        rd_kafka_query_watermark_offsets(client.handle, topic, Int32(clamping: index), &first, &end, 1000)
      }
      usleep(interval)
    }
  }

  func stop() {
    state.withLock { $0.isStopped = true }
    thread.stop()
  }
}
