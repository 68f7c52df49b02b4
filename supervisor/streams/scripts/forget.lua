-- Delete consumers that have nothing pending. With something pending it would be lost for
-- ever (trap R8), so the check and the deletion are one step. A consumer that is still in
-- use comes back by itself with its next read.
--
-- KEYS[1..n] -> the request streams
-- ARGV[1] -> group   ARGV[2] -> least idle time (ms), 0 for those named only
-- ARGV[3..] -> names; none means all consumers that are idle that long
-- Output: how many were deleted
local group, idle_ms, deleted = ARGV[1], tonumber(ARGV[2]), 0
local named = {}
for i = 3, #ARGV do
  named[ARGV[i]] = true
end
for _, stream in ipairs(KEYS) do
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
    local facts = {}
    for j = 1, #info, 2 do
      facts[info[j]] = info[j + 1]
    end
    local is_meant = #ARGV < 3 or named[facts['name']]
    if is_meant and facts['pending'] == 0 and facts['idle'] >= idle_ms then
      redis.call('XGROUP', 'DELCONSUMER', stream, group, facts['name'])
      deleted = deleted + 1
    end
  end
end
return deleted
