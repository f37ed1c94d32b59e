import DatabusCore
import Foundation
import Synchronization

/// A record as a test saw it.
struct SeenRecord: Sendable, Hashable {
  var partition: Int
  var position: UInt64
  var value: String?

  init(_ batch: borrowing RecordBatch, _ index: Int) {
    let raw = batch[index].raw
    partition = batch.assignment.partition.index
    position = raw.position
    value = raw.value.map {
      String(decoding: UnsafeRawBufferPointer(start: $0, count: Int(raw.valueCount)), as: UTF8.self)
    }
  }
}

/// Where members of a group go on: what the engine keeps in its state.
final class PositionStore: Sendable {
  private let positions = Mutex<[PartitionID: UInt64]>([:])
  subscript(_ partition: PartitionID) -> UInt64? { positions.withLock { $0[partition] } }
  func advance(_ partition: PartitionID, to position: UInt64) { positions.withLock { $0[partition] = position } }
}

/// Reads a source as the engine does: seeks what is assigned, gives back what is taken away, and remembers what it saw.
final class Reading: Sendable {
  private struct State {
    var records: [SeenRecord] = []
    var troubles: [TransportError] = []
    var owned: [Assignment] = []
    var lost = 0
    var isAway = false
    var uncommitted: [Assignment] = []
  }
  private let state = Mutex(State())
  let source: any EventSource
  private let store: PositionStore?
  private let task = Mutex<Task<Void, Never>?>(nil)

  /// - Parameter store: where partitions go on, for members of a group: everything that is read is committed. nil: each assignment
  ///   starts at the beginning.
  init(_ source: any EventSource, store: PositionStore? = nil) {
    self.source = source
    self.store = store
    let task = Task { [self] in
      while !Task.isCancelled {
        if state.withLock({ $0.isAway }) {
          try? await Task.sleep(for: .milliseconds(20))
          continue
        }
        do { try await step() } catch let error as TransportError {
          if error.class == .closed { return }
          state.withLock { $0.troubles.append(error) }
        } catch { return }
      }
    }
    self.task.withLock { $0 = task }
  }

  private func step() async throws {
    let event = try await source.next(records: 500, bytes: 1 << 20, wait: .milliseconds(50))
    switch consume event {
    case .batch(let batch):
      let assignment = batch.assignment
      var seen: [SeenRecord] = []
      for index in 0..<batch.count { seen.append(SeenRecord(batch, index)) }
      guard let last = seen.last else { return }
      state.withLock { $0.records += seen }
      store?.advance(assignment.partition, to: last.position + 1)
      try await commit([assignment])
    case .assigned(let assignments):
      state.withLock { $0.owned += assignments }
      while !Task.isCancelled {
        do { return try await start(assignments) } catch let error as TransportError where error.class == .transport {
          state.withLock { $0.troubles.append(error) }
        }
      }
    case .revoking(let assignments, _):
      try? await commit(assignments)
      state.withLock { state in state.owned.removeAll { assignments.contains($0) } }
      try await source.release(assignments)
    case .lost(let assignments):
      state.withLock { state in
        state.owned.removeAll { assignments.contains($0) }
        state.lost += assignments.count
      }
    case .gap: break
    case .passed: break
    case .idle:
      // What could not be committed is committed later.
      let rest = state.withLock { $0.uncommitted }
      if !rest.isEmpty { try await commit(rest) }
    case .end: break
    }
  }

  private func start(_ assignments: [Assignment]) async throws {
    var committed: [CommittedPosition?] = assignments.map { _ in nil }
    if store != nil { committed = try await source.committed(assignments) }
    for (assignment, committed) in zip(assignments, committed) {
      let known = max(store?[assignment.partition] ?? 0, committed?.position.next ?? 0)
      try await source.seek(assignment, to: Position(next: known))
    }
  }

  private func commit(_ assignments: [Assignment]) async throws {
    guard let store else { return }
    state.withLock { state in
      state.uncommitted = Array(Set(state.uncommitted + assignments)).filter { state.owned.contains($0) }
    }
    let marks = assignments.compactMap { assignment in
      store[assignment.partition].map {
        CommitMark(assignment: assignment, position: Position(next: $0), metadata: "")
      }
    }
    if !marks.isEmpty { _ = try await source.commit(marks) }
    state.withLock { state in state.uncommitted.removeAll { assignments.contains($0) } }
  }

  var records: [SeenRecord] { state.withLock { $0.records } }
  var values: [String] { records.compactMap(\.value) }
  var troubles: [TransportError] { state.withLock { $0.troubles } }
  var owned: [Assignment] { state.withLock { $0.owned } }
  var lost: Int { state.withLock { $0.lost } }

  /// Forgets what was told before.
  func forgetTroubles() { state.withLock { $0.troubles = [] } }
  /// Nobody calls `next` meanwhile.
  func stayAway(_ isAway: Bool) { state.withLock { $0.isAway = isAway } }

  func stop() async {
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
    await source.close()
  }
}

/// Remembers every end that a sink has told.
final class Ends: CompletionPort {
  private struct State {
    var safe: [UInt64] = []
    var failed: [(token: UInt64, error: TransportError)] = []
  }
  private let state = Mutex(State())

  func complete(_ tokens: Span<UInt64>) {
    state.withLock { state in
      for place in tokens.indices { state.safe.append(tokens[place]) }
    }
  }
  func fail(_ tokens: Span<UInt64>, _ error: TransportError) {
    state.withLock { state in
      for place in tokens.indices { state.failed.append((tokens[place], error)) }
    }
  }

  var safe: [UInt64] { state.withLock { $0.safe } }
  var failed: [(token: UInt64, error: TransportError)] { state.withLock { $0.failed } }
  var errors: [TransportError] { failed.map(\.error) }
}

/// A batch of texts; their tokens count from `first`.
func deliveries(_ texts: [String], from first: UInt64 = 0) -> DeliveryBatch {
  var batch = DeliveryBatch()
  for (place, text) in texts.enumerated() {
    batch.append(key: nil, value: Array(text.utf8), timestamp: 0, token: first + UInt64(place))
  }
  return batch
}

/// Waits until something holds, and says whether it came to hold.
func holds(within limit: Duration = .seconds(30), _ condition: () async throws -> Bool) async rethrows -> Bool {
  let deadline = ContinuousClock.now + limit
  while ContinuousClock.now < deadline {
    if try await condition() { return true }
    try? await Task.sleep(for: .milliseconds(20))
  }
  return try await condition()
}

/// The transport's error that the body ends with; nil where it ends well or with another.
func transportError(_ body: () async throws -> Void) async -> TransportError? {
  do {
    try await body()
    return nil
  } catch { return error as? TransportError }
}

/// Log lines as a test saw them.
final class SeenLog: LogSink {
  private let lines = Mutex<[LogLine]>([])
  func write(_ line: LogLine) { lines.withLock { $0.append(line) } }
  var all: [LogLine] { lines.withLock { $0 } }
}
