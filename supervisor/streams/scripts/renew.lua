-- Renew the leases of all slots of one supervisor in one call.
--
-- A bare XCLAIM is a steal, also from a former owner (trap R4), so the owner is checked
-- first, in here. JUSTID leaves the delivery count alone; never FORCE, which would bring
-- back what was acknowledged.
--
-- ARGV[1] -> group
-- ARGV[2..] -> triples: stream, entry id, consumer
-- Output: a word for each triple: 'renewed'; 'lost' (owned by somebody else, or by nobody);
--         'trimmed' (still ours, but cut off the stream: nobody else can ever get it)
local answers = {}
for i = 2, #ARGV, 3 do
  local stream, id, consumer = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local answer = 'lost'
  if owner_of(stream, ARGV[1], id) == consumer then
    if #redis.call('XRANGE', stream, id, id) == 0 then
      -- XCLAIM would drop it from the pending list; the finish still needs it there.
      answer = 'trimmed'
    else
      redis.call('XCLAIM', stream, ARGV[1], consumer, 0, id, 'JUSTID')
      answer = 'renewed'
    end
  end
  answers[#answers + 1] = answer
end
return answers
