/// How far one assignment has come: a slot for every record read, in order, and how many ends each still waits for.
///
/// The watermark is the position behind the last slot of the closed prefix; it is never computed from the highest position seen.
/// Slots count records and not positions: compaction, aborted transactions and gaps leave holes in positions.
struct ProgressTracker: ~Copyable {
  private var outstanding: UnsafeMutablePointer<UInt16>
  private var nexts: UnsafeMutablePointer<UInt64>
  /// Which of a slot's deliveries have ended, so that an end that is told twice counts once.
  private var ended: UnsafeMutablePointer<UInt64>
  /// Ends of deliveries whose ordinal has no bit.
  private var endedBeyond: Set<UInt64> = []
  private var capacity: Int
  /// The first open slot.
  private(set) var head: UInt64
  /// The slot of the next record.
  private(set) var tail: UInt64
  /// The position to read from if everything stopped now.
  private(set) var watermark: UInt64
  /// Slots neither closed nor passed by the watermark.
  private(set) var openCount = 0

  /// The count of a slot whose record is not routed yet.
  private static let unrouted = UInt16.max
  /// Ordinals below have a bit each; the last bit is the dead letter's.
  private static let ordinalBits: UInt16 = 62

  /// - Parameter firstSlot: the number of the first slot; tests begin where short numbers wrap around.
  init(position: UInt64, capacity: Int = 1024, firstSlot: UInt64 = 0) {
    head = firstSlot
    tail = firstSlot
    var size = 64
    while size < capacity { size *= 2 }
    self.capacity = size
    watermark = position
    outstanding = .allocate(capacity: size)
    nexts = .allocate(capacity: size)
    ended = .allocate(capacity: size)
  }

  deinit {
    outstanding.deallocate()
    nexts.deallocate()
    ended.deallocate()
  }

  /// Slots from the first open one to the last: what memory is held for.
  var span: Int { Int(tail - head) }

  /// Opens a slot for a record that has been read.
  ///
  /// - Parameter next: the position behind the record.
  /// - Returns: the slot's number.
  @discardableResult
  mutating func open(next: UInt64) -> UInt64 {
    if span == capacity { grow() }
    let place = Int(truncatingIfNeeded: tail) & (capacity - 1)
    outstanding[place] = ProgressTracker.unrouted
    nexts[place] = next
    ended[place] = 0
    tail += 1
    openCount += 1
    return tail - 1
  }

  /// Opens a slot for every record of a batch, in order.
  mutating func open(_ records: borrowing RecordBatch) {
    for index in 0..<records.count { open(next: records.raw(at: index).next) }
  }

  /// Says for the slots from `first` on how many deliveries and dead letters each waits for.
  mutating func route(from first: UInt64, _ counts: UnsafeBufferPointer<UInt16>) {
    for index in counts.indices { route(first &+ UInt64(index), outstanding: counts[index]) }
  }

  /// Closes deliveries for as long as the tokens are this tracker's.
  ///
  /// - Returns: the index of the first token that is another's, or the count.
  mutating func close(_ tokens: Span<UInt64>, from start: Int, tracker: UInt16) -> Int {
    var index = start
    while index < tokens.count {
      let token = Token(tokens[index])
      if token.tracker != tracker { break }
      close(token.slot, ordinal: token.ordinal)
      index = index &+ 1
    }
    return index
  }

  private mutating func grow() {
    var larger = ProgressTracker(position: watermark, capacity: capacity * 2)
    for slot in head..<tail {
      let from = Int(truncatingIfNeeded: slot) & (capacity - 1)
      let to = Int(truncatingIfNeeded: slot) & (larger.capacity - 1)
      larger.outstanding[to] = outstanding[from]
      larger.nexts[to] = nexts[from]
      larger.ended[to] = ended[from]
    }
    larger.head = head
    larger.tail = tail
    larger.openCount = openCount
    larger.endedBeyond = endedBeyond
    self = larger
  }

  /// Says how many deliveries and dead letters the record of a slot waits for.
  @inline(__always)
  mutating func route(_ slot: UInt64, outstanding count: UInt16) {
    guard slot >= head, slot < tail else { return }
    let place = Int(truncatingIfNeeded: slot) & (capacity - 1)
    guard outstanding[place] == ProgressTracker.unrouted else { return }
    outstanding[place] = count
    if count == 0 { openCount -= 1 }
  }

  /// The full number of a slot that is in flight.
  @inline(__always)
  func slot(_ short: UInt32) -> UInt64 {
    head &+ UInt64(short &- UInt32(truncatingIfNeeded: head))
  }

  /// One delivery of a slot has ended. An end told before, or of a slot that was passed, changes nothing.
  @inline(__always)
  mutating func close(_ short: UInt32, ordinal: UInt16) {
    let slot = slot(short)
    guard slot < tail else { return }
    let place = Int(truncatingIfNeeded: slot) & (capacity - 1)
    let count = outstanding[place]
    guard count > 0, count != ProgressTracker.unrouted else { return }
    if ordinal < ProgressTracker.ordinalBits || ordinal == Token.deadLetter {
      let bit: UInt64 = 1 << UInt64(ordinal == Token.deadLetter ? 63 : ordinal)
      if ended[place] & bit != 0 { return }
      ended[place] = ended[place] | bit
    } else if !endedBeyond.insert(slot << 16 | UInt64(ordinal)).inserted {
      return
    }
    outstanding[place] = count - 1
    if count == 1 { openCount -= 1 }
  }

  /// Whether this delivery has ended, or its slot was passed.
  func hasEnded(_ short: UInt32, ordinal: UInt16) -> Bool {
    let slot = slot(short)
    guard slot < tail else { return true }
    let place = Int(truncatingIfNeeded: slot) & (capacity - 1)
    if outstanding[place] == 0 { return true }
    if ordinal < ProgressTracker.ordinalBits || ordinal == Token.deadLetter {
      return ended[place] & (1 << UInt64(ordinal == Token.deadLetter ? 63 : ordinal)) != 0
    }
    return endedBeyond.contains(slot << 16 | UInt64(ordinal))
  }

  /// Moves the watermark over the closed prefix.
  @inline(__always)
  mutating func advance() {
    let before = head
    while head < tail {
      let place = Int(truncatingIfNeeded: head) & (capacity - 1)
      guard outstanding[place] == 0 else { break }
      watermark = nexts[place]
      head += 1
    }
    if head != before, !endedBeyond.isEmpty {
      let passed = head
      endedBeyond = endedBeyond.filter { $0 >> 16 >= passed }
    }
  }

  /// The position behind the last record that was read: what a commit must never be computed from.
  var highestPositionSeen: UInt64 {
    tail == head ? watermark : nexts[Int(truncatingIfNeeded: tail - 1) & (capacity - 1)]
  }
}
