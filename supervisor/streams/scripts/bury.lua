-- End a run that failed: a dead letter, a `failed` result, the acknowledgement, in one step.
--
-- The dead letter keeps the entry's fields beside the payload, which the caller gives
-- without credentials. Large foreign fields are left out. The letters are bounded by number
-- here and by age in tidy.lua: they have no reader that could be behind.
--
-- KEYS[21] -> done marker   KEYS[22] -> record   KEYS[23] -> unique key
-- KEYS[24] -> dead letters
-- ARGV[1..15] as in finish.lua; ARGV[11] is '' when no run id can be read
-- ARGV[16] -> most dead letters
-- ARGV[17] -> how many of the following belong to the dead letter, the payload among them
-- ARGV[18..] -> field, value pairs for the dead letter, then for the record
-- Output: 'buried'      dead letter written, and the result when there was none yet
--         'duplicate'   dead letter written; the run had a result already
--         'lost'        the entry belongs to somebody else now; nothing was done
local group, consumer, stream, id, run = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6]
local has_result = ARGV[11] ~= ''
if owner_of(stream, group, id) ~= consumer then
  return has_result and redis.call('GET', KEYS[21]) == id and 'buried' or 'lost'
end
local count = tonumber(ARGV[17])
local fields, seen = {}, { payload = true }
for i = 18, 17 + count, 2 do
  fields[#fields + 1] = ARGV[i]
  fields[#fields + 1] = ARGV[i + 1]
  seen[ARGV[i]] = true
end
local entries = redis.call('XRANGE', stream, id, id)
if #entries > 0 then
  for i = 1, #entries[1][2], 2 do
    local name, value = entries[1][2][i], entries[1][2][i + 1]
    local is_ours = string.sub(name, 1, 1) == '_' or string.sub(name, 1, 9) == 'crewpool_'
    if not seen[name] and not is_ours and #name <= 256 and #value <= 4096 and #fields < 200 then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
end
local what = 'buried'
if has_result then
  if redis.call('EXISTS', KEYS[21]) == 1 then
    what = 'duplicate'
  else
    redis.call('XADD', RESULTS, '*', 'payload', ARGV[11], 'published_at', ARGV[12], 'schema_version', ARGV[13])
    redis.call('SET', KEYS[21], id, 'EX', ARGV[14])
  end
end
redis.call('XADD', KEYS[24], 'MAXLEN', ARGV[16], '*', unpack(fields))
redis.call('XACK', stream, group, id)
dequeue(stream, id, run)
local plugin = release(run, stream, id)
learn(plugin, run, ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), now_ms())
if has_result and what == 'buried' then
  if redis.call('GET', KEYS[23]) == run then
    redis.call('DEL', KEYS[23])
  end
  note(KEYS[22], run, ARGV[15], ARGV, 18 + count)
end
return what
