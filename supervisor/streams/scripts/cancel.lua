-- Cancel a run wherever it is. One that nobody has in hand gets its result at once; one that
-- runs is marked, and its supervisor told, which kills it and publishes the result.
--
-- KEYS[21] -> done marker   KEYS[22] -> record   KEYS[23] -> unique key
-- ARGV[1] -> group   ARGV[2] -> run
-- ARGV[3] -> stream, ARGV[4] -> entry id where the caller found it waiting, '' if nowhere
-- ARGV[5] -> result payload   ARGV[6] -> published_at   ARGV[7] -> schema_version
-- ARGV[8] -> life of the done marker (s)   ARGV[9] -> life of the record (s)
-- ARGV[10] -> '1': it was asked for, and shall not run even where nothing is known of it (yet):
--             whoever publishes it after this is told that it has ended
-- ARGV[11..] -> field, value pairs for the record of one that has ended by this
-- Output: { 'running', consumer } | { 'delayed' | 'parked' | 'queued', '' }: cancelled
--         { 'waiting', '' }: cancelled before it was published
--         { 'ended', state } | { 'unknown', '' }: nothing was done
local group, run, stream, id, now = ARGV[1], ARGV[2], ARGV[3], ARGV[4], now_ms()
if redis.call('EXISTS', KEYS[21]) == 1 then
  return { 'ended', redis.call('HGET', KEYS[22], 'state') or '' }
end
local held = redis.call('HGET', HOLDING, run)
local facts = held and cjson.decode(held)
local owner = facts and owner_of(facts.stream, group, facts.id)
if owner then
  redis.call('ZADD', CANCELLED, now, run)
  redis.call('XADD', MESSAGES_TO_ALL, 'MAXLEN', '~', 1000, '*', 'kind', 'cancel', 'run', run)
  return { 'running', owner }
end

local function end_it()
  redis.call('XADD', RESULTS, '*', 'payload', ARGV[5], 'published_at', ARGV[6], 'schema_version', ARGV[7])
  redis.call('SET', KEYS[21], id ~= '' and id or '0-0', 'EX', ARGV[8])
  if redis.call('GET', KEYS[23]) == run then
    redis.call('DEL', KEYS[23])
  end
  note(KEYS[22], run, ARGV[9], ARGV, 11)
end

local packed = redis.call('HGET', WAITING, run)
if packed then
  local waiting = cmsgpack.unpack(packed)
  local is_delayed = redis.call('ZREM', DELAYED, run) == 1
  if not is_delayed and waiting.parked then
    if redis.call('ZREM', PARKED, waiting.parked) == 1 and redis.call('HINCRBY', PARKED_PLUGINS, waiting.plugin, -1) <= 0 then
      redis.call('HDEL', PARKED_PLUGINS, waiting.plugin)
    end
  end
  end_it()
  redis.call('HDEL', WAITING, run)
  return { is_delayed and 'delayed' or 'parked', '' }
end

if id == '' then
  id = redis.call('HGET', KEYS[22], 'entry_id') or ''
  stream = redis.call('HGET', KEYS[22], 'stream') or ''
end

local function is_queued()
  local is_stream = false
  for _, name in ipairs(STREAMS) do
    is_stream = is_stream or name == stream
  end
  if not is_stream or not string.find(id, '^%d+%-%d+$') or #redis.call('XRANGE', stream, id, id) == 0 then
    return false
  end
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local group_facts = facts_of(info)
    if group_facts['name'] == group and not is_before(group_facts['last-delivered-id'], id) then
      return false
    end
  end
  return true
end

if not is_queued() then
  if ARGV[10] ~= '1' then
    return { 'unknown', '' }
  end
  end_it()
  return { 'waiting', '' }
end
-- The entry stays where it is (an XDEL would blind the lag, trap R14) and is passed over.
redis.call('ZADD', CANCELLED, now, run)
end_it()
return { 'queued', '' }
