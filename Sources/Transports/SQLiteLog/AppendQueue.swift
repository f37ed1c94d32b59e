import DatabusCore
import Synchronization

/// Records on their way into one transaction: one block of bytes, and where each record lies in it.
final class AppendBuffer: @unchecked Sendable {
  // Sendable: it belongs to the queue, which touches it under its mutex, until the writer takes it; then to the writer.
  struct Entry {
    /// -1: no key.
    var keyOffset: Int
    var keyCount: Int
    /// -1: a tombstone.
    var valueOffset: Int
    var valueCount: Int
    var headersOffset: Int
    var headersCount: Int
  }

  /// Records of one `send`, or of one call of `SQLiteLog.append`.
  struct Run {
    enum Origin {
      case sink(LogSink)
      case call(AppendCall)
    }
    var origin: Origin
    var range: Range<Int>

    var topic: String {
      switch origin {
      case .sink(let sink): sink.topic
      case .call(let call): call.topic
      }
    }
  }

  var bytes = ByteBuffer(capacity: 1 << 16)
  var entries: [Entry] = []
  var tokens: [UInt64] = []
  var runs: [Run] = []

  func encode(_ record: LogRecord) -> Entry {
    var entry = Entry(
      keyOffset: -1, keyCount: record.key?.count ?? 0, valueOffset: -1, valueCount: record.value?.count ?? 0,
      headersOffset: 0, headersCount: 0)
    if let key = record.key {
      entry.keyOffset = bytes.count
      bytes.append(key)
    }
    if let value = record.value {
      entry.valueOffset = bytes.count
      bytes.append(value)
    }
    entry.headersOffset = bytes.count
    HeaderCoding.encode(record.headers, into: &bytes)
    entry.headersCount = bytes.count - entry.headersOffset
    return entry
  }

  func removeAll() {
    bytes.removeAll()
    entries.removeAll(keepingCapacity: true)
    tokens.removeAll(keepingCapacity: true)
    runs.removeAll(keepingCapacity: true)
  }
}

/// Somebody who waits until the writer has given records their places.
final class AppendCall: @unchecked Sendable {
  // Sendable: what changes is the writer's alone.
  let topic: String
  /// nil: by each record's key.
  let partition: Int?
  let continuation: CheckedContinuation<[RecordPlace], any Error>
  var places: [RecordPlace] = []
  /// Why this call fails while others of the same transaction do not.
  var problem: TransportError?

  init(_ topic: String, _ partition: Int?, _ continuation: CheckedContinuation<[RecordPlace], any Error>) {
    self.topic = topic
    self.partition = partition
    self.continuation = continuation
  }
}

typealias RecordPlace = (partition: PartitionID, position: UInt64)

/// What all sinks of a file have accepted and the writer has not written: whatever is there when the writer comes goes into one
/// transaction, and is on the disk after one wait for it.
final class AppendQueue: Sendable {
  private struct State {
    var filling = AppendBuffer()
    var spare: AppendBuffer? = AppendBuffer()
    /// Accepted and not ended, those in the writer's hands included.
    var records = 0
    var bytes = 0
    /// The writer will come, or is there.
    var isScheduled = false
    /// The writer has written what was there, and comes no more.
    var isClosed = false
    var waiters: [UInt64: (sink: ObjectIdentifier, continuation: CheckedContinuation<Void, any Error>)] = [:]
    var nextWaiter: UInt64 = 0
  }

  private let maximumRecords: Int
  private let maximumBytes: Int
  private let maximumRecordBytes: Int
  private let state = Mutex(State())

  init(_ options: SQLiteLogOptions) {
    maximumRecords = max(options.maximumQueuedRecords, 1)
    maximumBytes = max(options.maximumQueuedBytes, 1)
    maximumRecordBytes = options.recordLimit
  }

  struct Accepted {
    var count = 0
    /// Accepted too, only to end with an error: they never fit.
    var tooLarge: [UInt64] = []
    /// The writer has to be called.
    var wakesWriter = false
  }

  /// Copies deliveries into the buffer, as many as there is room for.
  func append(_ batch: borrowing DeliveryBatch, from start: Int, of sink: LogSink) -> Accepted {
    state.withLock { state in
      var accepted = Accepted()
      let buffer = state.filling
      let firstEntry = buffer.entries.count
      let firstByte = buffer.bytes.count
      var index = start
      while index < batch.count {
        let delivery = batch[index]
        let entryCount = buffer.entries.count - firstEntry
        let hasRoom =
          state.records + entryCount < maximumRecords
          && (state.bytes == 0 && entryCount == 0
            || state.bytes + buffer.bytes.count - firstByte + delivery.byteCount <= maximumBytes)
        if !hasRoom { break }
        if append(delivery, batch, index, to: buffer) {
          buffer.tokens.append(delivery.token)
        } else {
          accepted.tooLarge.append(delivery.token)
        }
        index += 1
      }
      accepted.count = index - start
      let added = buffer.entries.count - firstEntry
      if added > 0 {
        state.records += added
        state.bytes += buffer.bytes.count - firstByte
        buffer.runs.append(AppendBuffer.Run(origin: .sink(sink), range: firstEntry..<buffer.entries.count))
        sink.accepted(added)
        accepted.wakesWriter = !state.isScheduled
        state.isScheduled = true
      }
      return accepted
    }
  }

  private func append(
    _ delivery: borrowing Delivery, _ batch: borrowing DeliveryBatch, _ index: Int, to buffer: AppendBuffer
  ) -> Bool {
    if delivery.byteCount > maximumRecordBytes { return false }
    let start = buffer.bytes.count
    var entry = AppendBuffer.Entry(
      keyOffset: -1, keyCount: 0, valueOffset: -1, valueCount: 0, headersOffset: start, headersCount: 0)
    if let key = delivery.key {
      entry.keyOffset = buffer.bytes.count
      entry.keyCount = key.byteCount
      key.withUnsafeBytes { buffer.bytes.append($0) }
    }
    if let value = delivery.value {
      entry.valueOffset = buffer.bytes.count
      entry.valueCount = value.byteCount
      value.withUnsafeBytes { buffer.bytes.append($0) }
    }
    if delivery.raw.headers >= 0 {
      entry.headersOffset = buffer.bytes.count
      HeaderCoding.encode(batch.headers(at: index), into: &buffer.bytes)
      entry.headersCount = buffer.bytes.count - entry.headersOffset
      if buffer.bytes.count - start > maximumRecordBytes {
        buffer.bytes.truncate(to: start)
        return false
      }
    }
    buffer.entries.append(entry)
    return true
  }

  /// Takes the records of a call whatever the room: whoever waits for each of his calls cannot fill the queue.
  ///
  /// - Returns: whether the writer has to be called.
  /// - Throws: where a record is too large; then none is taken.
  func append(_ records: [LogRecord], of call: AppendCall) throws -> Bool {
    try state.withLock { state in
      if state.isClosed { throw TransportError(.closed, "The log was closed.") }
      let buffer = state.filling
      let firstEntry = buffer.entries.count
      let firstByte = buffer.bytes.count
      for record in records {
        let start = buffer.bytes.count
        buffer.entries.append(buffer.encode(record))
        buffer.tokens.append(0)
        let count = buffer.bytes.count - start
        guard count > maximumRecordBytes else { continue }
        buffer.entries.removeSubrange(firstEntry...)
        buffer.tokens.removeSubrange(firstEntry...)
        buffer.bytes.truncate(to: firstByte)
        throw TransportError(
          .record,
          "A record for \(call.topic) has \(count) bytes; at most \(maximumRecordBytes) are taken: make it smaller.")
      }
      state.records += records.count
      state.bytes += buffer.bytes.count - firstByte
      buffer.runs.append(AppendBuffer.Run(origin: .call(call), range: firstEntry..<buffer.entries.count))
      defer { state.isScheduled = true }
      return !state.isScheduled
    }
  }

  /// The writer's, at the end: calls that come later are refused. Sinks keep the file open and are not concerned.
  func close() { state.withLock { $0.isClosed = true } }

  /// The writer's: all that waits. nil: nothing, and the next `append` will call the writer again.
  func take() -> AppendBuffer? {
    state.withLock { state in
      if state.filling.entries.isEmpty {
        state.isScheduled = false
        return nil
      }
      let taken = state.filling
      state.filling = state.spare ?? AppendBuffer()
      state.spare = nil
      return taken
    }
  }

  /// The writer's: how many `send`s wait, and their bytes.
  var waiting: (sends: Int, bytes: Int) {
    state.withLock { ($0.filling.runs.count, $0.filling.bytes.count) }
  }

  /// Nothing waits, and the writer is not at anything.
  var isIdle: Bool { state.withLock { !$0.isScheduled } }

  /// The writer's: these have ended.
  func finished(_ buffer: AppendBuffer) {
    let continuations = state.withLock { state in
      state.records -= buffer.entries.count
      state.bytes -= buffer.bytes.count
      buffer.removeAll()
      // A block that once held very large records is given back.
      if state.spare == nil { state.spare = buffer.bytes.capacity > 4 * maximumBytes ? AppendBuffer() : buffer }
      guard hasRoom(state), !state.waiters.isEmpty else { return [CheckedContinuation<Void, any Error>]() }
      let all = state.waiters.values.map(\.continuation)
      state.waiters.removeAll()
      return all
    }
    for continuation in continuations { continuation.resume() }
  }

  private func hasRoom(_ state: borrowing State) -> Bool {
    // Some room, so that those who waited do not wake up for one record each.
    state.records <= maximumRecords / 2 && state.bytes <= maximumBytes / 2
  }

  /// Returns when there is room.
  func writable(for sink: LogSink) async throws {
    let id = state.withLock { state in
      state.nextWaiter += 1
      return state.nextWaiter
    }
    try await withTaskCancellationHandler {
      try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        let problem: (any Error)?? = state.withLock { state in
          if sink.isClosed { return .some(TransportError.closedSink(sink.topic)) }
          if Task.isCancelled { return .some(CancellationError()) }
          if hasRoom(state) { return .some(nil) }
          state.waiters[id] = (ObjectIdentifier(sink), continuation)
          return nil
        }
        guard let problem else { return }
        if let problem { continuation.resume(throwing: problem) } else { continuation.resume() }
      }
    } onCancel: {
      state.withLock { $0.waiters.removeValue(forKey: id)?.continuation }?.resume(throwing: CancellationError())
    }
  }

  /// Ends the waiting of a sink that was closed.
  func endWaiting(of sink: LogSink) {
    let ended = state.withLock { state in
      let mine = state.waiters.filter { $0.value.sink == ObjectIdentifier(sink) }
      for id in mine.keys { state.waiters.removeValue(forKey: id) }
      return mine.values.map(\.continuation)
    }
    for continuation in ended { continuation.resume(throwing: TransportError.closedSink(sink.topic)) }
  }
}
