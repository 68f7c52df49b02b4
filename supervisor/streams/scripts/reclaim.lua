-- Claim entries whose lease lapsed, on all request streams, a page a call.
--
-- No lock: the idle time is the guard (trap R6), and XAUTOCLAIM resets it, so two sweepers
-- never get the same entry. An empty page is not the end (R5): go on until all cursors
-- are 0-0.
--
-- KEYS[1..n] -> the request streams
-- ARGV[1] -> group   ARGV[2] -> consumer of the sweep   ARGV[3] -> lease (ms)
-- ARGV[4] -> most entries a stream   ARGV[5] -> cap of a payload   ARGV[6] -> excerpt bytes
-- ARGV[7] -> not after this server time (ms): a command that lay in the buffer of a server
--            which was frozen must not run before its owners had a chance to renew
-- ARGV[8..] -> cursor of each stream, '' when that stream is done
-- Output: { cursors, entries, trimmed }
--         cursors   next cursor of each stream, '' when done
--         entries   { entry as in _entry.lua, former owner }
--         trimmed   { stream, id } of what was pending and cut off by somebody
local group, sweeper, lease_ms = ARGV[1], ARGV[2], ARGV[3]
local count, cap, excerpt = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local cursors, entries, trimmed = {}, {}, {}
local now = redis.call('TIME')
local is_late = now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[7])
for i, stream in ipairs(KEYS) do
  local cursor = ARGV[7 + i]
  cursors[i] = ''
  if cursor ~= '' and not is_late then
    local owners = {}
    for _, row in ipairs(redis.call('XPENDING', stream, group, 'IDLE', lease_ms, '-', '+', 1000)) do
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
      trimmed[#trimmed + 1] = { stream, id }
    end
  end
end
return { cursors, entries, trimmed }
