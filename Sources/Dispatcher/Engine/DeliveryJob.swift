import DatabusCore

/// A delivery in this process, from its arrival to its end. Touched by the desk only.
final class DeliveryJob {
  enum State {
    /// Waits for its turn at its destination.
    case queued
    /// The store is asked.
    case claiming
    /// An attempt is under way.
    case sending
    /// The store is told.
    case settling
    /// Waits in memory for its next attempt, or for somebody else's to end.
    case waiting
    /// A retry stream or the dead letters take it.
    case writing
    case ended
  }

  /// Names it in this process, for ever.
  let number: UInt64
  /// What its port is told at its end.
  let token: UInt64
  let record: OriginalRecord
  var state = State.queued

  // What the result says.
  var id = DeliveryID(high: 0, low: 0)
  var webhookID = ""
  var destinationURL = ""
  var payload = 0..<0
  var rule: String?
  var event: String?
  var settings = DeliverySettings()
  var destination: Destination?

  /// What the record carries.
  var carried: RetryHeaders
  /// Attempts made, as far as is known.
  var attempts = 0
  /// Milliseconds since 1970: when the dispatcher saw it first.
  var firstAt: Int64 = 0
  /// Of the last claim; 0 before the first.
  var claim: UInt64 = 0
  let acceptedAt: Instant
  /// When it is looked at again, where it waits.
  var dueAt: Instant
  /// The last attempt's end, for dead letters.
  var lastOutcome: AttemptOutcome?
  /// It stands in the desk's list of ids under way.
  var isUnderWay = false
  /// Its dead letter was refused once and is written shorter.
  var isCut = false
  /// What is to be told to the store once the stream has taken the copy.
  var afterWriting: AfterWriting = .nothing

  enum AfterWriting {
    /// Never claimed: the store knows nothing of it.
    case nothing
    case stored
    case dead
  }

  init(number: UInt64, token: UInt64, record: OriginalRecord, at now: Instant) {
    self.number = number
    self.token = token
    self.record = record
    acceptedAt = now
    dueAt = now
    carried = RetryHeaders(record.headers)
  }

  /// What it holds in memory, about.
  var byteCount: Int { record.byteCount + 512 }

  /// An attempt, a question or a copy is under way: it will end soon by itself.
  var isActive: Bool {
    switch state {
    case .claiming, .sending, .settling, .writing: true
    case .queued, .waiting, .ended: false
    }
  }
}

/// A record of a results stream as it was read.
struct OriginalRecord: Sendable {
  var key: [UInt8]?
  /// nil: a tombstone.
  var value: [UInt8]?
  var headers: [Header]
  /// Milliseconds since 1970.
  var timestamp: Int64
  var partition: PartitionID
  var position: UInt64

  var byteCount: Int {
    (key?.count ?? 0) + (value?.count ?? 0)
      + headers.reduce(0) { $0 + $1.name.utf8.count + ($1.value?.count ?? 0) + 32 }
  }

  /// For people: `stream/partition/position`.
  var locator: String { "\(partition)/\(position)" }
}
