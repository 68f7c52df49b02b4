-- Whether a run may start now, and what its start counts for: in front of take.lua only.
-- `limits` is { c = most at a time, n = most starts in p ms }, nil for a plugin without.

-- When a run of this plugin may start: nil at once; a time (ms); 0 when something must
-- happen first. What a clock noted that was ahead must not block until it is right: a start
-- or a quarantine of the future does not count.
local function blocked_until(plugin, limits, now)
  local state = state_of(plugin)
  if state.state == 'paused' then
    return 0
  end
  local since_ms, until_ms = tonumber(state.since_ms) or 0, tonumber(state.until_ms) or 0
  if state.state == 'quarantined' and now < until_ms and now >= since_ms then
    return until_ms
  elseif state.state == 'probing' and redis.call('HEXISTS', HOLDING, tostring(state.probe)) == 1 then
    return 0
  end
  if not limits then
    return nil
  end
  if limits.c and tonumber(redis.call('HGET', RUNNING, plugin) or 0) >= limits.c then
    return 0
  end
  if limits.n then
    local packed = redis.call('HGET', STARTS, plugin)
    local starts = packed and cmsgpack.unpack(packed) or {}
    local oldest = starts[#starts - limits.n + 1]
    if oldest and oldest <= now and oldest + limits.p > now then
      return oldest + limits.p
    end
  end
  return nil
end

local function count_start(plugin, limits, now)
  if not limits or not limits.n then
    return
  end
  local packed = redis.call('HGET', STARTS, plugin)
  local starts = packed and cmsgpack.unpack(packed) or {}
  local kept = {}
  for i = math.max(1, #starts - limits.n + 2), #starts do
    kept[#kept + 1] = starts[i]
  end
  kept[#kept + 1] = now
  redis.call('HSET', STARTS, plugin, cmsgpack.pack(kept))
end

-- The first run of a plugin in quarantine is the probe. Returns whether this one is.
local function is_probe(plugin, run, now)
  local state = state_of(plugin)
  if state.state ~= 'quarantined' and state.state ~= 'probing' then
    return false
  end
  state.state, state.probe, state.since_ms = 'probing', run, now
  keep_state(plugin, state)
  return true
end

-- Take a run from the parked ones; returns what it consists of, nil when somebody deleted it.
local function unpark(member, plugin, run)
  redis.call('ZREM', PARKED, member)
  if redis.call('HINCRBY', PARKED_PLUGINS, plugin, -1) <= 0 then
    redis.call('HDEL', PARKED_PLUGINS, plugin)
  end
  local packed = redis.call('HGET', WAITING, run)
  redis.call('HDEL', WAITING, run)
  return packed and cmsgpack.unpack(packed)
end

-- The order, and the place among those of the same millisecond.
local function member_of(plugin, order, id, run)
  local sequence = tonumber(string.match(id, '-(%d+)$'))
  return plugin .. '\0' .. string.format('%016.0f-%09.0f', order, sequence) .. '\0' .. run
end
