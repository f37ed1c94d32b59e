import DatabusCore
import Dispatcher
import RedisClient

/// Remembers deliveries in Redis: all dispatchers of a pipeline share it.
///
/// Several pipelines can use one Redis; all keys begin with the pipeline's name. `<pipeline>:d:` and the 16 bytes of a delivery's id is one
/// key a delivery, which Redis forgets by itself; `<pipeline>:marks` is a hash. What Redis loses in a crash, a failover or an eviction may be
/// sent once more.
///
/// Redis 5 or later. The user needs `evalsha`, `script|load`, `get`, `set`, `pexpire`, `time`, `hgetall`, `hset`, `hdel` (and `wait`, where
/// replicas are waited for); `info` and `config|get` let it tell of risks.
public actor RedisDeduplication: DeduplicationStore {
  public struct Options: Sendable {
    public var connection: RedisConnection.Options
    /// How many replicas must have what was asked before it is answered; 0: none. For a Redis that fails over; it takes a round trip
    /// between the servers more.
    public var replicas: Int

    public init(_ connection: RedisConnection.Options, replicas: Int = 0) {
      self.connection = connection
      self.replicas = replicas
    }
  }

  private let worker = WorkerThread(name: "redis-dedup")
  nonisolated public var unownedExecutor: UnownedSerialExecutor { worker.asUnownedSerialExecutor() }

  private let connection: RedisConnection
  private let replicas: Int
  private let keyPrefix: [UInt8]
  private let marksKey: String
  /// Filled anew for every call: its memory stays.
  private var pipeline = RedisPipeline()
  /// Redis has answered us before: what it refuses now is no mistake of the configuration.
  private var wasReached = false
  private var isClosed = false

  /// So many requests go in one round trip; more of them take several, so that neither side holds hundreds of megabytes.
  static let largestPipeline = 16_384

  /// - Parameter pipeline: whose deliveries these are. Letters, digits, `.`, `_` and `-`.
  /// - Throws: `DeduplicationError.unavailable` where Redis is away or takes no writes now; `unusable` where it refuses us: no right
  ///   password, no rights.
  public init(_ options: Options, pipeline: String) async throws {
    connection = RedisConnection(options.connection)
    replicas = max(options.replicas, 0)
    keyPrefix = Array("\(pipeline):d:".utf8)
    marksKey = "\(pipeline):marks"
    do {
      try look()
    } catch {
      close()
      throw error
    }
  }

  deinit { worker.stop() }

  public func close() {
    isClosed = true
    connection.disconnect()
    worker.stop()
  }

  /// Whether Redis can be used at all.
  private func look() throws {
    try translated {
      pipeline.removeAll()
      DeliveryScript.look(keyPrefix, to: &pipeline)
      _ = try connection.send(pipeline)[0].checked()
    }
    wasReached = true
  }

  // MARK: Deliveries

  public func process(_ requests: [DeduplicationRequest]) throws -> [DeduplicationAnswer] {
    try translated {
      var answers: [DeduplicationAnswer] = []
      answers.reserveCapacity(requests.count)
      var start = 0
      while start < requests.count {
        let end = min(start + RedisDeduplication.largestPipeline, requests.count)
        pipeline.removeAll()
        for request in requests[start..<end] { DeliveryScript.append(request, prefix: keyPrefix, to: &pipeline) }
        for (index, reply) in try send().enumerated() {
          answers.append(try answer(reply, requests[start + index]))
        }
        start = end
      }
      return answers
    }
  }

  private func answer(_ reply: RedisReply, _ request: DeduplicationRequest) throws -> DeduplicationAnswer {
    let number: Int64
    switch reply {
    case .integer(let found): number = found
    case .error(let error): throw error
    default: throw unexpected
    }
    guard let answer = DeliveryScript.answer(number) else {
      switch request {
      case .claim(let claim): throw foreign(claim.id)
      case .settle(let settlement): throw foreign(settlement.id)
      }
    }
    return answer
  }

  private func foreign(_ id: DeliveryID) -> DeduplicationError {
    .unusable(
      "What Redis at \(connection.place) remembers of the delivery \(id) is of a newer release or of another program: run that "
        + "release, or use another database.")
  }

  public func states(of ids: [DeliveryID]) throws -> [DeduplicationState?] {
    try translated {
      var states: [DeduplicationState?] = []
      states.reserveCapacity(ids.count)
      var start = 0
      while start < ids.count {
        let end = min(start + RedisDeduplication.largestPipeline, ids.count)
        pipeline.removeAll()
        for id in ids[start..<end] {
          pipeline.begin("GET", arguments: 1)
          pipeline.append(keyPrefix, words: (id.high, id.low))
        }
        for (index, reply) in try connection.send(pipeline).enumerated() {
          let id = ids[start + index]
          states.append(
            try reply.checked().bytes.map { value in
              guard let state = DeliveryScript.state(of: value) else { throw foreign(id) }
              return state
            })
        }
        start = end
      }
      return states
    }
  }

  /// Sends the pipeline, and waits for replicas where they are wanted.
  private func send() throws -> [RedisReply] {
    if replicas == 0 { return try connection.send(pipeline) }
    // Its end must come before that of our own patience; 0 would be without end.
    let patience = max(Int((connection.options.timeout / 2).storedMilliseconds), 1)
    pipeline.begin("WAIT", arguments: 2)
    pipeline.append(replicas)
    pipeline.append(patience)
    var replies = try connection.send(pipeline)
    let reached = try replies.removeLast().checked().integer ?? 0
    // What was refused has a better reason than too few replicas.
    for case .error(let error) in replies { throw error }
    if reached < replicas {
      throw DeduplicationError.unavailable(
        "\(reached) of \(replicas) replicas of Redis at \(connection.place) have what was written after \(patience) ms: bring the "
          + "others back, or ask for fewer (replicas).")
    }
    return replies
  }

  // MARK: Marks

  public func marks() throws -> [DispatchMark] {
    try translated {
      let texts = try connection.call(RedisCommand("HGETALL", marksKey)).elements.map { $0.text ?? "" }
      guard texts.count % 2 == 0 else { throw unexpected }
      return try stride(from: 0, to: texts.count, by: 2).map { index in
        guard let mark = DispatchMarkCoding.mark(texts[index], texts[index + 1]) else {
          throw DeduplicationError.unusable(
            "The mark \(texts[index].debugDescription) in \(marksKey) in Redis at \(connection.place) is of a newer release: run that "
              + "release, or remove it (redis-cli HDEL).")
        }
        return mark
      }
    }
  }

  public func set(_ mark: DispatchMark) throws {
    try write(
      RedisCommand("HSET", marksKey, DispatchMarkCoding.field(mark.subject, mark.kind), DispatchMarkCoding.value(mark)))
  }

  public func remove(_ subject: DispatchMark.Subject, _ kind: DispatchMark.Kind) throws {
    try write(RedisCommand("HDEL", marksKey, DispatchMarkCoding.field(subject, kind)))
  }

  private func write(_ command: RedisCommand) throws {
    try translated {
      pipeline.removeAll()
      pipeline.append(command)
      for reply in try send() { _ = try reply.checked() }
    }
  }

  // MARK: Risks

  public func risks() throws -> [String] {
    try translated {
      let keeping = RedisKeeping(try connection.send(RedisKeeping.questions))
      let place = "Redis at \(connection.place)"
      var risks: [String] = []
      // Deliveries have a time to live: every policy but one may evict them.
      if let policy = keeping.policyAtLimit, policy != "noeviction" {
        risks.append(
          "\(place) may forget deliveries when its memory is full (maxmemory-policy \(policy)), and then they may be sent again: set "
            + "maxmemory-policy to noeviction.")
      }
      if keeping.writesNothing {
        risks.append(
          "\(place) keeps nothing on the disk (appendonly no, save \"\"): its restart forgets all deliveries, and they may be sent "
            + "again: set appendonly yes.")
      } else if keeping.appendsToFile == false, keeping.savePoints == nil {
        risks.append(
          "\(place) writes no append-only file, and does not tell whether it saves snapshots: its crash may forget deliveries, and they "
            + "may be sent again: set appendonly yes.")
      }
      return risks
    }
  }

  // MARK: Errors

  private var unexpected: DeduplicationError {
    .unavailable("Redis at \(connection.place) gave an answer that is none: look whether a proxy stands in between.")
  }

  private func translated<R>(_ body: () throws -> R) throws -> R {
    if isClosed {
      throw DeduplicationError.unusable(
        "the deduplication store in Redis at \(connection.place) was closed; open it again.")
    }
    do {
      return try body()
    } catch let error as RedisError {
      throw DeduplicationError(error, isFirst: !wasReached)
    }
  }
}

extension DeduplicationError {
  /// - Parameter isFirst: Redis has never answered us: what it refuses is refused for a reason that stays.
  init(_ error: RedisError, isFirst: Bool) {
    switch error.kind {
    case .outOfMemory:
      self = .unavailable(
        "\(error.message) Nothing new is sent until there is room: every delivery takes about 120 bytes for as long as it is "
          + "remembered (maxmemory must hold them all; shorten dedup.ttl to need less).")
    case .unreachable, .timedOut, .connectionLost, .readOnly, .loading, .misconfigured, .tooFewReplicas, .busy,
      .tooManyClients, .unknownScript, .cluster:
      self = .unavailable(error.message)
    case .authentication, .forbidden, .notRedis, .refused:
      // A password that is exchanged: an outage, once it has worked.
      self = isFirst ? .unusable(error.message) : .unavailable(error.message)
    case .wrongType: self = .unusable(error.message)
    }
  }
}
