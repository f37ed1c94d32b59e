import Dispatcher
import RedisClient

/// What runs inside Redis for each request: the rules of `RememberedDelivery` over one key.
///
/// Both requests are one script: where Redis has forgotten it, all calls of a pipeline are refused and repeated in their order. A call
/// has one key, so a cluster needs no hash tag to keep keys together, and spreads them all the same.
///
/// The value of a key:
/// - done: the number of replays in decimal digits. Redis shares small numbers among all keys: such a value takes no memory.
/// - otherwise 23 bytes: a letter (C claimed, U claimed with an earlier attempt whose outcome is unknown, P waiting, R stored, X dead), the
///   token's 8 bytes, attempts (4 bytes), replays (4), and the end of the lease or the due time in milliseconds since 1970 (6).
///
/// Leases and delays go by the clock of Redis, in one run as everywhere. A script that asks for the time and then writes is replicated by
/// what it wrote: always from Redis 7 on, and before that unless `lua-replicate-commands` was set to `no`.
enum DeliveryScript {
  /// Answers a number: an `Outcome` in the lower three bits, and above them what belongs to it; -1 for a value that is not ours.
  ///
  /// ARGV of a claim: `c`, token, lease, lease and retention, attempts, replays.
  /// ARGV of a settlement: its letter, token, delay, delay and retention, attempts. Times are milliseconds.
  /// ARGV of a look: `?`. Asks for everything that the others need, and changes nothing.
  static let script = RedisScript(
    """
    local key, what, token = KEYS[1], ARGV[1], ARGV[2]
    local value = redis.call('GET', key)

    local function now()
      local time = redis.call('TIME')
      return time[1] * 1000 + math.floor(time[2] / 1000)
    end

    if what == '?' then
      now()
      redis.call('SET', key, '', 'XX', 'PX', 1)
      return 0
    end

    local state, owner, attempts, replays, due = nil, nil, 0, 0, 0
    if value then
      state = string.sub(value, 1, 1)
      if string.find(value, '^%d+$') then
        state, replays = 'D', tonumber(value)
      elseif #value == 23 and string.find('CUPRX', state, 1, true) then
        state, owner, attempts, replays, due = struct.unpack('>c1c8I4I4I6', value)
      else
        return -1
      end
    end

    if what == 'c' then
      local carried, replay = tonumber(ARGV[5]), tonumber(ARGV[6])
      local time = now()
      local isClaimed = state == 'C' or state == 'U'
      local letter, made = 'C', carried
      if isClaimed and owner ~= token and due > time then return 3 + 8 * (due - time) end
      if state and replay <= replays then
        replay = replays
        if state == 'D' then return 5 end
        if state == 'X' then return 6 end
        if isClaimed and owner == token then
          letter, made = state, attempts - 1
        elseif state == 'R' then
          if carried < attempts then return 7 end
        else
          if state == 'P' and due > time then return 4 + 8 * (due - time) end
          if isClaimed then letter = 'U' end
          made = math.max(attempts, carried)
        end
      end
      redis.call('SET', key, struct.pack('>c1c8I4I4I6', letter, token, made + 1, replay, time + tonumber(ARGV[3])),
        'PX', ARGV[4])
      return 2 + 8 * (2 * made + (letter == 'U' and 1 or 0))
    end

    if what == 'D' then
      value = string.format('%d', replays)
    else
      if owner ~= token then return 1 end
      due = what == 'P' and now() + tonumber(ARGV[3]) or 0
      value = struct.pack('>c1c8I4I4I6', what, token, tonumber(ARGV[5]), replays, due)
    end
    local done = redis.pcall('SET', key, value, 'PX', ARGV[4])
    if type(done) == 'table' and done.err then
      -- A full Redis refuses what could need memory, but only as the first write of a script. This needs no more than there is: the
      -- end of what was claimed can be noted.
      if not (state and string.find(done.err, 'OOM', 1, true)) then return done end
      redis.call('PEXPIRE', key, ARGV[4])
      redis.call('SET', key, value, 'PX', ARGV[4])
    end
    return 0
    """)

  private enum Outcome: Int64 {
    case settled = 0
    case refused, granted, busy, wait, done, dead, stale
  }

  // MARK: Requests

  static func look(_ key: [UInt8], to pipeline: inout RedisPipeline) {
    pipeline.begin(script, keys: 1, arguments: 1)
    pipeline.append(key)
    pipeline.append("?")
  }

  /// - Parameter prefix: what all keys begin with; the id follows.
  static func append(_ request: DeduplicationRequest, prefix: [UInt8], to pipeline: inout RedisPipeline) {
    switch request {
    case .claim(let claim):
      let lease = Int(claim.lease.storedMilliseconds)
      pipeline.begin(script, keys: 1, arguments: 6)
      pipeline.append(prefix, words: (claim.id.high, claim.id.low))
      pipeline.append("c")
      pipeline.append(word: claim.token)
      pipeline.append(lease)
      // Redis takes no time to live of 0.
      pipeline.append(max(lease + Int(claim.retention.storedMilliseconds), 1))
      pipeline.append(claim.attempts.clampedCount)
      pipeline.append(claim.replays.clampedCount)
    case .settle(let settlement):
      let (letter, delay) = spelling(of: settlement.state)
      pipeline.begin(script, keys: 1, arguments: 5)
      pipeline.append(prefix, words: (settlement.id.high, settlement.id.low))
      pipeline.append(letter)
      pipeline.append(word: settlement.token)
      pipeline.append(delay)
      pipeline.append(max(delay + Int(settlement.retention.storedMilliseconds), 1))
      pipeline.append(settlement.attempts.clampedCount)
    }
  }

  private static func spelling(of state: DeduplicationRequest.Settlement.State) -> (letter: String, delay: Int) {
    switch state {
    case .waiting(let delay): ("P", Int(delay.storedMilliseconds))
    case .stored: ("R", 0)
    case .done: ("D", 0)
    case .dead: ("X", 0)
    }
  }

  // MARK: Values

  /// What a key's value says; nil for a value that is not ours.
  static func state(of value: [UInt8]) -> DeduplicationState? {
    if !value.isEmpty, value.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
      return Int(String(decoding: value, as: UTF8.self)).map { DeduplicationState(.done, replays: $0) }
    }
    guard value.count == 23 else { return nil }
    let replays = value[13..<17].reduce(0) { $0 << 8 | Int($1) }
    switch value[0] {
    case UInt8(ascii: "C"), UInt8(ascii: "U"): return DeduplicationState(.claimed, replays: replays)
    case UInt8(ascii: "P"): return DeduplicationState(.waiting, replays: replays)
    case UInt8(ascii: "R"): return DeduplicationState(.stored, replays: replays)
    case UInt8(ascii: "X"): return DeduplicationState(.dead, replays: replays)
    default: return nil
    }
  }

  // MARK: Answers

  /// nil for a number that the script does not answer.
  static func answer(_ number: Int64) -> DeduplicationAnswer? {
    guard number >= 0, let outcome = Outcome(rawValue: number & 7) else { return nil }
    let rest = number >> 3
    switch outcome {
    case .settled: return .settled
    case .refused: return .refused
    case .granted: return .granted(attempts: Int(rest >> 1), isOutcomeUnknown: rest & 1 == 1)
    case .busy: return .busy(.milliseconds(rest))
    case .wait: return .wait(.milliseconds(rest))
    case .done: return .done
    case .dead: return .dead
    case .stale: return .stale
    }
  }
}
