-- End a run that cannot be run: a dead letter, a `failed` result, the acknowledgement, in
-- one step.
--
-- The dead letter keeps the entry's fields beside the payload, which the caller gives
-- without credentials. Large foreign fields are left out.
--
-- KEYS[1] -> request stream   KEYS[2] -> dead letters   KEYS[3] -> results
-- KEYS[4] -> done marker      KEYS[5] -> record
-- ARGV[1] -> group   ARGV[2] -> consumer   ARGV[3] -> entry id
-- ARGV[4] -> payload for the dead letter
-- ARGV[5] -> result payload, '' when no run id can be read
-- ARGV[6] -> published_at   ARGV[7] -> schema_version
-- ARGV[8] -> life of the done marker (s)   ARGV[9] -> life of the record (s)
-- ARGV[10] -> how many of the following belong to the dead letter
-- ARGV[11..] -> field, value pairs for the dead letter, then for the record
-- Output: 'buried'      dead letter written, and the result when there was none yet
--         'duplicate'   dead letter written; the run had a result already
--         'lost'        the entry belongs to somebody else now; nothing was done
local group, consumer, id = ARGV[1], ARGV[2], ARGV[3]
if owner_of(KEYS[1], group, id) ~= consumer then
  return ARGV[5] ~= '' and redis.call('GET', KEYS[4]) == id and 'buried' or 'lost'
end
local count = tonumber(ARGV[10])
local fields, seen = { 'payload', ARGV[4] }, { payload = true }
for i = 11, 10 + count, 2 do
  fields[#fields + 1] = ARGV[i]
  fields[#fields + 1] = ARGV[i + 1]
  seen[ARGV[i]] = true
end
local entries = redis.call('XRANGE', KEYS[1], id, id)
if #entries > 0 then
  for i = 1, #entries[1][2], 2 do
    local name, value = entries[1][2][i], entries[1][2][i + 1]
    local is_credential = string.sub(name, 1, 1) == '_'
    if not seen[name] and not is_credential and #name <= 256 and #value <= 4096 and #fields < 200 then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
end
local answer = 'buried'
if ARGV[5] ~= '' then
  if redis.call('EXISTS', KEYS[4]) == 1 then
    answer = 'duplicate'
  else
    redis.call('XADD', KEYS[3], '*', 'payload', ARGV[5], 'published_at', ARGV[6], 'schema_version', ARGV[7])
    redis.call('SET', KEYS[4], id, 'EX', ARGV[8])
  end
end
redis.call('XADD', KEYS[2], '*', unpack(fields))
redis.call('XACK', KEYS[1], group, id)
if ARGV[5] ~= '' and answer == 'buried' then
  note(KEYS[5], ARGV[9], ARGV, 11 + count)
end
return answer
