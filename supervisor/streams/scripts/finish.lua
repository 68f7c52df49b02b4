-- Publish the result of a run and acknowledge its entry, in one step, exactly once.
--
-- Safe to repeat: the second call finds the entry gone. The result is added before the
-- acknowledgement, because scripts do not roll back (trap R11).
--
-- KEYS[1] -> request stream   KEYS[2] -> results   KEYS[3] -> done marker   KEYS[4] -> record
-- ARGV[1] -> group   ARGV[2] -> consumer   ARGV[3] -> entry id
-- ARGV[4] -> '1': only the owner may (the fence); '0': the entry was trimmed under a
--            running crew, so nobody can own it, and the done marker alone guards
-- ARGV[5] -> payload   ARGV[6] -> published_at   ARGV[7] -> schema_version
-- ARGV[8] -> life of the done marker (s)   ARGV[9] -> life of the record (s)
-- ARGV[10..] -> field, value pairs for the record
-- Output: 'finished'    the result is out
--         'duplicate'   the run had a result already; acknowledged without a second one
--         'lost'        the entry belongs to somebody else now; nothing was done
local group, consumer, id = ARGV[1], ARGV[2], ARGV[3]
if ARGV[4] == '1' and owner_of(KEYS[1], group, id) ~= consumer then
  -- The marker holds the entry whose result was published: it was ours, and the answer to
  -- our first call got lost.
  return redis.call('GET', KEYS[3]) == id and 'finished' or 'lost'
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  redis.call('XACK', KEYS[1], group, id)
  return 'duplicate'
end
redis.call('XADD', KEYS[2], '*', 'payload', ARGV[5], 'published_at', ARGV[6], 'schema_version', ARGV[7])
redis.call('SET', KEYS[3], id, 'EX', ARGV[8])
redis.call('XACK', KEYS[1], group, id)
note(KEYS[4], ARGV[9], ARGV, 10)
return 'finished'
