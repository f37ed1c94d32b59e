/// Why Redis could not be asked, or refused: a sentence that says where, what and what to do. Never holds a password.
public struct RedisError: Error, Sendable, Hashable {
  public enum Kind: Sendable, Hashable {
    /// No connection can be made: nobody listens, no such host, no route, no such socket.
    case unreachable
    /// No answer within the time. The command may have been done.
    case timedOut
    /// The connection ended before the answer. The command may have been done.
    case connectionLost
    /// User name or password are refused, or missing.
    case authentication
    /// The user may not give this command or touch this key.
    case forbidden
    /// Redis is at its `maxmemory`.
    case outOfMemory
    /// The server is a replica: it takes no writes.
    case readOnly
    /// The server reads its data from the disk, or waits for its primary's or for the rest of its cluster.
    case loading
    /// The server cannot persist, and so takes no writes.
    case misconfigured
    /// Too few replicas are there for a write.
    case tooFewReplicas
    /// A script of somebody's has been running for long.
    case busy
    /// The server has as many clients as it takes.
    case tooManyClients
    /// The key belongs to another node of a cluster.
    case cluster
    /// A key holds another type of value.
    case wrongType
    /// The script is not known by its hash: `RedisConnection` sends it again, so this is seen only where it is forgotten twice.
    case unknownScript
    /// What was answered is no answer of Redis.
    case notRedis
    /// Anything else that Redis refused.
    case refused
  }

  public var kind: Kind
  /// What happened, where, and what to do.
  public var message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }

  /// Whether the command certainly changed nothing: Redis refused it, or never saw it.
  public var isKnownNotDone: Bool {
    switch kind {
    case .timedOut, .connectionLost, .notRedis: false
    default: true
    }
  }
}

extension RedisError: CustomStringConvertible {
  public var description: String { message }
}

extension RedisError {
  /// The error of an answer.
  ///
  /// - Parameters:
  ///   - text: the server's words: a code in capitals, then a sentence.
  ///   - place: the server's URL without its password.
  init(reply text: String, at place: String) {
    let text = RedisError.causeInScript(text)
    let kind = RedisError.kind(of: text)
    let redis = "Redis at \(place)"
    let quoted = "(\(text))"
    switch kind {
    case .authentication where text.hasPrefix("NOAUTH"):
      self.init(
        kind,
        "\(redis) asks for a password, and none is given: write it as redis://:password@host or "
          + "redis://user:password@host, or as a setting of its own.")
    case .authentication:
      self.init(kind, "\(redis) refuses the user name or the password: correct them.")
    case .forbidden:
      self.init(kind, "The user may not do this in \(redis) \(quoted): give it the right (ACL SETUSER).")
    case .outOfMemory:
      self.init(kind, "\(redis) is full \(quoted): raise maxmemory, or make room.")
    case .readOnly:
      self.init(
        kind, "\(redis) is a replica and takes no writes: name its primary; after a failover wait for the new one.")
    case .loading:
      self.init(kind, "\(redis) is not ready yet \(quoted): wait until it has its data.")
    case .misconfigured:
      self.init(
        kind,
        "\(redis) takes no writes because it cannot save them \(quoted): make room on its disk, and look at its log.")
    case .tooFewReplicas:
      self.init(
        kind, "\(redis) takes no writes because too few replicas follow it (min-replicas-to-write): bring them back.")
    case .busy:
      self.init(kind, "\(redis) is busy with somebody's script \(quoted): wait for it, or end it with SCRIPT KILL.")
    case .tooManyClients:
      self.init(kind, "\(redis) takes no more clients: raise maxclients, or end some.")
    case .cluster:
      self.init(
        kind,
        "\(redis) is a node of a cluster and does not have this key \(quoted): name a server, or a proxy, that has all keys."
      )
    case .wrongType:
      self.init(
        kind,
        "A key in \(redis) holds something of another program \(quoted): use another key prefix, or another database.")
    default:
      self.init(kind, "\(redis) refused a command \(quoted).")
    }
  }

  /// Before Redis 7 the error of a command inside a script is wrapped: "ERR Error running script (...): @user_script:3:
  /// @user_script: 3: -OOM command not allowed ...".
  private static func causeInScript(_ text: String) -> String {
    guard text.hasPrefix("ERR Error running script"), let mark = text.firstRange(of: ": -") else { return text }
    return String(text[mark.upperBound...])
  }

  private static func kind(of text: String) -> Kind {
    switch text.prefix(while: { $0 != " " }) {
    case "NOAUTH", "WRONGPASS": .authentication
    case "NOPERM": .forbidden
    case "OOM": .outOfMemory
    case "READONLY": .readOnly
    case "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN": .loading
    case "MISCONF": .misconfigured
    case "NOREPLICAS": .tooFewReplicas
    case "BUSY": .busy
    case "MOVED", "ASK", "CROSSSLOT": .cluster
    case "WRONGTYPE": .wrongType
    case "NOSCRIPT": .unknownScript
    case "ERR" where text.contains("max number of clients"): .tooManyClients
    // Redis 7, of a command inside a script.
    case "ERR" where text.hasPrefix("ERR The user executing the script can't"): .forbidden
    // AUTH before Redis 6.
    case "ERR" where text.hasPrefix("ERR invalid password"): .authentication
    default: .refused
    }
  }

  // MARK: Without an answer

  static func unreachable(_ place: String, _ detail: String) -> RedisError {
    RedisError(
      .unreachable, "Redis at \(place) cannot be reached (\(detail)): start it, or correct the URL.")
  }

  static func timedOut(_ place: String, _ time: Duration) -> RedisError {
    RedisError(
      .timedOut, "Redis at \(place) did not answer within \(time): it is stopped or overloaded, or the network is cut.")
  }

  static func lost(_ place: String, _ detail: String) -> RedisError {
    RedisError(
      .connectionLost,
      "The connection to Redis at \(place) was lost (\(detail)): it was restarted, or the network is cut.")
  }

  static func notRedis(_ place: String) -> RedisError {
    RedisError(.notRedis, "What answers at \(place) is not Redis, or asks for TLS: correct the URL.")
  }
}
