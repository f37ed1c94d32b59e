import DatabusCore
import Synchronization

/// Hears of the ends of deliveries and counts them.
final class EndsRecorder: CompletionPort {
  struct Ends: Sendable {
    /// By token: how often its end was told.
    var told: [UInt64: Int] = [:]
    var failed: [UInt64: TransportError.Class] = [:]
  }

  private let state = Mutex(Ends())

  var ends: Ends { state.withLock { $0 } }

  func complete(_ tokens: Span<UInt64>) {
    state.withLock { ends in
      for index in tokens.indices { ends.told[tokens[index], default: 0] += 1 }
    }
  }

  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    let kind = error.class
    state.withLock { ends in
      for index in tokens.indices {
        ends.told[tokens[index], default: 0] += 1
        ends.failed[tokens[index]] = kind
      }
    }
  }
}

/// Sends records through a sink as the engine does. The token of the record at index `i` is `firstToken + i`.
struct SinkWriter: Sendable {
  static let firstToken: UInt64 = 1 << 48

  let sink: any EventSink
  let ends: EndsRecorder
  let trial: Trial

  init(_ subject: TransportSubject, _ trial: Trial) async throws {
    let ends = EndsRecorder()
    self.ends = ends
    self.trial = trial
    sink = try await trial.within("makeSink") {
      try await subject.transport.makeSink(subject.stream, ends)
    }
  }

  /// Sends all records, waits for room where there is none, and flushes: everything accepted has ended then.
  ///
  /// - Returns: how many each call of `send` accepted.
  @discardableResult
  func sendAll(_ records: [TestRecord]) async throws -> [Int] {
    var batch = DeliveryBatch(capacity: records.count)
    let now = SystemClock().wallMilliseconds()
    for (index, record) in records.enumerated() {
      batch.append(
        key: record.key, value: record.value, headers: record.headers, timestamp: now,
        token: Self.firstToken + UInt64(index))
    }
    var start = 0
    var accepted: [Int] = []
    let sink = sink
    while start < records.count {
      let count = try sink.send(batch, from: start)
      accepted.append(count)
      if count < 0 || count > records.count - start {
        trial.report("send accepted \(count) of \(records.count - start) deliveries", at: "send from \(start)")
        return accepted
      }
      start += count
      if start < records.count { try await trial.within("writable") { try await sink.writable() } }
    }
    let deadline = SystemClock().now() + trial.timeout
    try await trial.within("flush") { try await sink.flush(by: deadline) }
    return accepted
  }

  func close() async { await sink.close() }
}
