-- Trim what was delivered and acknowledged, find what was lost, and let go of what is over.
-- Bounded work a call: what is left waits for the next one.
--
-- Nothing is trimmed that some group has still to read or to acknowledge (P7): a stream is
-- cut below its oldest pending entry and the last delivered one, over all of its groups,
-- and never below the retention. A stream without a group is left alone.
--
-- KEYS[21] -> dead letters
-- ARGV[1] -> group   ARGV[2] -> retention (ms)   ARGV[3] -> life of dead letters (ms)
-- ARGV[4] -> life of marks and of records (ms)
-- Output: { trimmed entries, lost }
--         lost   { stream, id, run, plugin, consumer } of runs that were queued or in hand
--                and whose entries are gone: somebody else cut them off or removed them
local group, now = ARGV[1], now_ms()
local MOST = 200
local trimmed, lost = 0, {}
local delivered = {}

local function least(a, b)
  return (a == nil or is_before(b, a)) and b or a
end

local function trim(stream)
  if redis.call('EXISTS', stream) == 0 then
    return
  end
  local safe = nil
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = facts_of(info)
    safe = least(safe, facts['last-delivered-id'])
    if facts['name'] == group then
      delivered[stream] = facts['last-delivered-id']
    end
    if facts['pending'] > 0 then
      safe = least(safe, redis.call('XPENDING', stream, facts['name'])[2])
    end
  end
  -- Without our group nothing was delivered to us, whatever others have read.
  local has_ours = delivered[stream] or stream == RESULTS
  if not safe or not has_ours or redis.call('XLEN', stream) == 0 then
    return
  end
  local kept = string.format('%.0f-0', math.max(now - tonumber(ARGV[2]), 0))
  local edge = least(safe, kept)
  -- Whole nodes first, and not too many of them; then the rest of one, exactly.
  local cut = redis.call('XTRIM', stream, 'MINID', '~', edge, 'LIMIT', 10000)
  if cut < 10000 then
    cut = cut + redis.call('XTRIM', stream, 'MINID', edge)
  end
  trimmed = trimmed + cut
end

-- What we published and nobody can read any more. Cut off is always the oldest, so the first
-- one that still waits ends the search.
local function find_lost(stream)
  local last = delivered[stream]
  local from, to = queued_from(stream, '0-0'), queued_from(stream, '9999999999999-0')
  if not last or not from then
    return
  end
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', QUEUED, from, to, 'LIMIT', 0, MOST)) do
    local name, id, run = string.match(member, '^(%S+) (%d+%-%d+) (.+)$')
    local is_there = #redis.call('XRANGE', name, id, id) > 0
    if is_there and is_before(last, id) then
      return
    end
    if is_there or owner_of(name, group, id) then
      redis.call('ZREM', QUEUED, member)  -- another program of our group read it
    elseif redis.call('HEXISTS', WAITING, run) == 1 or is_in_hand(run, group, name, id) then
      redis.call('ZREM', QUEUED, member)  -- it was there twice, and is not lost
    else
      lost[#lost + 1] = { name, id, run, '', '' }
    end
  end
end

-- Whoever held these went without an end: acknowledged by a stranger, or trimmed and swept.
-- Any of those in hand, since a page has no next one here.
local function find_let_go()
  local some = redis.call('HRANDFIELD', HOLDING, 1000, 'WITHVALUES')
  for i = 1, #some, 2 do
    local facts = cjson.decode(some[i + 1])
    if #lost < MOST and not owner_of(facts.stream, group, facts.id) then
      if string.sub(some[i], 1, 1) == NO_RUN then
        release('', facts.stream, facts.id)
      else
        lost[#lost + 1] = { facts.stream, facts.id, some[i], facts.plugin, facts.consumer }
      end
    end
  end
end

-- The counts follow from what is held and parked. Whoever deleted one of our keys must not
-- have blocked a plugin for ever.
local function recount(key, counted)
  local noted = facts_of(redis.call('HGETALL', key))
  for plugin, count in pairs(noted) do
    if not counted[plugin] then
      redis.call('HDEL', key, plugin)
    end
  end
  for plugin, count in pairs(counted) do
    if tonumber(noted[plugin]) ~= count then
      redis.call('HSET', key, plugin, count)
      ring()
    end
  end
end

local function add_one(counted, plugin)
  if plugin and plugin ~= '' then
    counted[plugin] = (counted[plugin] or 0) + 1
  end
end

local function recount_held()
  local counted = {}
  for _, text in ipairs(redis.call('HVALS', HOLDING)) do
    add_one(counted, cjson.decode(text).plugin)
  end
  recount(RUNNING, counted)
end

-- What waits stands in two places: what it is, and what it waits for. One without the other
-- would wait for ever: the first goes back to its stream, the second is lost.
local function mend_waiting()
  local parked = redis.call('ZRANGE', PARKED, 0, -1)
  local counted, known = {}, {}
  for _, member in ipairs(parked) do
    local plugin, run = string.match(member, '^(%Z+)%z[%d%-]+%z(.+)$')
    if run and redis.call('HEXISTS', WAITING, run) == 1 then
      add_one(counted, plugin)
    end
    if run then
      known[run] = { PARKED, member }
    else
      redis.call('ZREM', PARKED, member)  -- nothing of ours
    end
  end
  for _, run in ipairs(redis.call('ZRANGE', DELAYED, 0, -1)) do
    known[run] = { DELAYED, run }
  end
  for _, run in ipairs(redis.call('HKEYS', WAITING)) do
    if not known[run] then
      local waiting = cmsgpack.unpack(redis.call('HGET', WAITING, run))
      if enqueue(waiting.level, waiting.fields, run) then
        redis.call('HDEL', WAITING, run)
      end
    end
    known[run] = nil
  end
  for run, place in pairs(known) do
    redis.call('ZREM', place[1], place[2])
    lost[#lost + 1] = { STREAMS[3], '0-0', run, '', '' }
  end
  recount(PARKED_PLUGINS, counted)
end

local function is_whole()
  local parked = redis.call('ZCARD', PARKED)
  local counted = 0
  for _, count in ipairs(redis.call('HVALS', PARKED_PLUGINS)) do
    counted = counted + tonumber(count)
  end
  return parked == counted and redis.call('HLEN', WAITING) == parked + redis.call('ZCARD', DELAYED)
end

for _, stream in ipairs(STREAMS) do
  trim(stream)
  find_lost(stream)
end
trim(RESULTS)
find_let_go()
recount_held()
if not is_whole() then
  mend_waiting()
end
redis.call('XTRIM', KEYS[21], 'MINID', string.format('%.0f-0', math.max(now - tonumber(ARGV[3]), 0)))
redis.call('ZREMRANGEBYSCORE', CANCELLED, '-inf', now - tonumber(ARGV[4]))
redis.call('ZREMRANGEBYSCORE', RUNS, '-inf', (now - tonumber(ARGV[4])) / 1000)
return { trimmed, lost }
