import DatabusCore

/// The dispatcher's own places at which the fault suite kills the process, and the defects that it injects: see `CrashPoint`. They stand here
/// so that a build without `DATABUS_FAULTS` calls nothing of another module.
enum DispatchCrashPoint {
  /// Deliveries are about to be claimed.
  @inline(__always)
  static func beforeClaim() {
    #if DATABUS_FAULTS
      CrashPoint.pass("before-claim")
    #endif
  }

  /// A claim was granted; nothing of the request has been written.
  @inline(__always)
  static func claimedAndNotSent() {
    #if DATABUS_FAULTS
      CrashPoint.pass("claimed-and-not-sent")
    #endif
  }

  /// The request was sent; nobody has looked at its answer.
  @inline(__always)
  static func sentAndNotJudged() {
    #if DATABUS_FAULTS
      CrashPoint.pass("sent-and-not-judged")
    #endif
  }

  /// The receiver has acknowledged, and the store is about to be told.
  @inline(__always)
  static func deliveredAndNotSettled() {
    #if DATABUS_FAULTS
      CrashPoint.pass("delivered-and-not-settled")
    #endif
  }

  /// The store knows that it has arrived; its position is still held.
  @inline(__always)
  static func settledAndNotPassed() {
    #if DATABUS_FAULTS
      CrashPoint.pass("settled-and-not-passed")
    #endif
  }

  /// A retry stream has the copy; the store does not know.
  @inline(__always)
  static func storedAndNotSettled() {
    #if DATABUS_FAULTS
      CrashPoint.pass("stored-and-not-settled")
    #endif
  }

  /// The dead letter is written; the store does not know.
  @inline(__always)
  static func deadAndNotSettled() {
    #if DATABUS_FAULTS
      CrashPoint.pass("dead-and-not-settled")
    #endif
  }

  /// A defect for the checker to find: the store is not told what has arrived.
  @inline(__always)
  static var skipsDoneMark: Bool {
    #if DATABUS_FAULTS
      return CrashPoint.defect == "skip-done-mark"
    #else
      return false
    #endif
  }

  /// A defect for the checker to find: leases are over long before the attempt is.
  @inline(__always)
  static var shortensLeases: Bool {
    #if DATABUS_FAULTS
      return CrashPoint.defect == "short-lease"
    #else
      return false
    #endif
  }
}
