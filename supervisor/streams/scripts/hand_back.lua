-- Give a run back, to be taken again by anybody, and acknowledge the old entry, in one step:
-- to the end of its stream, or, when it must wait, to the delayed runs. All fields travel,
-- whatever their names; `attempt` is set.
--
-- KEYS[21] -> done marker   KEYS[22] -> record
-- ARGV[1] -> group   ARGV[2] -> consumer   ARGV[3] -> stream   ARGV[4] -> entry id
-- ARGV[5] -> run   ARGV[6] -> cause of its end
-- ARGV[7] -> crashes, ARGV[8] -> window (ms), ARGV[9] -> cool-down (ms) of the quarantine
-- ARGV[10] -> attempt to set   ARGV[11] -> delay (ms)   ARGV[12] -> level of its priority
-- ARGV[13] -> life of the record (s)   ARGV[14..] -> field, value pairs for the record
-- Output: 'handed_back'   it will be started again
--         'duplicate'     the run has a result already; acknowledged, not run again
--         'cancelled'     it must not be started again; left to finish.lua
--         'trimmed'       pending, but cut off the stream by somebody; left to finish.lua
--         'lost'          the entry belongs to somebody else now; nothing was done
local group, consumer, stream, id, run = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
if owner_of(stream, group, id) ~= consumer then
  return 'lost'
end
local entries = redis.call('XRANGE', stream, id, id)
if #entries == 0 then
  return 'trimmed'
end
if redis.call('ZSCORE', CANCELLED, run) then
  return 'cancelled'
end
local delay_ms, now = tonumber(ARGV[11]), now_ms()
local what = 'handed_back'
if redis.call('EXISTS', KEYS[21]) == 1 or redis.call('HEXISTS', WAITING, run) == 1 then
  what = 'duplicate'
else
  local fields, level = carry({ 'attempt', ARGV[10] }, entries[1][2]), tonumber(ARGV[12])
  if delay_ms > 0 then
    local _, plugin = run_of(entries[1][2], 4194304)
    local waiting = { level = level, fields = fields, plugin = plugin, since_ms = now }
    redis.call('HSET', WAITING, run, cmsgpack.pack(waiting))
    redis.call('ZADD', DELAYED, now + delay_ms, run)
    ring()
  else
    local new_id, new_stream = enqueue(level, fields, run)
    if not new_id then
      return new_stream  -- the error; nothing was done
    end
    redis.pcall('HSET', KEYS[22], 'entry_id', new_id, 'stream', new_stream)
  end
end
redis.call('XACK', stream, group, id)
local plugin = release(run, stream, id)
learn(plugin, run, ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), now)
if what == 'handed_back' then
  note(KEYS[22], run, ARGV[13], ARGV, 14)
end
return what
