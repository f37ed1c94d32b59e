import DatabusCore
import RedisClient
import Synchronization

/// The one connection to Redis, on a thread of its own: its calls block. Every method is one round trip.
actor StateStore {
  /// Names the life of the state; empty for a reader before the pipeline's first start.
  nonisolated let id = Mutex("")

  private let worker = WorkerThread(name: "redis-state")
  nonisolated var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  private let connection: RedisConnection
  private let keys: StateKeys
  private let access: RedisState.Access
  private let log: Logger
  /// Names this backend among all processes.
  private let nonce = StateStore.newID()
  private var sessionCount: UInt64 = 0
  /// The revisions of its scope that an open session may find: one, or more after answers that were lost.
  private var bases: [UInt64: ClosedRange<UInt64>] = [:]
  /// Redis has answered us before: what it refuses now is no mistake of the configuration.
  private var wasReached = false
  private var isClosed = false

  /// Together they are far below what Redis takes (1 GiB, its client-query-buffer-limit).
  static let largestBatch = 512 << 20
  /// A page ends behind the entry with which it reaches so many bytes.
  static let pageBytes = 4 << 20

  init(_ options: RedisState.Options, pipeline: String, access: RedisState.Access, log: Logger) {
    connection = RedisConnection(options.connection)
    keys = StateKeys(prefix: options.keyPrefix, pipeline: pipeline)
    self.access = access
    self.log = log
  }

  deinit { worker.stop() }

  /// 32 hexadecimal digits.
  private static func newID() -> String {
    var random = SystemRandomNumberGenerator()
    return (0..<2).map { _ in
      let digits = String(random.next() as UInt64, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
  }

  func open() throws {
    try translated {
      switch access {
      case .writer:
        take(id: try send(identify)[1])
        for risk in ServerRisk.all(RedisKeeping(try connection.send(RedisKeeping.questions))) {
          log.warning(risk.what, at: connection.place, remedy: risk.remedy)
        }
      case .reader: take(id: try connection.call(RedisCommand("GET", keys.id)))
      }
    }
    wasReached = true
  }

  func close() {
    isClosed = true
    bases = [:]
    connection.disconnect()
    worker.stop()
  }

  // MARK: Identity

  /// Gives the state a name where it has none, and asks for the name.
  private var identify: [RedisCommand] {
    [RedisCommand("SET", keys.id, StateStore.newID(), "NX"), RedisCommand("GET", keys.id)]
  }

  private func take(id reply: RedisReply) {
    let found = reply.text ?? ""
    let known = id.withLock { id in
      defer { id = found }
      return id
    }
    if known != found, !known.isEmpty {
      log.error(
        "the state is another one than before: Redis was emptied, or its data exchanged", at: connection.place,
        remedy: "partitions go on from what the transport has committed; check the persistence of Redis",
        [LogField("before", known), LogField("now", found)])
    }
  }

  // MARK: Scopes

  func session(_ scope: StateScope) throws -> RedisStateSession {
    try translated {
      sessionCount += 1
      let number = sessionCount
      var commands: [RedisCommand] = []
      var call = RedisCommand(StateScripts.look, keys: keys.both(scope))
      if case .writer = access {
        commands = identify
        if case .partition(let partition) = scope {
          commands.append(RedisCommand("SADD", keys.partitions, StateKeys.name(of: partition)))
          call = RedisCommand(StateScripts.open, keys: keys.both(scope))
          call.append(nonce)
          call.append(number)
        }
      }
      let replies = try send(commands + [call])
      if case .writer = access { take(id: replies[1]) }
      let answer = try outcome(replies[commands.count], scope)
      guard answer.count == 3, let epoch = answer[0].integer.flatMap({ UInt64(exactly: $0) }),
        let checkpoint = answer[1].text.flatMap({ UInt64($0) }),
        let revision = answer[2].integer.flatMap({ UInt64(exactly: $0) })
      else {
        throw StateError.unusable(
          "\(keys.state(scope)) in Redis at \(connection.place) holds what nobody wrote there: \(remedy(scope)).")
      }
      bases[number] = revision...revision
      return RedisStateSession(
        store: self, scope: scope, number: number, epoch: scope == .pipeline ? 0 : epoch, checkpoint: checkpoint)
    }
  }

  func end(_ session: RedisStateSession) { bases[session.number] = nil }

  func partitions() throws -> [PartitionID] {
    try translated {
      let names = try connection.call(RedisCommand("SMEMBERS", keys.partitions)).elements.compactMap(\.text)
      let known = names.compactMap(StateKeys.partition(named:)).sorted()
      let replies = try send(
        known.flatMap { partition in
          [
            RedisCommand("HGET", keys.state(.partition(partition)), "checkpoint"),
            RedisCommand("ZCARD", keys.order(.partition(partition))),
          ]
        })
      return known.enumerated().compactMap { index, partition in
        let hasState = (replies[2 * index].text ?? "0") != "0" || replies[2 * index + 1].integer != 0
        return hasState ? partition : nil
      }
    }
  }

  func remove(_ partition: PartitionID) throws {
    try translated {
      try refuseReader()
      _ = try connection.call(RedisCommand(StateScripts.remove, keys: keys.both(.partition(partition))))
    }
  }

  // MARK: Entries

  func multiGet(_ keys: [[UInt8]], in session: RedisStateSession) throws -> [[UInt8]?] {
    if keys.isEmpty { return [] }
    return try translated {
      _ = try base(of: session)
      var command = RedisCommand("HMGET", self.keys.state(session.scope))
      for key in keys { command.append(EntryField.mark, key) }
      let values = try connection.call(command).elements.map(\.bytes)
      guard values.count == keys.count else { throw unexpected }
      return values
    }
  }

  func scan(_ session: RedisStateSession, prefix: [UInt8], after: [UInt8]?, limit: Int) throws -> StatePage {
    try translated {
      _ = try base(of: session)
      var call = RedisCommand(StateScripts.scan, keys: keys.both(session.scope))
      call.append(EntryField.lowest(prefix: prefix, after: after))
      call.append(EntryField.highest(prefix: prefix))
      // Redis takes what fits into a machine word; nobody has so many entries.
      call.append(min(max(limit, 1), 1 << 40))
      call.append(StateStore.pageBytes)
      let answer = try outcome(try connection.call(call), session.scope)
      guard let isMore = answer.first?.text, answer.count % 2 == 1 else { throw unexpected }
      var entries: [(key: [UInt8], value: [UInt8])] = []
      entries.reserveCapacity(answer.count / 2)
      for index in stride(from: 1, to: answer.count, by: 2) {
        guard let field = answer[index].bytes, let value = answer[index + 1].bytes else { throw unexpected }
        entries.append((Array(field.dropFirst()), value))
      }
      return StatePage(entries: entries, last: isMore == "1" ? entries.last?.key : nil)
    }
  }

  func apply(_ batch: WriteBatch, checkpoint: UInt64?, by session: RedisStateSession) throws {
    try translated {
      try refuseReader()
      let base = try base(of: session)
      let call = command(batch, checkpoint: checkpoint, by: session, base: base)
      if call.byteCount > StateStore.largestBatch {
        throw StateError.unusable(
          "\(call.byteCount) bytes are too many for one write to Redis at \(connection.place): at most \(StateStore.largestBatch) are sent."
        )
      }
      let reply: RedisReply
      do throws(RedisError) {
        reply = try connection.call(call)
      } catch {
        // It may have been done: then the next call finds one revision more.
        if !error.isKnownNotDone { bases[session.number] = base.lowerBound...base.upperBound + 1 }
        throw error
      }
      let answer = try outcome(reply, session.scope, checkpoint)
      guard let revision = answer.first?.integer.flatMap({ UInt64(exactly: $0) }) else { throw unexpected }
      bases[session.number] = revision...revision
    }
  }

  private func command(
    _ batch: WriteBatch, checkpoint: UInt64?, by session: RedisStateSession, base: ClosedRange<UInt64>
  ) -> RedisCommand {
    var call = RedisCommand(StateScripts.apply, keys: keys.both(session.scope))
    call.reserve(
      arguments: 10 + 3 * batch.expectations.count + batch.deletes.count + 2 * batch.puts.count,
      bytes: 512 + batch.puts.reduce(0) { $0 + $1.key.count + $1.value.count + 1 })
    call.append(session.scope == .pipeline ? "0" : "1")
    call.append("\(nonce).\(session.number)")
    call.append(session.epoch)
    call.append(base.lowerBound)
    call.append(base.upperBound)
    call.append(checkpoint.map { String($0) } ?? "")
    call.append(checkpoint.map { String($0 &- 1) } ?? "")
    call.append(batch.expectations.count)
    call.append(batch.deletes.count)
    call.append(batch.puts.count)
    for (key, value) in batch.expectations {
      call.append(EntryField.mark, key)
      call.append(value == nil ? "0" : "1")
      call.append(value ?? [])
    }
    for key in batch.deletes { call.append(EntryField.mark, key) }
    for (key, value) in batch.puts {
      call.append(EntryField.mark, key)
      call.append(value)
    }
    return call
  }

  // MARK: Answers

  /// What a script answered behind its first word.
  private func outcome(_ reply: RedisReply, _ scope: StateScope, _ checkpoint: UInt64? = nil) throws -> [RedisReply] {
    let answer = reply.elements
    guard let word = answer.first?.text, let outcome = StateScripts.Outcome(rawValue: word) else { throw unexpected }
    let place = "Redis at \(connection.place)"
    let detail = answer.dropFirst().first?.text ?? ""
    switch outcome {
    case .ok: return Array(answer.dropFirst())
    case .fenced: throw StateError.fenced
    case .older: throw StateError.diverged("\(place) was emptied, or went back to an older copy of its data")
    case .number:
      throw StateError.diverged(
        "checkpoint \(checkpoint.map { String($0) } ?? "") does not follow \(detail), the last one stored")
    case .expectation:
      throw StateError.diverged("the value of \(String(detail.dropFirst()).debugDescription) is another one")
    case .overtaken: throw StateError.unavailable("\(place) has opened a later session of this process; try again.")
    case .format:
      throw StateError.unusable(
        "\(keys.state(scope)) in \(place) was written by a newer release (format \(detail)): run that release, or use another key prefix."
      )
    case .damaged:
      throw StateError.unusable(
        "\(keys.state(scope)) and \(keys.order(scope)) in \(place) do not belong together: one of them was evicted, deleted or changed "
          + "by somebody else. \(remedy(scope)), and set maxmemory-policy to noeviction.")
    }
  }

  private func remedy(_ scope: StateScope) -> String {
    "Stop the pipeline and remove both (redis-cli DEL '\(keys.state(scope))' '\(keys.order(scope))'): what they held is read again from the "
      + "streams"
  }

  private var unexpected: StateError {
    .unavailable("Redis at \(connection.place) gave an answer that is none: look whether a proxy stands in between.")
  }

  /// Sends commands of which none may be refused.
  private func send(_ commands: [RedisCommand]) throws(RedisError) -> [RedisReply] {
    let replies = try connection.send(commands)
    for reply in replies { _ = try reply.checked() }
    return replies
  }

  private func base(of session: RedisStateSession) throws -> ClosedRange<UInt64> {
    if isClosed { throw StateError.unusable("the state in Redis at \(connection.place) was closed; open it again.") }
    guard let base = bases[session.number] else {
      throw StateError.unusable(
        "the session of the state in Redis at \(connection.place) was closed; open another one.")
    }
    return base
  }

  private func refuseReader() throws {
    if case .reader = access {
      throw StateError.unusable(
        "the state in Redis at \(connection.place) was opened for reading only; open it as a writer to change it.")
    }
  }

  private func translated<R>(_ body: () throws -> R) throws -> R {
    if isClosed { throw StateError.unusable("the state in Redis at \(connection.place) was closed; open it again.") }
    do {
      return try body()
    } catch let error as RedisError {
      throw StateError(error, isFirst: !wasReached)
    }
  }
}

extension StateError {
  /// - Parameter isFirst: Redis has never answered us: what it refuses is refused for a reason that stays.
  init(_ error: RedisError, isFirst: Bool) {
    switch error.kind {
    case .unreachable, .timedOut, .connectionLost, .outOfMemory, .readOnly, .loading, .misconfigured, .tooFewReplicas,
      .busy,
      .tooManyClients, .unknownScript:
      self = .unavailable(error.message)
    case .authentication, .forbidden, .cluster, .notRedis, .refused:
      // A password that is exchanged, a node that is moved: an outage, once it has worked.
      self = isFirst ? .unusable(error.message) : .unavailable(error.message)
    case .wrongType: self = .unusable(error.message)
    }
  }
}
