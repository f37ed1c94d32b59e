import Testing

@testable import RedisClient

@Suite struct RedisErrorTests {
  @Test(arguments: [
    ("NOAUTH Authentication required.", RedisError.Kind.authentication),
    ("WRONGPASS invalid username-password pair or user is disabled.", .authentication),
    ("ERR invalid password", .authentication),
    ("NOPERM this user has no permissions to run the 'evalsha' command", .forbidden),
    ("OOM command not allowed when used memory > 'maxmemory'.", .outOfMemory),
    ("READONLY You can't write against a read only replica.", .readOnly),
    ("LOADING Redis is loading the dataset in memory", .loading),
    ("MASTERDOWN Link with MASTER is down", .loading),
    ("CLUSTERDOWN Hash slot not served", .loading),
    ("MISCONF Redis is configured to save RDB snapshots", .misconfigured),
    ("NOREPLICAS Not enough good replicas to write.", .tooFewReplicas),
    ("BUSY Redis is busy running a script.", .busy),
    ("ERR max number of clients reached", .tooManyClients),
    ("MOVED 3999 127.0.0.1:6381", .cluster),
    ("CROSSSLOT Keys in request don't hash to the same slot", .cluster),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", .wrongType),
    ("NOSCRIPT No matching script. Please use EVAL.", .unknownScript),
    ("ERR unknown command `X`", .refused),
    // Inside a script, of Redis 6 and of Redis 7.
    (
      "ERR Error running script (call to f_a1): @user_script:9: @user_script: 9: -OOM command not allowed when used memory > "
        + "'maxmemory'.", .outOfMemory
    ),
    ("ERR Error running script (call to f_a1): @user_script:9: -READONLY You can't write", .readOnly),
    (
      "ERR The user executing the script can't run this command or subcommand script: a1, on @user_script:3.",
      .forbidden
    ),
    ("OOM command not allowed when used memory > 'maxmemory'. script: a1, on @user_script:9.", .outOfMemory),
  ])
  func theServersWordsHaveAKindAndASentence(_ text: String, _ kind: RedisError.Kind) {
    let error = RedisError(reply: text, at: "redis://h:1/0")
    #expect(error.kind == kind)
    #expect(error.message.contains("redis://h:1/0") || kind == .wrongType)
    #expect(error.message.hasSuffix("."))
    #expect(error.isKnownNotDone)
  }

  @Test func triesAreFurtherAndFurtherApartUntilOneSucceeds() {
    var pace = ReconnectPace()
    var now = ContinuousClock.now
    #expect(pace.refusal(at: now) == nil)
    let error = RedisError(.unreachable, "away")
    for milliseconds in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
      pace.failed(error, at: now)
      #expect(pace.refusal(at: now + .milliseconds(milliseconds - 1)) == error)
      now += .milliseconds(milliseconds)
      #expect(pace.refusal(at: now) == nil)
    }
    pace.succeeded()
    pace.failed(error, at: now)
    #expect(pace.refusal(at: now + .milliseconds(50)) == nil)
  }
}
