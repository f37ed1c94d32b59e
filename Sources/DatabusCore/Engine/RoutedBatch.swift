/// A batch of records from its arrival to the end of its last delivery: the records, and what routing made of them. Used again and
/// again: the memory of results is what would cost most.
final class RoutedBatch: @unchecked Sendable {
  // Sendable: one owner at a time; it is handed from intake to a worker to the sender, and read by nobody else meanwhile.
  /// A dead letter that routing decided on.
  struct Refusal {
    /// The record's index in the batch.
    var index: Int
    var reason: DeadLetterReason
    var detail: String
    /// The rule whose delivery failed; nil where the event itself is refused.
    var ruleID: String?
    /// The token's ordinal.
    var ordinal: UInt16
  }

  private let recordStorage: UnsafeMutablePointer<RecordBatch>
  private(set) var hasRecords = false
  /// What goes to each results sink.
  let outputs: UnsafeMutablePointer<DeliveryBatch>
  let outputCount: Int
  /// For each record: how many deliveries and dead letters it waits for.
  private(set) var outstanding: UnsafeMutablePointer<UInt16>
  private var outstandingCapacity = 0

  /// Intake's count of batches: the order in which they are sent.
  var sequence: UInt64 = 0
  var assignment: Assignment?
  var count = 0
  var byteCount = 0
  var tracker: UInt16 = 0
  /// The slot of the first record.
  var firstSlot: UInt32 = 0
  var table: RuleTable = .empty
  var refusals: [Refusal] = []
  var filtered = 0
  var declined = 0
  var delivered = 0
  /// How many read this batch now: it does not retire meanwhile. Touched under the lock of `Progress` only.
  var holds = 0
  /// Routing is done and sending has begun: others than the worker may look at it. Touched under the lock of `Progress` only.
  var isSending = false
  /// How many deliveries of each output its sink has accepted. Touched by the pipeline only.
  private let accepted: UnsafeMutablePointer<Int>
  /// Milliseconds since 1970 at routing.
  var timestamp: Int64 = 0
  /// When the source gave it.
  var readAt = Instant(nanoseconds: 0)

  init(outputs count: Int) {
    recordStorage = .allocate(capacity: 1)
    outputs = .allocate(capacity: count)
    outputCount = count
    accepted = .allocate(capacity: count)
    for index in 0..<count {
      (outputs + index).initialize(to: DeliveryBatch())
      (accepted + index).initialize(to: 0)
    }
    outstanding = .allocate(capacity: 1)
  }

  deinit {
    releaseRecords()
    recordStorage.deallocate()
    outputs.deinitialize(count: outputCount)
    outputs.deallocate()
    accepted.deallocate()
    outstanding.deallocate()
  }

  /// How many deliveries of an output its sink has accepted.
  func acceptedCount(of output: Int) -> Int { accepted[output] }

  func setAcceptedCount(_ count: Int, of output: Int) { accepted[output] = count }

  /// Takes the records.
  func hold(_ batch: consuming RecordBatch) {
    releaseRecords()
    assignment = batch.assignment
    count = batch.count
    byteCount = batch.byteCount
    if count > outstandingCapacity {
      outstanding.deallocate()
      outstanding = .allocate(capacity: count)
      outstandingCapacity = count
    }
    recordStorage.initialize(to: batch)
    hasRecords = true
  }

  /// Looks at the records; nil where they were released.
  func withRecords<R>(_ body: (borrowing RecordBatch) -> R) -> R? {
    hasRecords ? body(recordStorage.pointee) : nil
  }

  private func releaseRecords() {
    if hasRecords {
      recordStorage.deinitialize(count: 1)
      hasRecords = false
    }
  }

  /// Frees an output's deliveries, where its sink has accepted all of them.
  func letGo(of output: Int) {
    if accepted[output] == outputs[output].count { outputs[output] = DeliveryBatch() }
  }

  /// Forgets all but the memory.
  func reset() {
    releaseRecords()
    for index in 0..<outputCount {
      outputs[index].removeAll()
      accepted[index] = 0
    }
    refusals.removeAll()
    count = 0
    byteCount = 0
    filtered = 0
    declined = 0
    delivered = 0
    holds = 0
    isSending = false
    table = .empty
    assignment = nil
  }
}
