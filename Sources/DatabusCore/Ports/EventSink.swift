/// What a sink can do.
public struct SinkCapabilities: Sendable, Hashable {
  /// Records accepted and not yet ended, at most. `send` accepts no more until some have.
  public var maximumInFlight: Int
  /// The largest record (key and value) that can be taken, in bytes.
  public var maximumRecordBytes: Int
  /// Sending the same record again after a lost answer does not make a second one.
  public var idempotent: Bool
  public var transactional: Bool
  public var keys: Bool
  public var headers: Bool
  public var tombstones: Bool
  /// Ends are told at `flush` only: the engine flushes at every checkpoint.
  public var confirmsOnFlush: Bool
  /// What it has accepted it keeps to its end, and fails nothing of it: the engine lets go of its own copy at once.
  public var keepsAccepted: Bool

  public init(
    maximumInFlight: Int = 65_536, maximumRecordBytes: Int = .max, idempotent: Bool = false,
    transactional: Bool = false, keys: Bool = true, headers: Bool = true, tombstones: Bool = true,
    confirmsOnFlush: Bool = false, keepsAccepted: Bool = false
  ) {
    self.maximumInFlight = maximumInFlight
    self.maximumRecordBytes = maximumRecordBytes
    self.idempotent = idempotent
    self.transactional = transactional
    self.keys = keys
    self.headers = headers
    self.tombstones = tombstones
    self.confirmsOnFlush = confirmsOnFlush
    self.keepsAccepted = keepsAccepted
  }
}

/// Hears of the end of every delivery that a sink accepted, exactly once for each, in any order and on any thread.
/// Calls are short and never block. Tokens mean nothing to the sink.
public protocol CompletionPort: AnyObject, Sendable {
  /// These are safe at the sink.
  func complete(_ tokens: Span<UInt64>)
  /// These are not. The error's class says what comes of them.
  func fail(_ tokens: Span<UInt64>, _ error: TransportError)
}

extension CompletionPort {
  public func complete(_ token: UInt64) {
    withUnsafePointer(to: token) { complete(Span(_unsafeStart: $0, count: 1)) }
  }
  public func fail(_ token: UInt64, _ error: TransportError) {
    withUnsafePointer(to: token) { fail(Span(_unsafeStart: $0, count: 1), error) }
  }
}

/// The writing end of one stream on one transport. It was made with the `CompletionPort` that hears of the ends.
public protocol EventSink: Sendable {
  var capabilities: SinkCapabilities { get }

  /// Accepts deliveries from index `start` on, as many as there is room for, and copies them before it returns.
  /// One caller at a time.
  ///
  /// - Returns: how many were accepted; 0 where there is no room: wait for `writable`. A record that can never be taken
  ///   is accepted and ends with a *record* error.
  /// - Throws: `TransportError` of class `fatal` or `closed`; nothing of this call was accepted.
  func send(_ batch: borrowing DeliveryBatch, from start: Int) throws -> Int

  /// Returns when `send` will accept something again.
  func writable() async throws

  /// What keeps accepted deliveries from ending at the moment, in a sentence for people; nil: nothing that is known. For sinks that
  /// go on trying by themselves: what they cannot deliver now does not fail, and nobody would hear of it.
  var trouble: String? { get }

  /// What was accepted from this partition, or all of it (nil), will not be waited for much longer: the partition goes to somebody else, or
  /// the process ends. For sinks that keep deliveries for long: they begin nothing more with these, which are read again.
  func retire(_ origin: PartitionID?)

  /// Nothing of what was retired will end soon: who waits for its ends waits no longer.
  func isAtRest(_ origin: PartitionID?) -> Bool

  /// Returns when everything accepted before the call has ended, or throws at the deadline.
  func flush(by deadline: Instant) async throws

  /// Ends the sink. What has not ended by then never will be told.
  func close() async
}

extension EventSink {
  public var trouble: String? { nil }
  public func retire(_ origin: PartitionID?) {}
  public func isAtRest(_ origin: PartitionID?) -> Bool { false }
}
