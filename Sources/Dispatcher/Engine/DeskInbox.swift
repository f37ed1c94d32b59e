import DatabusCore
import Synchronization

/// What others leave for the desk, and what they may see of it without waiting for it.
final class DeskInbox: Sendable, AttemptPort {
  struct Input {
    var accepted: [DeliveryJob] = []
    var outcomes: [AttemptOutcome] = []
    var copies: [StreamWriter.End] = []
    /// nil: nothing was heard of them.
    var marks: [DispatchMark]?
    /// The store did not say which marks there are.
    var hasNoMarks = false
    /// nil: nothing was heard of them.
    var rules: RuleStandings?
    /// nil: everything.
    var retired: [PartitionID?] = []
  }

  private struct State {
    var input = Input()
    var inFlight = 0
    var inFlightBytes = 0
    var port: (any CompletionPort)?
    var isAtRest = false
    var resting: Set<PartitionID> = []
    var troubles: [String: String] = [:]
    var nextNumber: UInt64 = 1
  }

  // Jobs are handed over: nobody else touches them from then on.
  private nonisolated(unsafe) var state = State()  // guarded by `lock`
  private let lock = Mutex(())
  /// There is something for the desk.
  let signal = Signal()
  /// There may be room again.
  let room = Signal()
  private let maximumInFlight: Int
  private let maximumBytes: Int
  private let partitionRoom: Int

  /// - Parameter partitionRoom: how many records of one partition the pipeline leaves open.
  init(maximumInFlight: Int, maximumBytes: Int, partitionRoom: Int) {
    self.partitionRoom = partitionRoom
    self.maximumInFlight = maximumInFlight
    self.maximumBytes = maximumBytes
  }

  // MARK: From the pipeline

  /// Whoever reads the ends from now on.
  func setPort(_ port: any CompletionPort) { lock.withLock { _ in state.port = port } }

  /// Takes deliveries from index `start` on, as many as there is room for.
  func accept(_ batch: borrowing DeliveryBatch, from start: Int, at now: Instant) -> Int {
    var index = start
    var jobs: [DeliveryJob] = []
    var bytes = 0
    let (room, roomBytes, firstNumber) = lock.withLock { _ in
      (maximumInFlight - state.inFlight, maximumBytes - state.inFlightBytes, state.nextNumber)
    }
    var number = firstNumber
    while index < batch.count, jobs.count < room, bytes < roomBytes {
      let job = DeliveryJob(
        number: number, token: batch.token(at: index), record: OriginalRecord(batch, index), at: now)
      number += 1
      bytes += job.byteCount
      jobs.append(job)
      index += 1
    }
    if jobs.isEmpty { return 0 }
    // One caller at a time: nobody else has taken room or numbers meanwhile.
    lock.withLock { _ in
      state.nextNumber = number
      state.inFlight += jobs.count
      state.inFlightBytes += bytes
      state.input.accepted += jobs
    }
    signal.notify()
    return index - start
  }

  var hasRoom: Bool {
    lock.withLock { _ in state.inFlight < maximumInFlight && state.inFlightBytes < maximumBytes }
  }

  /// Whether three quarters of the room are taken, or of that of one partition.
  var isNearlyFull: Bool {
    lock.withLock { _ in
      state.inFlight >= min(maximumInFlight, partitionRoom) / 4 * 3 || state.inFlightBytes >= maximumBytes / 4 * 3
    }
  }

  func retire(_ origin: PartitionID?) {
    lock.withLock { _ in
      state.input.retired.append(origin)
      if let origin { state.resting.remove(origin) }
    }
    signal.notify()
  }

  /// Whether everything that was retired of the partition, or of all, has come to rest.
  func isAtRest(_ origin: PartitionID?) -> Bool {
    lock.withLock { _ in
      if let origin { return state.resting.contains(origin) || state.isAtRest }
      return state.isAtRest
    }
  }

  // MARK: From the desk

  func take() -> Input {
    lock.withLock { _ in
      defer { state.input = Input() }
      return state.input
    }
  }

  func released(_ bytes: Int) {
    let wasFull = lock.withLock { _ in
      let wasFull = state.inFlight >= maximumInFlight || state.inFlightBytes >= maximumBytes
      state.inFlight -= 1
      state.inFlightBytes -= bytes
      return wasFull
    }
    if wasFull { room.notify() }
  }

  func complete(_ tokens: [UInt64]) {
    let port = lock.withLock { _ in state.port }
    port?.complete(tokens.span)
  }

  var isAtRest: Bool {
    get { lock.withLock { _ in state.isAtRest } }
    set { lock.withLock { _ in state.isAtRest = newValue } }
  }

  func cameToRest(_ origin: PartitionID) { lock.withLock { _ in _ = state.resting.insert(origin) } }

  /// What keeps deliveries from ending, by part; nil: nothing any more.
  func setTrouble(_ text: String?, of part: String) { lock.withLock { _ in state.troubles[part] = text } }

  var trouble: String? {
    lock.withLock { _ in
      state.troubles.isEmpty ? nil : state.troubles.sorted { $0.key < $1.key }.map(\.value).joined(separator: "; ")
    }
  }

  // MARK: From channels, streams and the store

  func end(_ outcomes: [AttemptOutcome]) {
    lock.withLock { _ in state.input.outcomes += outcomes }
    signal.notify()
  }

  func copied(_ end: StreamWriter.End) {
    lock.withLock { _ in state.input.copies.append(end) }
    signal.notify()
  }

  func setMarks(_ marks: [DispatchMark]) {
    lock.withLock { _ in state.input.marks = marks }
    signal.notify()
  }

  func setNoMarks() {
    lock.withLock { _ in state.input.hasNoMarks = true }
    signal.notify()
  }

  func setRules(_ rules: RuleStandings) {
    lock.withLock { _ in state.input.rules = rules }
    signal.notify()
  }
}

extension OriginalRecord {
  init(_ batch: borrowing DeliveryBatch, _ index: Int) {
    let delivery = batch[index]
    if let span = delivery.key { key = Array(span) }
    if let span = delivery.value { value = Array(span) }
    headers = batch.headers(at: index)
    timestamp = delivery.timestamp
    partition = batch.origin ?? PartitionID(stream: "", incarnation: "", index: 0)
    position = delivery.position
  }
}

extension [UInt8] {
  fileprivate init(_ span: RawSpan) {
    self = span.withUnsafeBytes { Array($0) }
  }
}
