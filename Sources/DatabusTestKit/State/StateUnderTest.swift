import DatabusCore

/// A state backend as the conformance suite sees it: how to make a fresh one, and what it is.
public struct StateUnderTest: Sendable {
  /// For reports.
  public var name: String
  /// The largest value that the suite writes, in bytes.
  public var largestValue = 4 << 20
  /// Makes a backend without any state, which no other call has seen.
  public var make: @Sendable () async throws -> StateSubject

  public init(_ name: String, make: @escaping @Sendable () async throws -> StateSubject) {
    self.name = name
    self.make = make
  }
}

/// A fresh backend, and what can be done to it from outside. What is nil cannot be done; the cases that need it are
/// reported as skipped.
public struct StateSubject: Sendable {
  public var backend: any StateBackend
  /// Opens the same storage as a process does that follows one that was killed: neither sessions nor backend were closed.
  /// Asked for where the backend `isDurable`. The old backend is not used any more.
  public var reopenAfterKill: (@Sendable () async throws -> any StateBackend)?
  /// Removes everything. Called at the end of every case.
  public var tearDown: @Sendable () async -> Void = {}

  public init(backend: any StateBackend) {
    self.backend = backend
  }
}
