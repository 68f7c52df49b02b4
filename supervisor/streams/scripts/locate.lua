-- Say where a run is, and what stands in its way. Reads only, all in one step.
--
-- How many are before a queued one is counted, not known: at most so many entries and bytes
-- of each stream are looked at, since nothing else waits while a script runs.
--
-- KEYS[21] -> done marker   KEYS[22] -> record
-- ARGV[1] -> group   ARGV[2] -> run   ARGV[3] -> ageing (ms)   ARGV[4] -> cap of a payload
-- ARGV[5] -> most entries, ARGV[6] -> most bytes that are looked at of each stream
-- Output: JSON; what does not apply is left out
--         now, has_result, record, cancelled_at
--         held      { stream, id, plugin, at_ms, owner, idle_ms }   owner: '' when not pending
--         waiting   { level, plugin, since_ms, due, before }        before: of its plugin
--         queued    { stream, id, level, before, is_more }
--         is_cut    it was not found, and not everything was looked at
--         plugin    { state, running, starts, holders }
local group, run, ageing_ms, cap = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local MOST_ENTRIES, MOST_BYTES, PAGE, MOST_HOLDERS = tonumber(ARGV[5]), tonumber(ARGV[6]), 50, 20
local now = now_ms()
local record = facts_of(redis.call('HGETALL', KEYS[22]))
local cancelled_at = redis.call('ZSCORE', CANCELLED, run)
local told = {
  now = now,
  has_result = redis.call('EXISTS', KEYS[21]) == 1,
  record = record,
  cancelled_at = cancelled_at and tonumber(cancelled_at) or nil,
}
local plugin = record['plugin'] or ''

-- Where the record says that the run is, if that is one of our streams.
local function recorded_place()
  local stream, id = record['stream'] or '', record['entry_id'] or ''
  for _, ours in ipairs(STREAMS) do
    if ours == stream and string.find(id, '^%d+%-%d+$') then
      return { stream = stream, id = id, plugin = plugin, at_ms = milliseconds_of(id) }
    end
  end
end

local function note_held()
  local held = redis.call('HGET', HOLDING, run)
  -- Another program of our group may have taken it, and tells nobody.
  local facts = held and cjson.decode(held) or recorded_place()
  if not facts then
    return
  end
  -- With pcall: the stream or its group may be gone.
  local pending = redis.pcall('XPENDING', facts.stream, group, facts.id, facts.id, 1)
  local row = not pending.err and pending[1]
  if held or row then
    facts.owner, facts.idle_ms = row and row[2] or '', row and row[3] or 0
    told.held, plugin = facts, facts.plugin
  end
end

local function note_waiting()
  local packed = redis.call('HGET', WAITING, run)
  if not packed then
    return
  end
  local waiting = cmsgpack.unpack(packed)
  local due = redis.call('ZSCORE', DELAYED, run)
  plugin = waiting.plugin
  told.waiting = {
    level = waiting.level, plugin = plugin, since_ms = waiting.since_ms, due = due and tonumber(due) or nil,
  }
  if not due and waiting.parked then
    told.waiting.before = redis.call('ZLEXCOUNT', PARKED, '[' .. plugin .. '\0', '(' .. waiting.parked)
  end
end

local function delivered(stream)
  for _, info in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = facts_of(info)
    if facts['name'] == group then
      return facts['last-delivered-id']
    end
  end
  return '0-0'
end

-- The times of the entries that wait in one stream, and the place of ours among them.
local function look_at(level, stream)
  local seen = { level = level, stream = stream, times = {}, is_cut = false }
  if redis.call('EXISTS', stream) == 0 then
    return seen
  end
  local last, bytes = delivered(stream), 0
  while true do
    local page = redis.call('XRANGE', stream, '(' .. last, '+', 'COUNT', PAGE)
    for _, entry in ipairs(page) do
      seen.times[#seen.times + 1] = milliseconds_of(entry[1])
      bytes = bytes + #(value_of(entry[2], 'payload') or '')
      local of, name = run_of(entry[2], cap)
      if of == run and not seen.at then
        seen.at, seen.id, seen.plugin = #seen.times, entry[1], name
      end
    end
    if #page < PAGE then
      return seen
    elseif #seen.times >= MOST_ENTRIES or bytes >= MOST_BYTES then
      seen.is_cut = true
      return seen
    end
    last = page[#page][1]
  end
end

-- Where the record says it is, if nobody has read it yet.
local function by_record(all)
  local place = recorded_place()
  for _, seen in ipairs(all) do
    if place and seen.stream == place.stream and seen.is_cut then
      local id = place.id
      if is_before(delivered(seen.stream), id) and #redis.call('XRANGE', seen.stream, id, id) > 0 then
        seen.id, seen.at, seen.plugin = id, #seen.times + 1, plugin
        return seen
      end
    end
  end
end

local function note_queued()
  local all, ours, is_cut = {}, nil, false
  for i = 1, 4 do
    all[i] = look_at(i - 1, STREAMS[i])
    is_cut = is_cut or all[i].is_cut
    ours = ours or (all[i].at and all[i])
  end
  ours = ours or by_record(all)
  if not ours then
    told.is_cut = is_cut
    return
  end
  local order, before, is_more = milliseconds_of(ours.id) + ours.level * ageing_ms, 0, false
  for _, seen in ipairs(all) do
    for place, at in ipairs(seen.times) do
      local theirs = at + seen.level * ageing_ms
      if theirs < order or (seen == ours and place < ours.at and theirs == order) then
        before = before + 1
      end
    end
    local last = seen.times[#seen.times]
    is_more = is_more or (seen.is_cut and last + seen.level * ageing_ms < order)
  end
  plugin = ours.plugin
  told.queued = { stream = ours.stream, id = ours.id, level = ours.level, before = before, is_more = is_more }
end

local function note_plugin()
  local packed = redis.call('HGET', STARTS, plugin)
  local holders, all = {}, redis.call('HGETALL', HOLDING)
  for i = 1, #all, 2 do
    local facts = cjson.decode(all[i + 1])
    if facts.plugin == plugin and #holders < MOST_HOLDERS then
      holders[#holders + 1] = { run = all[i], consumer = facts.consumer }
    end
  end
  told.plugin = {
    name = plugin, state = state_of(plugin), running = tonumber(redis.call('HGET', RUNNING, plugin) or 0),
    starts = packed and cmsgpack.unpack(packed) or nil, holders = #holders > 0 and holders or nil,
  }
end

note_held()
note_waiting()
if not told.has_result and not told.held and not told.waiting then
  note_queued()
end
if plugin ~= '' then
  note_plugin()
end
return cjson.encode(told)
