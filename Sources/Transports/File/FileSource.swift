import DatabusCore

/// The reading end of a stream of files: one partition for each configured path. A thread of its own reads ahead.
final class FileSource: EventSource {
  let capabilities: SourceCapabilities
  private let exchange: FileExchange
  private let reader: FileReader
  private let blockBytes: Int
  private let clock = SystemClock()

  init(_ stream: FileTransportConfiguration.Stream, _ mode: SourceMode, _ settings: FileReader.Settings) async throws {
    exchange = try FileExchange()
    blockBytes = settings.configuration.blockBytes
    let isTable: Bool
    if case .everything = mode { isTable = true } else { isTable = false }
    reader = FileReader(paths: stream.paths, mode: mode, settings, exchange)
    let kinds: (hasStreams: Bool, hasFiles: Bool)
    do {
      kinds = try await reader.open()
    } catch {
      reader.worker.stop()
      throw error
    }
    capabilities = SourceCapabilities(
      replayable: !kinds.hasStreams, commits: false, groups: false, timestamps: false, keys: false, headers: false,
      tombstones: false, wholeTable: isTable && !kinds.hasStreams, finite: !settings.follow || !kinds.hasFiles)
    let reader = reader
    Task.detached { await reader.run() }
  }

  deinit { exchange.ask { $0.isClosed = true } }

  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    var deadline: Instant?
    let readAhead = min(max(bytes / blockBytes, 1), 4)
    while true {
      switch exchange.take(records: records, bytes: bytes, readAhead: readAhead) {
      case .records(let block, let first, let count, let total, let assignment):
        let slice = UnsafeMutableBufferPointer(start: block.records + first, count: count)
        return .batch(
          RecordBatch(
            assignment: assignment, storage: FileRecords(block: block, first: first), records: slice, byteCount: total,
            padding: BlockMemory.padding))
      case .assigned(let assignments): return .assigned(assignments)
      case .revoking(let assignment):
        // Nobody else waits for a file that is over: a sink may be away for as long as it is.
        return .revoking([assignment], deadline: clock.now() + .seconds(365 * 86_400))
      case .lost(let assignment): return .lost([assignment])
      case .gap(let assignment, let from, let to): return .gap(assignment, from: from, to: to)
      case .end: return .end
      case .failed(let error): throw error
      case .nothing: break
      }
      if wait == .zero { return .idle }
      let now = clock.now()
      let end = deadline ?? now + wait
      deadline = end
      if now >= end { return .idle }
      await exchange.wait(until: end)
    }
  }

  /// Positions of files are kept in the state backend alone.
  func commit(_ marks: [CommitMark]) async throws -> [Assignment] {
    try exchange.look { state in
      try state.checkOpen()
      return marks.map(\.assignment).filter { state.partitions[$0.generation]?.assignment != $0 }
    }
  }

  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    assignments.map { _ in nil }
  }

  /// An assignment that is over is passed over: `revoking` or `lost` tells of it.
  func seek(_ assignment: Assignment, to position: Position) async throws {
    let name = reader.name(of: assignment.partition.index)
    try exchange.ask { state in
      try state.checkOpen()
      guard var partition = state.partitions[assignment.generation], partition.assignment == assignment,
        !partition.isLeaving
      else { return }
      if !partition.isSeekable {
        guard partition.handedOut == position.next else {
          throw TransportError(
            .transport,
            "\(name) cannot be read again from byte \(position.next) (it stands at \(partition.handedOut)): use a file where a restart must resume."
          )
        }
      } else {
        partition.seek = position.next
        partition.serial &+= 1
        partition.queued = 0
        partition.handedOut = position.next
        state.entries.removeAll { entry in
          guard entry.assignment == assignment, case .records = entry.item else { return false }
          return true
        }
      }
      partition.isStarted = true
      state.hasEnded = false
      state.partitions[assignment.generation] = partition
    }
  }

  func pause(_ assignments: [Assignment], _ paused: Bool) async throws {
    exchange.ask { state in
      for assignment in assignments where state.partitions[assignment.generation]?.assignment == assignment {
        state.partitions[assignment.generation]?.isPaused = paused
      }
    }
    // Records that were held back may be what a waiting `next` waits for.
    if !paused { exchange.tell { _ in } }
  }

  func release(_ assignments: [Assignment]) async throws {
    exchange.ask { state in
      for assignment in assignments where state.partitions[assignment.generation]?.assignment == assignment {
        state.forget(assignment)
      }
    }
  }

  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    try await withCheckedThrowingContinuation { answer in
      let isOver = exchange.ask { state in
        if state.isOver || state.isClosed { return true }
        state.requests.append(FileExchange.BoundsRequest(partitions: partitions, answer: answer))
        return false
      }
      if isOver { answer.resume(throwing: TransportError(.closed, "The file source is closed.")) }
    }
  }

  func partitions() async throws -> [PartitionID] {
    try exchange.look { state in
      try state.checkOpen()
      return state.partitions.values.filter { !$0.isLeaving }.map(\.assignment.partition).sorted()
    }
  }

  func close() async {
    exchange.ask { $0.isClosed = true }
    exchange.tell { _ in }
  }
}

extension FileExchange.State {
  func checkOpen() throws {
    if isClosed { throw TransportError(.closed, "The file source is closed.") }
  }

  /// Drops a partition and what was read ahead of it.
  mutating func forget(_ assignment: Assignment) {
    partitions[assignment.generation] = nil
    entries.removeAll { $0.assignment == assignment }
  }
}
