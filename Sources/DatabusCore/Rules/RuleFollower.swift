/// Reads a rules stream from its beginning and follows it, without a state of its own.
public struct RuleFollower: Sendable {
  private let transport: any Transport
  private let stream: String
  private let schemes: Set<String>
  private let limits: Limits
  private let clock: any EngineClock
  private let log: Logger

  /// - Parameter schemes: URL schemes that rules may name; a version of a rule with another one is refused, as the router refuses it.
  public init(
    _ transport: any Transport, stream: String, schemes: Set<String>, limits: Limits, clock: any EngineClock,
    log: Logger
  ) {
    self.transport = transport
    self.stream = stream
    self.schemes = schemes
    self.limits = limits
    self.clock = clock
    self.log = log
  }

  /// Reads until the task is cancelled, or the stream has an end.
  ///
  /// - Parameters:
  ///   - tell: called with the rules once they have been read to the stream's end, and after each change.
  ///   - tellTrouble: called with a sentence where the stream cannot be read, which is tried again without limit, and with nil when it can.
  public func run(
    tell: @escaping @Sendable (RuleStandings) -> Void, tellTrouble: @escaping @Sendable (String?) -> Void
  ) async {
    let thread = WorkerThread(name: "databus-rules")
    var standings = RuleStandings()
    while !Task.isCancelled {
      do {
        let feed = try await open(thread)
        let end = await follow(feed, &standings, tell, tellTrouble)
        await feed.close()
        if end { break }
      } catch {
        await report("\(error)", tellTrouble)
      }
    }
    thread.stop()
  }

  private func open(_ thread: WorkerThread) async throws -> RulesFeed {
    let source = try await transport.makeSource(stream, .everything(from: [:]))
    let sinks = Dictionary(uniqueKeysWithValues: schemes.map { ($0, 0) })
    // What is refused, and why, is the router's to tell.
    let feed = RulesFeed(
      source: source, store: try await RuleStore(NoState()),
      settings: .init(
        decoder: RuleDecoder(schemes: schemes, maximumBytes: limits.ruleBytes, maximumDepth: limits.depth),
        sinks: sinks, maximumRules: limits.rules, storesRules: false, clock: clock),
      progress: Progress(outputs: 1), log: .off, executor: thread)
    await feed.noteDeletions()
    return feed
  }

  /// Returns true where there is nothing more to come, false where the source is to be made anew.
  private func follow(
    _ feed: RulesFeed, _ standings: inout RuleStandings, _ tell: @Sendable (RuleStandings) -> Void,
    _ tellTrouble: @Sendable (String?) -> Void
  ) async -> Bool {
    var isComplete = false
    var told = clock.now()
    while !Task.isCancelled {
      do {
        var changed = true
        if isComplete {
          guard let found = try await feed.follow(wait: .milliseconds(500)) else { return true }
          changed = found
        } else {
          try await feed.bootstrap(isStopping: { Task.isCancelled })
          if Task.isCancelled { return true }
          isComplete = true
          standings.readToEnd(at: clock.wallMilliseconds())
        }
        tellTrouble(nil)
        if changed { standings.replace(await feed.standings()) }
        if let time = await feed.readToEndAt { standings.readToEnd(at: time) }
        // That nothing has changed meanwhile is of interest now and then.
        if !changed, clock.now() - told < .seconds(10) { continue }
        told = clock.now()
        tell(standings)
      } catch let error as TransportError where error.class == .transport {
        await report(error.message, tellTrouble)
      } catch {
        await report("\(error)", tellTrouble)
        return false
      }
    }
    return true
  }

  private func report(_ message: String, _ tellTrouble: @Sendable (String?) -> Void) async {
    let text = "the rules cannot be read: \(message)"
    tellTrouble(text)
    log.error(text, at: stream, remedy: "it is tried again without limit")
    try? await clock.sleep(for: .seconds(2))
  }
}

extension RulesFeed {
  fileprivate func noteDeletions() { deletedIDs = [] }

  /// How each rule stands that the stream holds, or has deleted since this was asked last.
  fileprivate func standings() -> [String: RuleStandings.Standing] {
    var all: [String: RuleStandings.Standing] = builder.rules.mapValues { $0.isEnabled ? .inForce : .disabled }
    // The version before is in force, which the stream may not hold any more.
    for ruleID in refused.keys where all[ruleID] == nil { all[ruleID] = .inForce }
    for ruleID in deletedIDs ?? [] where all[ruleID] == nil { all[ruleID] = .gone }
    deletedIDs = []
    return all
  }
}

/// The state of whoever keeps none.
private struct NoState: StateSession {
  var epoch: UInt64 { 0 }
  var checkpoint: UInt64 { 0 }

  func multiGet(_ keys: [[UInt8]]) async throws -> [[UInt8]?] { keys.map { _ in nil } }
  func scan(prefix: [UInt8], after: [UInt8]?, limit: Int) async throws -> StatePage {
    StatePage(entries: [], last: nil)
  }
  func apply(_ batch: WriteBatch, checkpoint: UInt64?) async throws {
    throw StateError.unusable("there is no state to write to")
  }
  func close() async {}
}
