/// What a sink names when a delivery has ended: the partition's tracker, the slot of the event in it, and which of the event's
/// deliveries it was.
struct Token: Hashable {
  var tracker: UInt16
  var ordinal: UInt16
  /// The slot's number, modulo 2^32: far more than can be in flight.
  var slot: UInt32

  init(tracker: UInt16, slot: UInt32, ordinal: UInt16 = 0) {
    self.tracker = tracker
    self.slot = slot
    self.ordinal = ordinal
  }

  init(_ rawValue: UInt64) {
    tracker = UInt16(truncatingIfNeeded: rawValue >> 48)
    ordinal = UInt16(truncatingIfNeeded: rawValue >> 32)
    slot = UInt32(truncatingIfNeeded: rawValue)
  }

  var rawValue: UInt64 { UInt64(tracker) << 48 | UInt64(ordinal) << 32 | UInt64(slot) }

  /// The ordinal of a dead letter of the event as a whole; deliveries count from 0 and stay below.
  static let deadLetter = UInt16.max
}
