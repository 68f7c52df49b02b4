-- Claim entries whose lease lapsed, on all streams, a page a call.
--
-- No lock: the idle time is the guard (trap R6), and XAUTOCLAIM resets it, so two sweepers
-- never get the same entry. An empty page is not the end (R5): go on until all cursors
-- are 0-0. What is claimed stays held for its plugin's limits until it is ended.
--
-- ARGV[1] -> group   ARGV[2] -> consumer of the sweep   ARGV[3] -> lease (ms)
-- ARGV[4] -> most entries a stream   ARGV[5] -> cap of a payload   ARGV[6] -> excerpt bytes
-- ARGV[7] -> not after this server time (ms): a command that lay in the buffer of a server
--            which was frozen must not run before its owners had a chance to renew
-- ARGV[8..12] -> cursor of each stream, '' when that stream is done
-- Output: { cursors, entries, trimmed }
--         cursors   next cursor of each stream, '' when done
--         entries   { entry as in _world.lua, former owner }
--         trimmed   { stream, id, run, plugin, owner } of what was pending and cut off by
--                   somebody; run is '' where it is not known
local group, sweeper, lease_ms = ARGV[1], ARGV[2], ARGV[3]
local count, cap, excerpt = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local cursors, entries, trimmed = {}, {}, {}
local is_late = now_ms() > tonumber(ARGV[7])

-- Who held what is gone. Reads all that is in hand, which is little, and for a loss only.
local function tell_trimmed(stream, id)
  local fields = redis.call('HGETALL', HOLDING)
  for i = 1, #fields, 2 do
    local facts = cjson.decode(fields[i + 1])
    if facts.stream == stream and facts.id == id then
      local run = string.sub(fields[i], 1, 1) == NO_RUN and '' or fields[i]
      trimmed[#trimmed + 1] = { stream, id, run, facts.plugin, facts.consumer }
      return
    end
  end
  trimmed[#trimmed + 1] = { stream, id, '', '', '' }
end

for i, stream in ipairs(STREAMS) do
  local cursor = ARGV[7 + i]
  cursors[i] = ''
  if cursor ~= '' and not is_late then
    local owners = {}
    for _, row in ipairs(redis.call('XPENDING', stream, group, 'IDLE', lease_ms, cursor, '+', 1000)) do
      owners[row[1]] = row[2]
    end
    local page = redis.call('XAUTOCLAIM', stream, group, sweeper, lease_ms, cursor, 'COUNT', count, 'JUSTID')
    if page[1] ~= '0-0' then
      cursors[i] = page[1]
    end
    for _, id in ipairs(page[2]) do
      local found = redis.call('XRANGE', stream, id, id)
      if #found > 0 then
        entries[#entries + 1] = { describe(stream, found[1], cap, excerpt), owners[id] or '' }
      end
    end
    for _, id in ipairs(page[3] or {}) do
      tell_trimmed(stream, id)
    end
  end
end
return { cursors, entries, trimmed }
