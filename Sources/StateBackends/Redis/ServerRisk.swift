import RedisClient

/// What in a server's configuration can lose state. Servers that do not tell have none.
struct ServerRisk: Hashable {
  var what: String
  var remedy: String

  static func all(_ keeping: RedisKeeping) -> [ServerRisk] {
    var all: [ServerRisk] = []
    // Keys without a time to live, as these are, are evicted by the policies for all keys only, and only at a limit.
    if let policy = keeping.policyAtLimit, policy.hasPrefix("allkeys-") {
      all.append(
        ServerRisk(
          what: "Redis may evict the state when its memory is full (maxmemory-policy \(policy))",
          remedy: "set maxmemory-policy to noeviction"))
    }
    if keeping.writesNothing {
      all.append(
        ServerRisk(
          what: "Redis keeps nothing on the disk (appendonly no, save \"\"): its restart loses the state",
          remedy: "set appendonly yes"))
    }
    return all
  }
}
