import DatabusCore

/// The dispatcher's streams on the transport that carries the results: what it reads is one source.
struct DispatchStreams: Transport {
  let base: any Transport
  let settings: DispatchSettings
  let clock: any EngineClock

  /// The name under which all of them are read.
  static let joined = "dispatcher"

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    guard stream == DispatchStreams.joined else { return try await base.makeSource(stream, mode) }
    var members: [JoinedSource.Member] = []
    do {
      for results in settings.results {
        members.append(
          .init(stream: results.stream, source: try await base.makeSource(results.stream, mode), isUrgent: true))
        for (tier, delay) in settings.retry.tiers.enumerated() {
          let name = settings.retry.stream(of: results.stream, tier: tier)
          let source = try await base.makeSource(name, DispatchStreams.mode(mode, of: name, after: results.stream))
          members.append(
            .init(stream: name, source: DelayedSource(source, delay: delay, clock: clock), isUrgent: false))
        }
      }
    } catch {
      for member in members { await member.source.close() }
      throw error
    }
    return JoinedSource(members, clock: clock)
  }

  /// A retry stream has a group of its own: members of one group that read different streams would rebalance for one another's sake.
  private static func mode(_ mode: SourceMode, of stream: String, after results: String) -> SourceMode {
    guard case .group(let name) = mode else { return mode }
    return .group("\(name)\(stream.dropFirst(results.count))")
  }

  func makeSink(_ stream: String, _ completions: any CompletionPort) async throws -> any EventSink {
    try await base.makeSink(stream, completions)
  }
}

/// The dispatcher's state beside the router's in one backend: its keys of the scope `.pipeline` begin with `dispatcher/`. Partitions
/// need nothing: their streams differ.
struct DispatchState: StateBackend {
  let base: any StateBackend

  var capabilities: StateCapabilities { base.capabilities }
  var id: String { base.id }

  func open(_ scope: StateScope) async throws -> any StateSession {
    let session = try await base.open(scope)
    guard case .pipeline = scope else { return session }
    return Session(base: session)
  }

  func partitions() async throws -> [PartitionID] { try await base.partitions() }
  func remove(_ partition: PartitionID) async throws { try await base.remove(partition) }
  /// It belongs to whoever opened it.
  func close() async {}

  struct Session: StateSession {
    let base: any StateSession
    static let prefix = Array("dispatcher/".utf8)

    var epoch: UInt64 { base.epoch }
    var checkpoint: UInt64 { base.checkpoint }

    func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] {
      try await base.multiGet(keys.map { Session.prefix + $0 })
    }

    func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
      var page = try await base.scan(
        prefix: Session.prefix + prefix, after: after.map { Session.prefix + $0 }, limit: limit)
      page.entries = page.entries.map { (Array($0.key.dropFirst(Session.prefix.count)), $0.value) }
      page.last = page.last.map { Array($0.dropFirst(Session.prefix.count)) }
      return page
    }

    func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
      var own = WriteBatch()
      for (key, value) in batch.puts { own.put(Session.prefix + key, value) }
      for key in batch.deletes { own.delete(Session.prefix + key) }
      for (key, value) in batch.expectations { own.expect(Session.prefix + key, value) }
      try await base.apply(own, checkpoint: checkpoint)
    }

    func close() async { await base.close() }
  }
}
