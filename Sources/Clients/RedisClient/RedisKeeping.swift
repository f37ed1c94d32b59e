/// What a server's configuration says about how long it keeps data. nil is what it does not tell: managed servers, users without the
/// right.
public struct RedisKeeping: Sendable, Hashable {
  /// `maxmemory` in bytes; 0 for no limit.
  public var memoryLimit: Int?
  /// `maxmemory-policy`: what it does at the limit.
  public var evictionPolicy: String?
  /// `appendonly`: every write goes to a file.
  public var appendsToFile: Bool?
  /// `save`: when it writes all data to a file; empty for never.
  public var savePoints: String?

  public static var questions: [RedisCommand] {
    [RedisCommand("INFO", "memory"), RedisCommand("INFO", "persistence"), RedisCommand("CONFIG", "GET", "save")]
  }

  /// - Parameter replies: to `questions`.
  public init(_ replies: [RedisReply]) {
    guard replies.count == RedisKeeping.questions.count else { return }
    let (memory, persistence, save) = (replies[0].text ?? "", replies[1].text ?? "", replies[2].elements)
    memoryLimit = RedisKeeping.line("maxmemory", of: memory).flatMap { Int($0) }
    evictionPolicy = RedisKeeping.line("maxmemory_policy", of: memory)
    appendsToFile = RedisKeeping.line("aof_enabled", of: persistence).map { $0 != "0" }
    // A setting as CONFIG GET answers it: its name, then its value.
    savePoints = save.count == 2 ? save[1].text : nil
  }

  /// The policy by which it evicts at its limit; nil where there is no limit, or it does not tell.
  public var policyAtLimit: String? { memoryLimit ?? 0 > 0 ? evictionPolicy : nil }

  /// Its restart loses everything.
  public var writesNothing: Bool { appendsToFile == false && savePoints == "" }

  private static func line(_ name: String, of text: String) -> String? {
    text.split(whereSeparator: \.isNewline).first { $0.hasPrefix(name + ":") }.map {
      String($0.dropFirst(name.count + 1))
    }
  }
}
