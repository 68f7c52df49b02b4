-- Delete consumers that have nothing pending. With something pending it would be lost for
-- ever (trap R8), so the check and the deletion are one step. A consumer that is still in
-- use comes back by itself with its next read.
--
-- ARGV[1] -> group
-- ARGV[2] -> 'named': those that follow, whatever their idle time
--            'dead': those of hosts that are not among the following, if idle for ARGV[3]
-- ARGV[3] -> least idle time (ms); consumers of other programs must be idle ARGV[4] (ms)
-- ARGV[5..] -> names of consumers, or of living hosts
-- Output: how many were deleted
local group, idle_ms, foreign_idle_ms, deleted = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4]), 0
local named = {}
for i = 5, #ARGV do
  named[ARGV[i]] = true
end

local function is_meant(name, idle)
  if ARGV[2] == 'named' then
    return named[name]
  end
  -- <host>-<boot>.s<slot>, or .sweep
  local host = string.match(name, '^(.+%-%x%x%x%x+)%.s[%d%a]+$')
  if not host then
    return idle >= foreign_idle_ms
  end
  return not named[host] and idle >= idle_ms
end

for _, stream in ipairs(STREAMS) do
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local facts = facts_of(info)
    if facts['pending'] == 0 and is_meant(facts['name'], facts['idle']) then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, facts['name'])
      deleted = deleted + 1
    end
  end
end
return deleted
