-- Take the next entry for one consumer, the most urgent stream first.
--
-- Safe to repeat when the answer was lost: an entry that is pending under this consumer
-- already is returned again instead of a second one (traps R1, R15), so at most one entry
-- is ever pending per consumer. Streams are tried one by one, because COUNT is per stream
-- (R9). It never blocks: BLOCK inside a script is an error on Redis (R18).
--
-- KEYS[1..n] -> the request streams, most urgent first
-- ARGV[1] -> group      ARGV[2] -> consumer
-- ARGV[3] -> cap of a payload in bytes      ARGV[4] -> bytes kept of each end above it
-- Output: { 'taken' | 'adopted', entry }      entry as in _entry.lua
--         { 'trimmed', stream, id }           it was pending here, and somebody cut it off
--         { 'none', last delivered id of each stream }   wait for an entry after these
local group, consumer = ARGV[1], ARGV[2]
local cap, excerpt = tonumber(ARGV[3]), tonumber(ARGV[4])

for _, stream in ipairs(KEYS) do
  local pending = redis.call('XPENDING', stream, group, '-', '+', 1, consumer)
  if #pending > 0 then
    local id = pending[1][1]
    local entries = redis.call('XRANGE', stream, id, id)
    if #entries == 0 then
      redis.call('XACK', stream, group, id)
      return { 'trimmed', stream, id }
    end
    -- A look with XREADGROUP 0 would count as a delivery (R3); the lease starts anew.
    redis.call('XCLAIM', stream, group, consumer, 0, id, 'JUSTID')
    return { 'adopted', describe(stream, entries[1], cap, excerpt) }
  end
end

for _, stream in ipairs(KEYS) do
  local got = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
  if got and #got > 0 and #got[1][2] > 0 then
    return { 'taken', describe(stream, got[1][2][1], cap, excerpt) }
  end
end

local ids = {}
for i, stream in ipairs(KEYS) do
  ids[i] = '0-0'
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for j = 1, #info, 2 do
      facts[info[j]] = info[j + 1]
    end
    if facts['name'] == group then
      ids[i] = facts['last-delivered-id']
    end
  end
end
return { 'none', ids }
