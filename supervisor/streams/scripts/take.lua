-- Take the next run for one consumer, the most urgent first.
--
-- The order is data: a run counts as the time it came, plus ageing for each priority it is
-- below critical; the least goes first. So priorities are strict for as long as ageing says,
-- and nothing starves. Runs that may not start now (their plugin is paused, in quarantine or
-- over its limits) are parked on the way, and come before the streams when there is room.
--
-- Safe to repeat when the answer was lost: an entry that is pending under this consumer
-- already is returned again instead of a second one (traps R1, R15), so at most one entry
-- is ever pending per consumer. It never blocks: BLOCK inside a script is an error (R18).
--
-- ARGV[1] -> group      ARGV[2] -> consumer
-- ARGV[3] -> cap of a payload in bytes      ARGV[4] -> bytes kept of each end above it
-- ARGV[5] -> ageing (ms)
-- ARGV[6] -> JSON: plugin -> { c = most at a time, n = most starts in p ms }
-- ARGV[7] -> what the names of done markers begin with, ARGV[8] -> those of records: they are
--            not among KEYS, for nobody knows the runs, and lie where all our names lie (R12)
-- ARGV[9] -> life of a record (s)
-- Output: { what, detail, wake_ms, events }
--         'taken', entry | 'adopted', entry    entry as in _world.lua
--         'trimmed', { stream, id, run }   it was pending here, and somebody cut it off: it is
--                          acknowledged with the result of its run, or now if none is known
--         'none', ids      wait for an entry after these (the request streams, the bell),
--                          at most wake_ms, -1 when no time will bring anything
--         'more'           nothing yet, and there was much to pass over: ask again
--         events           { kind, run, plugin, detail } of what was done on the way:
--                          parked, resumed, cancelled, duplicate, lost (detail: how many)
local group, consumer = ARGV[1], ARGV[2]
local cap, excerpt, ageing_ms = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local limits_of = cjson.decode(ARGV[6])
local MOST_STEPS = 100
local MOST_DUE = 100
local PUT_OFF_MS = 60000
local now = now_ms()
local events, wake_at = {}, nil

local function tell(kind, run, plugin, detail)
  events[#events + 1] = { kind, run, plugin, tostring(detail) }
end

local function wake_by(at)
  if at > 0 and (not wake_at or at < wake_at) then
    wake_at = at
  end
end

local function answer(what, detail)
  return { what, detail, wake_at and math.max(wake_at - now, 1) or -1, events }
end

local function begin(run, plugin, stream, id)
  hold(run, plugin, stream, id, consumer, now)
  count_start(plugin, limits_of[plugin], now)
  if is_probe(plugin, run, now) then
    tell('probing', run, plugin, '')
  end
end

-- Delayed runs whose time has come go to the end of their stream, by the front door.
local function promote_due()
  for _, run in ipairs(redis.call('ZRANGEBYSCORE', DELAYED, '-inf', now, 'LIMIT', 0, MOST_DUE)) do
    local packed = redis.call('HGET', WAITING, run)
    local waiting = packed and cmsgpack.unpack(packed)
    local id, stream = nil, nil
    if waiting then
      id, stream = enqueue(waiting.level, waiting.fields, run)
    end
    if id then
      local record = ARGV[8] .. run
      if redis.call('EXISTS', record) == 1 then
        redis.pcall('HSET', record, 'state', 'pending', 'stream', stream, 'entry_id', id)
      end
      redis.call('ZREM', DELAYED, run)
      redis.call('HDEL', WAITING, run)
      tell('due', run, '', '')
    else
      -- No stream takes it, or somebody deleted what it consists of: tidy.lua answers then.
      redis.call('ZADD', DELAYED, now + PUT_OFF_MS, run)
    end
  end
  local next_one = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  if #next_one > 0 then
    wake_by(tonumber(next_one[2]))
  end
end

-- What our group says of a stream, {} when it is not there.
local function our_group(stream)
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = facts_of(info)
    if facts['name'] == group then
      return facts
    end
  end
  return {}
end

-- What somebody cut off before it was delivered shows in the lag, which counts it, and in
-- the length, which does not. Redis 7.0 would keep it in the lag for ever; Redis 7.4 leaves
-- it out of the lag, and lets the count of what was read jump: see take_head. Returns that
-- count, put right.
local function notice_loss(stream, facts)
  local lag, length, read = facts['lag'], redis.call('XLEN', stream), facts['entries-read']
  if lag and lag > length then
    tell('lost', '', stream, lag - length)
    read = (read or 0) + lag - length
    redis.call('XGROUP', 'SETID', stream, group, facts['last-delivered-id'], 'ENTRIESREAD', read)
  end
  return read
end

-- The id behind the last delivered one. Kept, because to look at an entry is to copy it, and it
-- may have megabytes. One that was cut off meanwhile gives at worst a place too early.
local function head_of(stream, last)
  local before, id = string.match(redis.call('HGET', HEADS, stream) or '', '^(%S+) (%S+)$')
  if before == last then
    return id
  end
  local head = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', 1)[1]
  if head then
    redis.call('HSET', HEADS, stream, last .. ' ' .. head[1])
    return head[1]
  end
end

-- The next entry of each stream, and what was delivered last. An id of the future counts as
-- one of now: whoever wrote it must not put off all that come after.
local function heads()
  local found, delivered = {}, {}
  for i = 1, 4 do
    local stream = STREAMS[i]
    local facts = our_group(stream)
    delivered[i] = facts['last-delivered-id'] or '0-0'
    if facts['lag'] ~= 0 then
      local read = notice_loss(stream, facts)
      local id = head_of(stream, delivered[i])
      if id then
        local order = math.min(milliseconds_of(id), now) + (i - 1) * ageing_ms
        found[#found + 1] = { stream = stream, level = i - 1, order = order, rank = i + 1, read = read }
      end
    end
  end
  -- What is resumed is read in the same step: something is there only when the group was
  -- lost and made again.
  local facts = our_group(RESUMED)
  if facts['lag'] ~= 0 then
    local head = redis.call('XRANGE', RESUMED, '(' .. (facts['last-delivered-id'] or '0-0'), '+', 'COUNT', 1)[1]
    if head then
      found[#found + 1] = { stream = RESUMED, level = level_of(head[2]), order = 0, rank = 0 }
    end
  end
  return found, delivered
end

-- The next parked run of each plugin that has room.
local function add_parked(found)
  for _, plugin in ipairs(redis.call('HKEYS', PARKED_PLUGINS)) do
    local at = blocked_until(plugin, limits_of[plugin], now)
    if at then
      wake_by(at)
    else
      local first = redis.call('ZRANGEBYLEX', PARKED, '[' .. plugin .. '\0', '(' .. plugin .. '\1', 'LIMIT', 0, 1)[1]
      local order, run = string.match(first or '', '^%Z+%z(%d+)%-%d+%z(.+)$')
      if order and redis.call('HEXISTS', WAITING, run) == 1 then
        found[#found + 1] = { order = tonumber(order), rank = 1, parked = first, run = run, plugin = plugin }
      else
        -- None, or one that somebody deleted: tidy.lua puts the count right, and answers.
        redis.call('HDEL', PARKED_PLUGINS, plugin)
      end
    end
  end
end

local function park(entry, run, plugin, level, order)
  local fields = carry({ 'crewpool_level', level }, entry[2])
  local member = member_of(plugin, order, entry[1], run)
  local waiting = { level = level, fields = fields, plugin = plugin, parked = member, since_ms = now }
  redis.call('HSET', WAITING, run, cmsgpack.pack(waiting))
  redis.call('ZADD', PARKED, 0, member)
  redis.call('HINCRBY', PARKED_PLUGINS, plugin, 1)
  -- Here, and not by the supervisor: by then another one may have started it.
  local at = string.format('%.3f', now / 1000)
  note(ARGV[8] .. run, run, ARGV[9], { 'state', 'parked', 'plugin', plugin, 'parked_at', at }, 1)
  tell('parked', run, plugin, level)
end

local function read_one(stream)
  local got = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
  return got and got[1] and got[1][2][1]
end

-- Take the head of a stream, or put it where it belongs. Returns the entry when it is ours.
local function take_head(head)
  local stream, level, order = head.stream, head.level, head.order
  local entry = read_one(stream)
  redis.call('HDEL', HEADS, stream)
  if not entry then
    return nil
  end
  local read = head.read and our_group(stream)['entries-read']
  if read and read - head.read > 1 then
    tell('lost', '', stream, read - head.read - 1)
  end
  local run, plugin = run_of(entry[2], cap)
  dequeue(stream, entry[1], run)
  local dropped = nil
  if run ~= '' then
    if redis.call('ZSCORE', CANCELLED, run) then
      dropped = 'cancelled'
    elseif redis.call('HEXISTS', WAITING, run) == 1 or is_in_hand(run, group, stream, entry[1]) then
      dropped = 'duplicate'
    elseif redis.call('EXISTS', ARGV[7] .. run) == 1 then
      dropped = 'duplicate'
    end
    local at = not dropped and blocked_until(plugin, limits_of[plugin], now)
    if at then
      wake_by(at)
      park(entry, run, plugin, level, order)
      dropped = 'parked'
    end
  end
  if dropped then
    redis.call('XACK', stream, group, entry[1])
    if dropped ~= 'parked' then
      tell(dropped, run, plugin, entry[1])
    end
    return nil
  end
  begin(run, plugin, stream, entry[1])
  return describe(stream, entry, cap, excerpt)
end

-- What was resumed, and is here once more, goes first of all: before anything else can be
-- resumed. Of one moment what is parked goes first: it came before its like.
local function is_earlier(a, b)
  if a.rank > 0 and b.rank > 0 and a.order ~= b.order then
    return a.order < b.order
  end
  return a.rank < b.rank
end

-- A parked run goes on: through a stream of its own, since a group delivers in order only.
local function resume(head)
  local waiting = unpark(head.parked, head.plugin, head.run)
  if not waiting then
    return nil
  end
  redis.call('XADD', RESUMED, '*', unpack(waiting.fields))
  local entry = read_one(RESUMED)
  begin(head.run, head.plugin, RESUMED, entry[1])
  tell('resumed', head.run, head.plugin, now - waiting.since_ms)
  return describe(RESUMED, entry, cap, excerpt)
end

for _, stream in ipairs(STREAMS) do
  local pending = redis.call('XPENDING', stream, group, '-', '+', 1, consumer)
  if #pending > 0 then
    local id = pending[1][1]
    local entries = redis.call('XRANGE', stream, id, id)
    if #entries == 0 then
      local run = held_as('', stream, id)
      if run and string.sub(run, 1, 1) ~= NO_RUN then
        return answer('trimmed', { stream, id, run })
      end
      release('', stream, id)
      redis.call('XACK', stream, group, id)
      return answer('trimmed', { stream, id, '' })
    end
    -- A look with XREADGROUP 0 would count as a delivery (R3); the lease starts anew.
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
    local run, plugin = run_of(entries[1][2], cap)
    if redis.call('HEXISTS', HOLDING, holding_field(run, stream, id)) == 0 then
      hold(run, plugin, stream, id, consumer, now)
    end
    return answer('adopted', describe(stream, entries[1], cap, excerpt))
  end
end

promote_due()
for _ = 1, MOST_STEPS do
  local found, delivered = heads()
  add_parked(found)
  if #found == 0 then
    local bell = redis.call('XREVRANGE', BELL, '+', '-', 'COUNT', 1)
    delivered[5] = #bell > 0 and bell[1][1] or '0-0'
    return answer('none', delivered)
  end
  table.sort(found, is_earlier)
  local entry
  if found[1].parked then
    entry = resume(found[1])
  else
    entry = take_head(found[1])
  end
  if entry then
    return answer('taken', entry)
  end
end
return answer('more', {})
