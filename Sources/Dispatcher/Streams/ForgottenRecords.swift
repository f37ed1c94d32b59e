import DatabusCore

/// Warns, once for each partition, where what is read first is so old that the store may have forgotten what became of it: if it was
/// delivered before, it will be sent again.
struct ForgottenRecords {
  /// How long the store remembers what has arrived.
  private let memory: Duration
  private let clock: any EngineClock
  private let log: Logger
  /// Nothing of them has been read since they were assigned.
  private var unread: Set<PartitionID> = []
  private var told: Set<PartitionID> = []

  init(memory: Duration, clock: any EngineClock, log: Logger) {
    self.memory = memory
    self.clock = clock
    self.log = log
  }

  mutating func begin(_ assignments: [Assignment]) {
    for assignment in assignments { unread.insert(assignment.partition) }
  }

  /// - Parameter delay: how long records wait in this stream, and are not delivered.
  mutating func look(_ batch: borrowing RecordBatch, delay: Duration) {
    let partition = batch.assignment.partition
    guard unread.remove(partition) != nil, batch.count > 0, let timestamp = batch[0].timestamp else { return }
    let age = Duration.seconds(max(0, clock.wallMilliseconds() - timestamp) / 1000)
    guard age > memory + delay, told.insert(partition).inserted else { return }
    let remedy =
      "none, where it has only waited for a dispatcher; where a position was lost or set back, stop the dispatchers and set "
      + "it forward: databus positions set \(partition.index) POSITION --stream \(partition.stream)"
    log.warning(
      "the oldest record that is not committed is \(Quantity.text(age)) old, and what has arrived is remembered for "
        + "\(Quantity.text(memory)): repeats of what is older are not recognised, and are sent again",
      at: "\(partition)/\(batch[0].raw.position)", remedy: remedy)
  }
}
