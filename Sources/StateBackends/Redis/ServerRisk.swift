import RedisClient

/// What in a server's configuration can lose state. Servers that do not tell (managed ones, users without the right) have none.
struct ServerRisk: Hashable {
  var what: String
  var remedy: String

  static var questions: [RedisCommand] {
    [
      RedisCommand("INFO", "memory"), RedisCommand("CONFIG", "GET", "appendonly"),
      RedisCommand("CONFIG", "GET", "save"),
    ]
  }

  /// - Parameter replies: to `questions`.
  static func all(_ replies: [RedisReply]) -> [ServerRisk] {
    guard replies.count == 3 else { return [] }
    var all: [ServerRisk] = []
    // Keys without a time to live, as these are, are evicted by the policies for all keys only, and only at a limit.
    if let memory = replies[0].text, let limit = line("maxmemory", of: memory), limit != "0",
      let policy = line("maxmemory_policy", of: memory), policy.hasPrefix("allkeys-")
    {
      all.append(
        ServerRisk(
          what: "Redis may evict the state when its memory is full (maxmemory-policy \(policy))",
          remedy: "set maxmemory-policy to noeviction"))
    }
    if value(replies[1]) == "no", value(replies[2]) == "" {
      all.append(
        ServerRisk(
          what: "Redis keeps nothing on the disk (appendonly no, save \"\"): its restart loses the state",
          remedy: "set appendonly yes"))
    }
    return all
  }

  private static func line(_ name: String, of text: String) -> Substring? {
    text.split(whereSeparator: \.isNewline).first { $0.hasPrefix(name + ":") }?.dropFirst(name.count + 1)
  }

  /// A setting as CONFIG GET answers it: its name, then its value.
  private static func value(_ reply: RedisReply) -> String? {
    let pair = reply.elements
    return pair.count == 2 ? pair[1].text : nil
  }
}
