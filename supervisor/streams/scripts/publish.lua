-- Publish a run, now or later, once. Safe to repeat: a run that is known is not added again.
--
-- KEYS[21] -> done marker   KEYS[22] -> record   KEYS[23] -> unique key
-- KEYS[24] -> dead letters
-- ARGV[1] -> group   ARGV[2] -> run   ARGV[3] -> level of its priority
-- ARGV[4] -> delay (ms), or '@' and a unix time (ms)   ARGV[5] -> most waiting runs
-- ARGV[6] -> life of the unique key (s), '' without   ARGV[7] -> life of the record (s)
-- ARGV[8] -> '1': also when the run has its result, which makes a second one
-- ARGV[9] -> plugin   ARGV[10] -> the dead letter that is replayed by this, '' for none
-- ARGV[11] -> how many of the following belong to the entry
-- ARGV[12..] -> field, value pairs for the entry, then for the record
-- Output: { 'published', entry id } | { 'delayed', due (ms) }
--         { 'known', state }         it was published before, and has no result yet
--         { 'ended', state }         it has its result
--         { 'unique', run }          another one of the same plugin, user and settings is on
--         { 'full', waiting runs }   nothing was added
--         { 'gone', '' }             the dead letter is not there: replayed, or purged
local group, run, level, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[5])
local stream, is_forced, letter, now = STREAMS[level + 1], ARGV[8] == '1', ARGV[10], now_ms()
local state = redis.call('HGET', KEYS[22], 'state') or ''
local is_on = redis.call('HEXISTS', HOLDING, run) == 1 or redis.call('HEXISTS', WAITING, run) == 1

-- Whether it waits in its stream. The record alone proves nothing: somebody may have removed
-- the entry, and then the run must be published again, or it is lost.
local function is_queued()
  local name, id = redis.call('HGET', KEYS[22], 'stream'), redis.call('HGET', KEYS[22], 'entry_id')
  return name and id and redis.call('ZSCORE', QUEUED, name .. ' ' .. id .. ' ' .. run)
end

if is_on then
  return { 'known', state }
end
if redis.call('EXISTS', KEYS[21]) == 1 then
  if not is_forced then
    return { 'ended', state }
  end
elseif is_queued() then
  return { 'known', state }
end
if letter ~= '' and #redis.call('XRANGE', KEYS[24], letter, letter) == 0 then
  return { 'gone', '' }
end
if ARGV[6] ~= '' then
  local other = redis.call('GET', KEYS[23])
  -- The key may have outlived its run, which can end by a copy that knows nothing of it.
  local done_prefix = string.sub(KEYS[21], 1, #KEYS[21] - #run)
  if other and other ~= run and redis.call('EXISTS', done_prefix .. other) == 0 then
    return { 'unique', other }
  end
end

local function waiting_runs()
  local count = redis.call('ZCARD', DELAYED) + redis.call('ZCARD', PARKED)
  if redis.call('EXISTS', stream) == 1 then
    for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local facts = facts_of(info)
      if facts['name'] == group then
        -- nil after an XDEL or an AOF restart of 7.0 (trap R14).
        return count + (facts['lag'] or redis.call('XLEN', stream))
      end
    end
    return count + redis.call('XLEN', stream)
  end
  return count
end

local waiting = waiting_runs()
if waiting >= most then
  return { 'full', waiting }
end
local due = string.sub(ARGV[4], 1, 1) == '@' and tonumber(string.sub(ARGV[4], 2)) or now + tonumber(ARGV[4])
local count, fields = tonumber(ARGV[11]), {}
for i = 12, 11 + count do
  fields[#fields + 1] = ARGV[i]
end
if letter ~= '' then
  -- The run starts over: with its first attempt, and a record without the old ones. The
  -- letter goes in the same step, so that a repeat of this call adds nothing.
  redis.call('XDEL', KEYS[24], letter)
  redis.call('DEL', KEYS[21], KEYS[22])
end
-- A mark of an earlier life: this one was not cancelled.
redis.call('ZREM', CANCELLED, run)
local what, detail
local record = { 'state', 'pending', 'stream', stream }
if due > now then
  redis.call('HSET', WAITING, run, cmsgpack.pack({ level = level, fields = fields, plugin = ARGV[9], since_ms = now }))
  redis.call('ZADD', DELAYED, due, run)
  ring()
  what, detail = 'delayed', string.format('%.0f', due)
  record = { 'state', 'delayed', 'stream', stream, 'due_at', string.format('%.3f', due / 1000) }
else
  what = 'published'
  detail, stream = enqueue(level, fields, run)
  if not detail then
    return stream
  end
  record[4] = stream
  record[#record + 1] = 'entry_id'
  record[#record + 1] = detail
end
local ttl_s = tonumber(ARGV[7]) + math.max(0, math.ceil((due - now) / 1000))
if ARGV[6] ~= '' then
  redis.call('SET', KEYS[23], run, 'EX', ARGV[6])
end
for i = 12 + count, #ARGV do
  record[#record + 1] = ARGV[i]
end
note(KEYS[22], run, ttl_s, record, 1)
return { what, detail }
