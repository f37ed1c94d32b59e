/// What went wrong at a transport, in one sentence that a person can act on.
///
/// The class decides what the engine does: a *record* error dead-letters that record, a *transport* error is tried
/// again without limit and stops intake, a *fatal* one makes the client anew.
public struct TransportError: Error, Sendable {
  public enum Class: Sendable, Hashable {
    /// This record cannot be taken: too large, rejected. Any other record could be.
    case record
    /// Unreachable, timed out, unauthorised, topic missing, disk full: any record would fail now.
    case transport
    /// The client is of no use any more and must be made anew.
    case fatal
    /// `close` was called.
    case closed
  }

  public var `class`: Class
  /// What happened, where, and what to do about it.
  public var message: String

  public init(_ class: Class, _ message: String) {
    self.class = `class`
    self.message = message
  }
}

extension TransportError: CustomStringConvertible {
  public var description: String { message }
}
