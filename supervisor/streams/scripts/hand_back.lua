-- Give a run back to its stream, to be taken again by anybody, and acknowledge the old
-- entry, in one step. All fields travel, whatever their names; `attempt` is set.
--
-- KEYS[1] -> request stream   KEYS[2] -> done marker   KEYS[3] -> record
-- ARGV[1] -> group   ARGV[2] -> consumer   ARGV[3] -> entry id   ARGV[4] -> attempt to set
-- ARGV[5] -> life of the record (s)   ARGV[6..] -> field, value pairs for the record
-- Output: 'handed_back'   it is at the end of its stream
--         'duplicate'     the run has a result already; acknowledged, not run again
--         'trimmed'       pending, but cut off the stream by somebody; left to finish.lua,
--                         which acknowledges it with the result
--         'lost'          the entry belongs to somebody else now; nothing was done
local group, consumer, id = ARGV[1], ARGV[2], ARGV[3]
if owner_of(KEYS[1], group, id) ~= consumer then
  return 'lost'
end
local entries = redis.call('XRANGE', KEYS[1], id, id)
if #entries == 0 then
  return 'trimmed'
end
if redis.call('EXISTS', KEYS[2]) == 1 then
  redis.call('XACK', KEYS[1], group, id)
  return 'duplicate'
end
-- Ours first: Lua cannot pass on more than some thousand words, and an entry may hide its
-- payload behind as many foreign fields.
local fields, old = { 'attempt', ARGV[4] }, entries[1][2]
local ours = { payload = true, published_at = true, schema_version = true }
for _, is_first in ipairs({ true, false }) do
  for i = 1, #old, 2 do
    local is_ours = ours[old[i]] or false
    if old[i] ~= 'attempt' and is_ours == is_first and #fields < 4000 then
      fields[#fields + 1] = old[i]
      fields[#fields + 1] = old[i + 1]
    end
  end
end
redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('XACK', KEYS[1], group, id)
note(KEYS[3], ARGV[5], ARGV, 6)
return 'handed_back'
