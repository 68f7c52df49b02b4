-- Publish the result of a run and acknowledge its entry, in one step, exactly once.
--
-- Safe to repeat: the second call finds the entry gone. The result is added before the
-- acknowledgement, because scripts do not roll back (trap R11).
--
-- KEYS[21] -> done marker   KEYS[22] -> record   KEYS[23] -> unique key
-- ARGV[1] -> group   ARGV[2] -> consumer   ARGV[3] -> stream   ARGV[4] -> entry id
-- ARGV[5] -> '1': only the owner may (the fence); '0': the entry was trimmed, so nobody
--            can own it, and the done marker alone guards
-- ARGV[6] -> run   ARGV[7] -> cause of its end
-- ARGV[8] -> crashes, ARGV[9] -> window (ms), ARGV[10] -> cool-down (ms) of the quarantine
-- ARGV[11] -> payload   ARGV[12] -> published_at   ARGV[13] -> schema_version
-- ARGV[14] -> life of the done marker (s)   ARGV[15] -> life of the record (s)
-- ARGV[16..] -> field, value pairs for the record
-- Output: 'finished'    the result is out
--         'duplicate'   the run had a result already; acknowledged without a second one
--         'lost'        the entry belongs to somebody else now; nothing was done
local group, consumer, stream, id, run = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[6]
if ARGV[5] == '1' and owner_of(stream, group, id) ~= consumer then
  -- The marker holds the entry whose result was published: it was ours, and the answer to
  -- our first call got lost.
  return redis.call('GET', KEYS[21]) == id and 'finished' or 'lost'
end
local is_known = redis.call('EXISTS', KEYS[21]) == 1
if not is_known then
  redis.call('XADD', RESULTS, '*', 'payload', ARGV[11], 'published_at', ARGV[12], 'schema_version', ARGV[13])
  redis.call('SET', KEYS[21], id, 'EX', ARGV[14])
end
redis.call('XACK', stream, group, id)
dequeue(stream, id, run)
local plugin = release(run, stream, id)
learn(plugin, run, ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), now_ms())
if is_known then
  return 'duplicate'
end
if redis.call('GET', KEYS[23]) == run then
  redis.call('DEL', KEYS[23])
end
note(KEYS[22], run, ARGV[15], ARGV, 16)
return 'finished'
