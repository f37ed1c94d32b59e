import DatabusCore

/// A stream that dispatchers read.
public struct DispatchStream: Sendable, Hashable {
  public var reference: StreamReference
  /// The consumer group that reads it. A retry stream has one of its own: members of one group that read different streams would rebalance
  /// for one another's sake.
  public var group: String
  /// How long a record waits in it: zero for results.
  public var delay: Duration
}

extension DispatchSettings {
  /// What dispatchers read: each results stream, and behind it its retry streams.
  ///
  /// - Parameter group: that of the results streams (`ResultDispatcher.group`).
  public func streams(group: String) -> [DispatchStream] {
    results.flatMap { results in
      let retries = retry.tiers.enumerated().map { tier, delay in
        let name = retry.stream(of: results.stream, tier: tier)
        return DispatchStream(
          reference: StreamReference(transport: results.transport, stream: name),
          group: "\(group)\(name.dropFirst(results.stream.count))", delay: delay)
      }
      return [DispatchStream(reference: results, group: group, delay: .zero)] + retries
    }
  }
}

extension ResultDispatcher {
  /// The dispatcher's part of a pipeline's state, for commands beside it.
  public static func state(in base: any StateBackend) -> any StateBackend { DispatchState(base: base) }
}

/// The dispatcher's streams on the transport that carries the results: what it reads is one source.
struct DispatchStreams: Transport {
  let base: any Transport
  let settings: DispatchSettings
  let clock: any EngineClock
  let log: Logger

  /// The name under which all of them are read.
  static let joined = "dispatcher"

  func makeSource(_ stream: String, _ mode: SourceMode) async throws -> any EventSource {
    guard stream == DispatchStreams.joined else { return try await base.makeSource(stream, mode) }
    let group: String? = if case .group(let name) = mode { name } else { nil }
    var members: [JoinedSource.Member] = []
    do {
      for stream in settings.streams(group: group ?? "") {
        let name = stream.reference.stream
        let source = try await base.makeSource(name, group == nil ? mode : .group(stream.group))
        members.append(
          .init(
            stream: name,
            source: stream.delay == .zero ? source : DelayedSource(source, delay: stream.delay, clock: clock),
            delay: stream.delay))
      }
    } catch {
      for member in members { await member.source.close() }
      throw error
    }
    return JoinedSource(
      members, clock: clock, forgotten: ForgottenRecords(memory: settings.memory, clock: clock, log: log))
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
