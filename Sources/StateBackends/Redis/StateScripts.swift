import RedisClient

/// What runs inside Redis: each call is one script, and so all or nothing.
///
/// A scope is a hash (`KEYS[1]`) and a sorted set (`KEYS[2]`). The hash holds the scope's own fields, six of them from its first write
/// on, and the entries, whose fields begin with `=`. The sorted set holds the entries' fields again, all with score 0: Redis keeps them in
/// the order of their bytes, which is what a scan needs.
///
/// A script that writes looks at everything first: once it has begun to write, Redis lets it end.
enum StateScripts {
  /// Of the layout; another release may have another one.
  static let format = "1"

  /// The lists that scripts answer with begin with one of these words.
  enum Outcome: String {
    case ok
    /// The two keys do not hold the same entries: one was evicted, or somebody changed it.
    case damaged
    /// Another format.
    case format
    /// A newer session has the scope.
    case fenced
    /// The scope is as it was at an earlier time, or gone.
    case older
    /// The checkpoint's number is not the next.
    case number
    /// An expectation does not hold.
    case expectation
    /// A later request of the same process was done before this one.
    case overtaken
  }

  /// Lua's unpack takes about 8,000 values; this many are handed over at a time.
  private static let common = """
    local state, order = KEYS[1], KEYS[2]
    local own = 6
    local chunk = 1000

    local function read()
      return unpack(redis.call('HMGET', state, 'format', 'epoch', 'session', 'checkpoint', 'writer', 'revision'))
    end

    local function refusal(format)
      local fields = redis.call('HLEN', state)
      if (format and fields - own or fields) ~= redis.call('ZCARD', order) then return {'damaged'} end
      if format and format ~= '\(format)' then return {'format', format} end
    end

    -- Lua's own conversion would cut numbers of this size.
    local function text(number) return string.format('%.0f', number) end

    -- Larger than all before, and than all that an older copy of the data can hold.
    local function mint(last)
      local time = redis.call('TIME')
      return text(math.max(tonumber(last or '0') + 1, time[1] * 1000000 + time[2]))
    end


    """

  /// Reads a scope's own fields, and changes nothing. Answers epoch, checkpoint, revision.
  static let look = RedisScript(
    common + """
      local format, epoch, session, checkpoint, writer, revision = read()
      local refused = refusal(format)
      if refused then return refused end
      return {'ok', epoch or '0', checkpoint or '0', revision or '0'}
      """)

  /// Opens a session of a partition, and so ends every earlier one. Answers like `look`.
  ///
  /// ARGV: the process's nonce, its number of this session.
  static let open = RedisScript(
    common + """
      local format, epoch, session, checkpoint, writer, revision = read()
      local refused = refusal(format)
      if refused then return refused end
      -- Sent on a connection that was given up, and done only now: it must not end the session that followed it.
      local nonce, number = string.match(session or '', '^(%w+)%.(%d+)$')
      if nonce == ARGV[1] and tonumber(number) >= tonumber(ARGV[2]) then return {'overtaken'} end
      -- What apply does later. Where the user may not, it is told now and not between two writes.
      redis.call('ZADD', order, 'XX', 0, '')
      redis.call('ZREM', order, '')
      redis.call('HDEL', state, '')
      epoch, checkpoint, revision = mint(epoch), checkpoint or '0', revision or '0'
      redis.call('HSET', state, 'format', '\(format)', 'epoch', epoch, 'session', ARGV[1] .. '.' .. ARGV[2],
        'checkpoint', checkpoint, 'writer', writer or '', 'revision', revision)
      return {'ok', epoch, checkpoint, revision}
      """)

  /// Writes a batch. Answers the scope's new revision.
  ///
  /// ARGV: whether the scope is a partition's ('1'), the session, its epoch, the lowest and the highest revision that it may be based on, the
  /// checkpoint's number and the one before it ('' for none), the number of expectations, of deletes and of puts; then for each
  /// expectation a field, whether it is to be there ('1') and its value, for each delete a field, for each put a field and a value.
  static let apply = RedisScript(
    common + """
      local format, epoch, session, checkpoint, writer, revision = read()
      local refused = refusal(format)
      if refused then return refused end
      epoch, checkpoint, revision = epoch or '0', checkpoint or '0', tonumber(revision or '0')
      local fenced, number = ARGV[1] == '1', ARGV[6]
      if fenced and session ~= ARGV[2] then
        return {tonumber(epoch) < tonumber(ARGV[3]) and 'older' or 'fenced'}
      end
      -- The same checkpoint again: the answer was lost.
      if number ~= '' and number == checkpoint and writer == ARGV[2] then return {'ok', text(revision)} end
      if fenced and (revision < tonumber(ARGV[4]) or revision > tonumber(ARGV[5])) then return {'older'} end
      if number ~= '' and checkpoint ~= ARGV[7] then return {'number', checkpoint} end
      local first = 11
      for index = 1, tonumber(ARGV[8]) do
        local value = redis.call('HGET', state, ARGV[first])
        if value ~= (ARGV[first + 1] == '1' and ARGV[first + 2]) then return {'expectation', ARGV[first]} end
        first = first + 3
      end

      local last = first + tonumber(ARGV[9]) - 1
      for index = first, last, chunk do
        local till = math.min(index + chunk - 1, last)
        if redis.call('HDEL', state, unpack(ARGV, index, till)) > 0 then
          redis.call('ZREM', order, unpack(ARGV, index, till))
        end
      end
      first = last + 1
      last = first + 2 * tonumber(ARGV[10]) - 1
      for index = first, last, 2 * chunk do
        local till = math.min(index + 2 * chunk - 1, last)
        if redis.call('HSET', state, unpack(ARGV, index, till)) > 0 then
          local members = {}
          for member = index, till, 2 do
            members[#members + 1] = 0
            members[#members + 1] = ARGV[member]
          end
          redis.call('ZADD', order, unpack(members))
        end
      end
      revision = text(revision + 1)
      if not format then
        redis.call('HSET', state, 'format', '\(format)', 'epoch', epoch, 'session', '', 'checkpoint', checkpoint, 'writer', '')
      end
      redis.call('HSET', state, 'revision', revision)
      if number ~= '' then redis.call('HSET', state, 'checkpoint', number, 'writer', ARGV[2]) end
      return {'ok', revision}
      """)

  /// A page of entries in the order of their fields. Answers whether there are more ('1'), then fields and values in turn.
  ///
  /// ARGV: where it begins and ends (as ZRANGEBYLEX takes it), how many entries it may have, and how many bytes they may have before
  /// the last.
  static let scan = RedisScript(
    common + """
      local refused = refusal((read()))
      if refused then return refused end
      local limit, bytes, page = tonumber(ARGV[3]), tonumber(ARGV[4]), {'ok', '0'}
      local fields = redis.call('ZRANGEBYLEX', order, ARGV[1], ARGV[2], 'LIMIT', 0, limit + 1)
      for index, field in ipairs(fields) do
        if index > limit or bytes < 0 then
          page[2] = '1'
          break
        end
        local value = redis.call('HGET', state, field)
        if not value then return {'damaged'} end
        bytes = bytes - #field - #value
        page[#page + 1] = field
        page[#page + 1] = value
      end
      return page
      """)

  /// Removes everything of a scope, damaged or not. Its epoch goes on: a session that is still open is fenced.
  static let remove = RedisScript(
    common + """
      if redis.call('EXISTS', state, order) == 0 then return {'ok'} end
      local epoch = mint(redis.call('HGET', state, 'epoch'))
      redis.call('DEL', state, order)
      redis.call('HSET', state, 'format', '\(format)', 'epoch', epoch, 'session', '', 'checkpoint', '0', 'writer', '',
        'revision', '0')
      return {'ok'}
      """)
}
