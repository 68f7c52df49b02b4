-- Shared by all scripts; the loader puts it, and _entries.lua before it, in front of each.
--
-- The first 20 keys are the same for every script, so that all are declared (trap R12).
-- What a script adds begins at KEYS[21].
local STREAMS = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5] }  -- most urgent first, then resumed
local RESUMED, BELL = KEYS[5], KEYS[6]
local HOLDING, RUNNING, STARTS = KEYS[7], KEYS[8], KEYS[9]
local DELAYED, PARKED, PARKED_PLUGINS, WAITING = KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local CANCELLED, PLUGINS, QUEUED, RUNS = KEYS[14], KEYS[15], KEYS[16], KEYS[17]
local RESULTS, MESSAGES_TO_ALL, HEADS = KEYS[18], KEYS[19], KEYS[20]

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- XINFO answers with a flat list of names and values.
local function facts_of(flat)
  local facts = {}
  for i = 1, #flat, 2 do
    facts[flat[i]] = flat[i + 1]
  end
  return facts
end

local function milliseconds_of(id)
  return tonumber(string.match(id, '^(%d+)-'))
end

-- Whether entry id a comes before b. As numbers, part by part: 9-0 comes before 10-0.
local function is_before(a, b)
  local a_ms, a_seq = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_seq = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then
    return tonumber(a_ms) < tonumber(b_ms)
  end
  return tonumber(a_seq) < tonumber(b_seq)
end

-- The owner of a pending entry, or false when it is not pending (any more). What is noted of
-- a stream that is none of ours (any more) must not fail: its group is nobody's to make again.
local function owner_of(stream, group, id)
  local is_ours = false
  for _, name in ipairs(STREAMS) do
    is_ours = is_ours or name == stream
  end
  local pending = (is_ours and redis.call or redis.pcall)('XPENDING', stream, group, id, id, 1)
  return not pending.err and #pending > 0 and pending[1][2]
end

-- Wake the supervisors that wait for entries: something else may be there to be taken.
local function ring()
  redis.call('XADD', BELL, 'MAXLEN', 1, '*', 'ring', 1)
end

local NO_RUN = '\0'

-- Entries without a readable run id are held under their place, behind a character that
-- no run id has.
local function holding_field(run, stream, id)
  return run ~= '' and run or NO_RUN .. stream .. ' ' .. id
end

local function leave_room(plugin)
  if plugin ~= '' and redis.call('HINCRBY', RUNNING, plugin, -1) <= 0 then
    redis.call('HDEL', RUNNING, plugin)
  end
end

local function hold(run, plugin, stream, id, consumer, now)
  local facts = { stream = stream, id = id, consumer = consumer, plugin = plugin, at_ms = now }
  local field = holding_field(run, stream, id)
  -- Another entry of this run that is not pending any more; nobody will let go of it.
  local before = redis.call('HGET', HOLDING, field)
  if before then
    leave_room(cjson.decode(before).plugin)
  end
  redis.call('HSET', HOLDING, field, cjson.encode(facts))
  if plugin ~= '' then
    redis.call('HINCRBY', RUNNING, plugin, 1)
  end
end

-- Where an entry is held. Under its run, mostly; who ends it may have read none in what is
-- no JSON, or another one. Then all that is in hand is looked through, which is little.
local function held_as(run, stream, id)
  for _, field in ipairs({ holding_field(run, stream, id), holding_field('', stream, id) }) do
    local held = redis.call('HGET', HOLDING, field)
    local facts = held and cjson.decode(held)
    if facts and facts.stream == stream and facts.id == id then
      return field, facts
    end
  end
  local all = redis.call('HGETALL', HOLDING)
  for i = 1, #all, 2 do
    local facts = cjson.decode(all[i + 1])
    if facts.stream == stream and facts.id == id then
      return all[i], facts
    end
  end
end

-- Let go of an entry: its plugin has room again. Returns the plugin, or nil when it was
-- not held: an end that is repeated must not make room twice.
local function release(run, stream, id)
  local field, facts = held_as(run, stream, id)
  if not field then
    return nil
  end
  redis.call('HDEL', HOLDING, field)
  leave_room(facts.plugin)
  if redis.call('HEXISTS', PARKED_PLUGINS, facts.plugin) == 1 then
    ring()
  end
  return facts.plugin
end

-- Whether the run is in hand by another entry. Only what is pending counts: a run is not
-- dropped for a note about it. The same entry comes twice when its group was lost.
local function is_in_hand(run, group, stream, id)
  local held = redis.call('HGET', HOLDING, run)
  local facts = held and cjson.decode(held)
  if not facts or (facts.stream == stream and facts.id == id) then
    return false
  end
  return owner_of(facts.stream, group, facts.id)
end

-- Queued runs are scored by stream, then time, so that those of one stream lie together.
local function queued_from(stream, id)
  for i = 1, 4 do
    if STREAMS[i] == stream then
      return string.format('%.0f', i * 1e13 + milliseconds_of(id))
    end
  end
end

-- Add a run to the end of its request stream, and remember that it is ours to answer for
-- until somebody takes it. A stream that somebody gave the last possible id takes no entry
-- any more: another one does then, or all that is delayed would be stuck behind this one.
-- Returns the id and the stream, or nil and the error when none takes it.
local function enqueue(level, fields, run)
  local refusal
  for _, number in ipairs({ level + 1, 3, 2, 1, 4 }) do
    local stream = STREAMS[number]
    local id = redis.pcall('XADD', stream, '*', unpack(fields))
    if type(id) == 'string' then
      if run ~= '' then
        redis.call('ZADD', QUEUED, queued_from(stream, id), stream .. ' ' .. id .. ' ' .. run)
      end
      return id, stream
    end
    refusal = id
  end
  return nil, refusal
end

-- Forget that a run was queued.
local function dequeue(stream, id, run)
  redis.call('ZREM', QUEUED, stream .. ' ' .. id .. ' ' .. run)
end

-- What plugin state there is: {} when nothing is known against it.
local function state_of(plugin)
  local text = plugin ~= '' and redis.call('HGET', PLUGINS, plugin)
  local is_json, state = pcall(cjson.decode, text or '')
  return is_json and type(state) == 'table' and state or {}
end

local function keep_state(plugin, state)
  if state.state or (state.crashes and #state.crashes > 0) then
    redis.call('HSET', PLUGINS, plugin, cjson.encode(state))
  else
    redis.call('HDEL', PLUGINS, plugin)
  end
end

-- Learn from the end of a run: crashes pause a plugin for a while, a probe that ended
-- otherwise lets it go on. most = 0 turns the quarantine off.
local function learn(plugin, run, cause, most, window_ms, cooldown_ms, now)
  if not plugin or plugin == '' then
    return
  end
  local state = state_of(plugin)
  local is_crash = (cause == 'crash' or cause == 'oom') and most > 0
  local is_probe = state.state == 'probing' and state.probe == run
  if is_crash then
    local crashes = { now }
    for _, at in ipairs(state.crashes or {}) do
      if at > now - window_ms and #crashes < most then
        crashes[#crashes + 1] = at
      end
    end
    state.crashes = crashes
    if is_probe or (#crashes >= most and not state.state) then
      state.state, state.since_ms, state.until_ms = 'quarantined', now, now + cooldown_ms
      state.probe = nil
    end
  elseif not is_probe then
    return
  elseif cause == 'lost' or cause == 'drained' or cause == 'cancelled' or cause == 'invalid' then
    -- The probe proved nothing: the next run is one.
    state.state, state.until_ms, state.probe = 'quarantined', now, nil
    ring()
  else
    state = {}
    ring()
  end
  keep_state(plugin, state)
end

-- Write the state of a run into its record; pairs begin at ARGV[from]. Called last, and with
-- pcall: a record is for eyes, and scripts do not roll back. An error here, before the XACK,
-- would make each repeat add one more entry.
local function note(record, run, ttl_s, pairs_of, from)
  if #pairs_of < from then
    return
  end
  redis.pcall('HSET', record, unpack(pairs_of, from))
  redis.pcall('EXPIRE', record, ttl_s)
  local time = redis.call('TIME')
  redis.pcall('ZADD', RUNS, time[1], run)
end
