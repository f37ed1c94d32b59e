import CHiredis

/// One connection to one Redis server, made when it is needed and made anew after an error. Calls block: use it from one
/// thread at a time, and never on Swift's own pool.
///
/// A call whose answer was lost is never repeated here, since it may have been done: the caller decides. While the server is away
/// calls fail at once between two tries.
public final class RedisConnection {
  public struct Options: Sendable {
    public var endpoint: RedisEndpoint
    /// How long making a connection may take.
    public var connectTimeout: Duration
    /// How long a call may wait without a byte going or coming.
    public var timeout: Duration

    public init(_ endpoint: RedisEndpoint, connectTimeout: Duration = .seconds(5), timeout: Duration = .seconds(5)) {
      self.endpoint = endpoint
      self.connectTimeout = connectTimeout
      self.timeout = timeout
    }
  }

  public let options: Options
  /// The server's URL without the password, for messages.
  public let place: String
  // Owned: freed by `disconnect`, and replaced only while it is nil.
  private var context: UnsafeMutablePointer<redisContext>?
  /// The scripts that some server has been sent.
  private var loaded: Set<RedisScript> = []
  private var pace = ReconnectPace()

  public init(_ options: Options) {
    self.options = options
    place = options.endpoint.description
  }

  deinit { disconnect() }

  /// Ends the connection. The next call makes another one.
  public func disconnect() {
    if let context { redisFree(context) }
    context = nil
  }

  // MARK: Calls

  /// Sends commands together and waits for all their answers: one round trip.
  ///
  /// Scripts that the server does not know are sent to it first; where it has forgotten one, the calls that it refused for
  /// that are repeated behind the others.
  ///
  /// - Returns: the answers, in the commands' order; `RedisReply.error` for a command that was refused.
  /// - Throws: where there is no answer. What was sent may have been done: see `RedisError.isKnownNotDone`.
  public func send(_ commands: [RedisCommand]) throws(RedisError) -> [RedisReply] {
    var pipeline = RedisPipeline()
    for command in commands { pipeline.append(command) }
    return try send(pipeline)
  }

  /// Sends commands together and waits for all their answers, as above.
  public func send(_ pipeline: RedisPipeline) throws(RedisError) -> [RedisReply] {
    if pipeline.isEmpty { return [] }
    let now = ContinuousClock.now
    if context == nil, let error = pace.refusal(at: now) { throw error }
    do throws(RedisError) {
      if context == nil { context = try connect() }
      try load(pipeline.scripts.subtracting(loaded))
      var replies = try roundTrip(pipeline)
      let forgotten = replies.indices.filter { index in
        if case .error(let error) = replies[index] { return error.kind == .unknownScript }
        return false
      }
      if !forgotten.isEmpty {
        try load(pipeline.scripts)
        let again = try roundTrip(pipeline.picking(forgotten))
        for (index, reply) in zip(forgotten, again) { replies[index] = reply }
      }
      pace.succeeded()
      // A replica or a server that drops us soon: the name may lead to another one next time.
      for case .error(let error) in replies where error.kind == .readOnly { disconnect() }
      return replies
    } catch {
      disconnect()
      pace.failed(error, at: ContinuousClock.now)
      throw error
    }
  }

  /// One command. Throws also where it is refused.
  public func call(_ command: RedisCommand) throws(RedisError) -> RedisReply {
    try send([command])[0].checked()
  }

  private func load(_ scripts: Set<RedisScript>) throws(RedisError) {
    if scripts.isEmpty { return }
    var pipeline = RedisPipeline()
    for script in scripts { pipeline.append(RedisCommand("SCRIPT", "LOAD", script.source)) }
    for (script, reply) in zip(scripts, try roundTrip(pipeline)) {
      guard try reply.checked().text == script.hash else { throw .notRedis(place) }
      loaded.insert(script)
    }
  }

  private func roundTrip(_ pipeline: RedisPipeline) throws(RedisError) -> [RedisReply] {
    guard let context else { throw .lost(place, "it is closed") }
    // hiredis takes a copy, and does not look at it.
    let status = pipeline.bytes.withUnsafeBytes {
      redisAppendFormattedCommand(context, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count)
    }
    if status != REDIS_OK { throw failure(of: context, 0) }
    var error: Int32 = 0
    if databus_redis_flush(context, &error) != REDIS_OK { throw failure(of: context, error) }
    var replies: [RedisReply] = []
    replies.reserveCapacity(pipeline.count)
    for _ in 0..<pipeline.count {
      guard let reply = databus_redis_next_reply(context, &error) else { throw failure(of: context, error) }
      defer { freeReplyObject(reply) }
      replies.append(RedisReply(reply) { RedisError(reply: $0, at: place) })
    }
    return replies
  }

  // MARK: Connecting

  private func connect() throws(RedisError) -> UnsafeMutablePointer<redisContext> {
    let limit = timeval(options.connectTimeout)
    let made: UnsafeMutablePointer<redisContext>? =
      switch options.endpoint.address {
      case .tcp(let host, let port): redisConnectWithTimeout(host, Int32(port), limit)
      case .unix(let path): redisConnectUnixWithTimeout(path, limit)
      }
    guard let made else { throw .unreachable(place, "no memory") }
    if made.pointee.err != 0 {
      let detail = String(cString: databus_redis_error_text(made))
      redisFree(made)
      throw .unreachable(place, detail)
    }
    databus_redis_close_on_exec(made)
    redisSetTimeout(made, timeval(options.timeout))
    if case .tcp = options.endpoint.address { redisEnableKeepAlive(made) }
    context = made
    do throws(RedisError) {
      try introduce()
    } catch {
      context = nil
      redisFree(made)
      throw error
    }
    return made
  }

  /// Says who we are and which database is meant.
  private func introduce() throws(RedisError) {
    let endpoint = options.endpoint
    var commands = RedisPipeline()
    if let password = endpoint.password {
      var command = RedisCommand("AUTH")
      if let username = endpoint.username { command.append(username) }
      command.append(password)
      commands.append(command)
    }
    let hasPassword = !commands.isEmpty
    if endpoint.database != 0 { commands.append(RedisCommand("SELECT", "\(endpoint.database)")) }
    if commands.isEmpty { return }
    let replies = try roundTrip(commands)
    if hasPassword, case .error(let error) = replies[0] { throw refusal(ofPassword: error) }
    if endpoint.database != 0, case .error(let error) = replies[replies.count - 1] {
      guard error.kind == .refused else { throw error }
      throw RedisError(
        .refused,
        "Redis at \(place) has no database \(endpoint.database): name another one (its setting \"databases\" says how "
          + "many there are; a cluster has only 0).")
    }
  }

  /// The server's own words are left out where they may repeat what was sent.
  private func refusal(ofPassword error: RedisError) -> RedisError {
    guard error.kind == .refused else { return error }
    return RedisError(
      .authentication,
      "Redis at \(place) does not take the password: it has none set (then give none), or it is older than 6 and knows no user names."
    )
  }

  private func failure(of context: UnsafeMutablePointer<redisContext>, _ error: Int32) -> RedisError {
    if databus_redis_is_timeout(context, error) != 0 { return .timedOut(place, options.timeout) }
    if context.pointee.err == REDIS_ERR_PROTOCOL { return .notRedis(place) }
    return .lost(place, String(cString: databus_redis_error_text(context)))
  }
}

extension timeval {
  /// At least a millisecond: none at all would be without end.
  fileprivate init(_ duration: Duration) {
    let (seconds, attoseconds) = max(duration, .milliseconds(1)).components
    self.init(tv_sec: Int(clamping: min(seconds, 1 << 31)), tv_usec: Int(attoseconds / 1_000_000_000_000))
  }
}
