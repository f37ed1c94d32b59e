import DatabusCore

/// A transport whose sources a test has changed.
struct InterposedTransport: Transport {
  let base: any Transport
  /// Its streams are whole tables at each assignment, as a rules file is.
  var isWholeTable = false
  /// So many records are given at a time, at most.
  var records = Int.max
  /// Called around each question where streams end.
  var beforeBounds: @Sendable () async -> Void = {}
  var afterBounds: @Sendable () throws -> Void = {}

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    InterposedSource(source: try await base.makeSource(stream, mode), transport: self)
  }
  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    try await base.makeSink(stream, completions)
  }
}

private struct InterposedSource: EventSource {
  let source: any EventSource
  let transport: InterposedTransport

  var capabilities: SourceCapabilities {
    var capabilities = source.capabilities
    if transport.isWholeTable { capabilities.wholeTable = true }
    return capabilities
  }
  func next(records: Int, bytes: Int, wait: Duration) async throws -> SourceEvent {
    try await source.next(records: min(records, transport.records), bytes: bytes, wait: wait)
  }
  func commit(_ marks: [CommitMark]) async throws -> [Assignment] { try await source.commit(marks) }
  func committed(_ assignments: [Assignment]) async throws -> [CommittedPosition?] {
    try await source.committed(assignments)
  }
  func seek(_ assignment: Assignment, to position: Position) async throws {
    try await source.seek(assignment, to: position)
  }
  func pause(_ assignments: [Assignment], _ paused: Bool) async throws { try await source.pause(assignments, paused) }
  func release(_ assignments: [Assignment]) async throws { try await source.release(assignments) }
  func bounds(of partitions: [PartitionID]) async throws -> [PartitionBounds] {
    await transport.beforeBounds()
    let bounds = try await source.bounds(of: partitions)
    try transport.afterBounds()
    return bounds
  }
  func partitions() async throws -> [PartitionID] { try await source.partitions() }
  func close() async { await source.close() }
}
