-- Shared by the scripts below; the loader puts it in front of each.

-- The owner of a pending entry, or false when it is not pending (any more).
local function owner_of(stream, group, id)
  local pending = redis.call('XPENDING', stream, group, id, id, 1)
  return #pending > 0 and pending[1][2]
end

-- An entry as the supervisor wants it: { stream, id, payload_bytes, is_whole, fields }.
-- A payload above the cap is replaced by its beginning and its end, where the run id can
-- be read: 10 MB of rubbish must not travel, or be parsed, to be refused.
local function describe(stream, entry, cap, excerpt)
  local fields, known, payload_bytes, is_whole = {}, {}, 0, 1
  known['payload'] = true
  known['published_at'] = true
  known['schema_version'] = true
  known['attempt'] = true
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    if name == 'payload' then
      payload_bytes = #value
      if #value > cap then
        is_whole = 0
        value = string.sub(value, 1, excerpt) .. string.sub(value, -excerpt)
      end
    elseif #value > 64 then
      value = string.sub(value, 1, 64)
    end
    if known[name] then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  return { stream, entry[1], payload_bytes, is_whole, fields }
end

-- Write the state of a run into its record; pairs begin at ARGV[from]. Called last, and with
-- pcall: a record is for eyes, and scripts do not roll back. An error here, before the XACK,
-- would make each repeat add one more entry.
local function note(record, ttl_s, pairs_of, from)
  if #pairs_of < from then
    return
  end
  redis.pcall('HSET', record, unpack(pairs_of, from))
  redis.pcall('EXPIRE', record, ttl_s)
end
