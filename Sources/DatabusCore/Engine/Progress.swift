import Synchronization

/// The progress of all assignments of a pipeline, and the batches that are in flight. Sinks tell it of ends from any thread; it takes
/// them in bulk under one lock.
final class Progress: Sendable {
  /// What is known of one assignment.
  private final class Entry {
    let assignment: Assignment
    var tracker: ProgressTracker
    /// Batches that are not retired, in order, with the slot behind their last.
    var batches: [(batch: RoutedBatch, end: UInt64)] = []
    var firstBatch = 0
    /// The rules vector of the last batch that the watermark has entered.
    var vector = RulesVector()

    init(_ assignment: Assignment, position: UInt64, vector: RulesVector) {
      self.assignment = assignment
      self.vector = vector
      tracker = ProgressTracker(position: position)
    }
  }

  /// A delivery that a sink could not take.
  struct Failure: Sendable {
    var sink: Int
    var token: UInt64
    var error: TransportError
  }

  private struct State {
    var entries: [UInt16: Entry] = [:]
    var nextTracker: UInt16 = 1
    var inFlightBytes = 0
    var failures: [Failure] = []
    var free: [RoutedBatch] = []
  }

  private nonisolated(unsafe) var state = State()  // guarded by `lock`
  private let lock = Mutex(())
  /// Something ended: there may be credit, progress or an empty partition.
  let changed = Signal()
  /// A sink failed a delivery.
  let failed = Signal()
  private let outputs: Int
  private let latencies: BatchLatencies?
  private let isAwaited = Atomic<Bool>(false)

  init(outputs: Int, latencies: BatchLatencies? = nil) {
    self.outputs = outputs
    self.latencies = latencies
  }

  // MARK: Assignments

  /// Starts to track an assignment from a position on.
  func start(_ assignment: Assignment, at position: UInt64, vector: RulesVector) -> UInt16 {
    lock.withLock { _ in
      var number = state.nextTracker
      while number == 0 || state.entries[number] != nil { number &+= 1 }
      state.nextTracker = number &+ 1
      state.entries[number] = Entry(assignment, position: position, vector: vector)
      return number
    }
  }

  /// Forgets an assignment: ends that come later for it change nothing.
  func stop(_ tracker: UInt16) {
    lock.withLock { _ in
      guard let entry = state.entries.removeValue(forKey: tracker) else { return }
      for index in entry.firstBatch..<entry.batches.count {
        state.inFlightBytes -= entry.batches[index].batch.byteCount
      }
    }
    changed.notify()
  }

  // MARK: Batches

  /// An empty batch, one that was used before where there is one.
  func makeBatch() -> RoutedBatch {
    lock.withLock { _ in state.free.popLast() } ?? RoutedBatch(outputs: outputs)
  }

  /// Opens the slots of a batch that has been read. False where its assignment is not tracked any more.
  func open(_ batch: RoutedBatch, _ tracker: UInt16) -> Bool {
    lock.withLock { _ in
      guard let entry = state.entries[tracker] else { return false }
      batch.tracker = tracker
      batch.holds = 1
      batch.firstSlot = UInt32(truncatingIfNeeded: entry.tracker.tail)
      _ = batch.withRecords { entry.tracker.open($0) }
      entry.batches.append((batch, entry.tracker.tail))
      state.inFlightBytes += batch.byteCount
      CrashPoint.note(open: openSlots, read: entry.tracker.highestPositionSeen)
      return true
    }
  }

  /// Opens a slot of its own, for what is not routed: a gap, or a record of the rules stream.
  ///
  /// - Parameter awaitsDeadLetter: the slot closes when its dead letter is safe; otherwise at once.
  /// - Returns: the dead letter's token; nil where the assignment is not tracked any more.
  func open(next: UInt64, awaitsDeadLetter: Bool, _ tracker: UInt16) -> UInt64? {
    lock.withLock { _ in
      guard let entry = state.entries[tracker] else { return nil }
      let slot = entry.tracker.open(next: next)
      entry.tracker.route(slot, outstanding: awaitsDeadLetter ? 1 : 0)
      if !awaitsDeadLetter { advance(entry) }
      return Token(tracker: tracker, slot: UInt32(truncatingIfNeeded: slot), ordinal: Token.deadLetter).rawValue
    }
  }

  /// Takes over what routing made of a batch. False where its assignment is not tracked any more.
  func route(_ batch: RoutedBatch) -> Bool {
    let isTracked = lock.withLock { _ in
      guard let entry = state.entries[batch.tracker] else { return false }
      batch.isSending = true
      entry.tracker.route(
        from: entry.tracker.slot(batch.firstSlot), UnsafeBufferPointer(start: batch.outstanding, count: batch.count))
      CrashPoint.note(open: openSlots)
      return true
    }
    return isTracked
  }

  /// Gives a hold back: the sender's once all of a batch was handed to the sinks, or one that `holdBatch` gave. With the last
  /// one gone, the batch retires when its last slot has closed.
  func release(_ batch: RoutedBatch) {
    lock.withLock { _ in
      batch.holds -= 1
      guard let entry = state.entries[batch.tracker] else {
        if batch.holds == 0 { recycle(batch) }
        return
      }
      advance(entry)
    }
    wake()
  }

  /// A batch of an assignment that is gone.
  func discard(_ batch: RoutedBatch) { lock.withLock { _ in recycle(batch) } }

  private func recycle(_ batch: RoutedBatch) {
    batch.reset()
    if state.free.count < 16 { state.free.append(batch) }
  }

  /// Moves the watermark and retires batches. Called under the lock.
  private func advance(_ entry: Entry) {
    entry.tracker.advance()
    let head = entry.tracker.head
    while entry.firstBatch < entry.batches.count {
      let (batch, end) = entry.batches[entry.firstBatch]
      let start = end - UInt64(batch.count)
      if head > start { entry.vector = batch.table.vector }
      guard head >= end, batch.holds == 0 else { break }
      state.inFlightBytes -= batch.byteCount
      entry.firstBatch += 1
      latencies?.note(batch)
      recycle(batch)
    }
    if entry.firstBatch == entry.batches.count {
      entry.batches.removeAll(keepingCapacity: true)
      entry.firstBatch = 0
    } else if entry.firstBatch >= 64 {
      entry.batches.removeFirst(entry.firstBatch)
      entry.firstBatch = 0
    }
  }

  // MARK: Ends

  /// These deliveries are safe.
  func complete(_ tokens: Span<UInt64>) {
    lock.withLock { _ in
      var index = 0
      while index < tokens.count {
        let number = Token(tokens[index]).tracker
        if let entry = state.entries[number] {
          index = entry.tracker.close(tokens, from: index, tracker: number)
          advance(entry)
        } else {
          // The assignment is gone.
          index += 1
        }
      }
      CrashPoint.note(open: openSlots)
    }
    wake()
  }

  /// A sink could not take these.
  func fail(_ tokens: Span<UInt64>, _ error: TransportError, sink: Int) {
    lock.withLock { _ in
      for index in tokens.indices {
        state.failures.append(Failure(sink: sink, token: tokens[index], error: error))
      }
    }
    failed.notify()
    changed.notify()
  }

  func takeFailures() -> [Failure] {
    lock.withLock { _ in
      let failures = state.failures
      state.failures = []
      return failures
    }
  }

  /// Somebody waits for `changed`: only then is it worth a call for each bulk of ends.
  func expectChange() { isAwaited.store(true, ordering: .sequentiallyConsistent) }

  private func wake() {
    if isAwaited.exchange(false, ordering: .sequentiallyConsistent) { changed.notify() }
  }

  // MARK: Looking

  struct Mark: Sendable {
    var position: UInt64
    var vector: RulesVector
    var open: Int
    /// When the oldest batch was read that has open slots; nil where none has.
    var oldestOpen: Instant?
  }

  /// How far an assignment has come; nil where it is not tracked.
  func mark(_ tracker: UInt16) -> Mark? {
    lock.withLock { _ in
      guard let entry = state.entries[tracker] else { return nil }
      let position = CrashPoint.commitsHighestPosition ? entry.tracker.highestPositionSeen : entry.tracker.watermark
      let isOpen = entry.tracker.openCount > 0 && entry.firstBatch < entry.batches.count
      return Mark(
        position: position, vector: entry.vector, open: entry.tracker.openCount,
        oldestOpen: isOpen ? entry.batches[entry.firstBatch].batch.readAt : nil)
    }
  }

  /// Slots that memory is held for.
  func span(_ tracker: UInt16) -> Int {
    lock.withLock { _ in state.entries[tracker].map { $0.tracker.span } ?? 0 }
  }

  /// Of all assignments. Called under the lock.
  private var openSlots: Int { state.entries.values.reduce(0) { $0 + $1.tracker.openCount } }

  var inFlightBytes: Int { lock.withLock { _ in state.inFlightBytes } }

  func isTracked(_ tracker: UInt16) -> Bool { lock.withLock { _ in state.entries[tracker] != nil } }

  func assignment(_ tracker: UInt16) -> Assignment? { lock.withLock { _ in state.entries[tracker]?.assignment } }

  func hasEnded(_ token: Token) -> Bool {
    lock.withLock { _ in state.entries[token.tracker]?.tracker.hasEnded(token.slot, ordinal: token.ordinal) ?? true }
  }

  /// The batch that a token's slot belongs to, with the record's index in it; it is held until `release`.
  func holdBatch(of token: Token) -> (batch: RoutedBatch, index: Int)? {
    lock.withLock { _ in
      guard let entry = state.entries[token.tracker] else { return nil }
      let slot = entry.tracker.slot(token.slot)
      for index in entry.firstBatch..<entry.batches.count {
        let (batch, end) = entry.batches[index]
        let start = end - UInt64(batch.count)
        if slot >= start, slot < end {
          batch.holds += 1
          return (batch, Int(slot - start))
        }
      }
      return nil
    }
  }

  /// All batches in flight whose sending has begun, in the order they were read; they are held until `release`. The others belong
  /// to a worker, or to the sender's queue.
  func holdAllBatches() -> [RoutedBatch] {
    lock.withLock { _ in
      var all: [RoutedBatch] = []
      for entry in state.entries.values {
        for index in entry.firstBatch..<entry.batches.count where entry.batches[index].batch.isSending {
          entry.batches[index].batch.holds += 1
          all.append(entry.batches[index].batch)
        }
      }
      return all.sorted { $0.sequence < $1.sequence }
    }
  }
}

/// A sink's way to tell its ends: it knows which sink it is, and stops listening when the sink is made anew.
final class SinkPort: CompletionPort {
  private let progress: Progress
  private let sink: Int
  private let isOpen = Atomic<Bool>(true)
  private let confirmed = Atomic<UInt64>(0)

  /// How often the sink has said that deliveries are safe.
  var confirmations: UInt64 { confirmed.load(ordering: .relaxed) }

  init(_ progress: Progress, sink: Int) {
    self.progress = progress
    self.sink = sink
  }

  /// Ends told from now on are of no interest.
  func close() { isOpen.store(false, ordering: .relaxed) }

  func complete(_ tokens: Span<UInt64>) {
    guard isOpen.load(ordering: .relaxed) else { return }
    confirmed.wrappingAdd(1, ordering: .relaxed)
    progress.complete(tokens)
  }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    if isOpen.load(ordering: .relaxed) { progress.fail(tokens, error, sink: sink) }
  }
}
