-- What an entry says: shared by all scripts, pure, in front of _world.lua.
local function value_of(fields, name)
  for i = 1, #fields, 2 do
    if fields[i] == name then
      return fields[i + 1]
    end
  end
end

-- An entry as the supervisor wants it: { stream, id, payload_bytes, is_whole, fields }.
-- A payload above the cap is replaced by its beginning and its end, where the run id can
-- be read: 10 MB of rubbish must not travel, or be parsed, to be refused.
local KNOWN = {
  payload = true, published_at = true, schema_version = true, attempt = true,
  crewpool_level = true, crewpool_unique = true,
}
local function describe(stream, entry, cap, excerpt)
  local fields, payload_bytes, is_whole = {}, 0, 1
  local seen = {}
  for i = 1, #entry[2], 2 do
    local name, value = entry[2][i], entry[2][i + 1]
    -- Redis permits a name twice. The first one counts, here and in value_of.
    local is_first = KNOWN[name] and not seen[name]
    seen[name] = true
    if is_first and name == 'payload' then
      payload_bytes = #value
      if #value > cap then
        is_whole = 0
        value = string.sub(value, 1, excerpt) .. string.sub(value, -excerpt)
      end
    elseif #value > 64 then
      value = string.sub(value, 1, 64)
    end
    if is_first then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  return { stream, entry[1], payload_bytes, is_whole, fields }
end

-- The fields of an entry for a new one, behind those that are set anew. Ours first: Lua
-- cannot pass on more than some thousand words, and an entry may hide its payload behind as
-- many foreign fields.
local function carry(fields, old)
  local is_set = { crewpool_level = true }
  for i = 1, #fields, 2 do
    is_set[fields[i]] = true
  end
  for _, is_ours in ipairs({ true, false }) do
    for i = 1, #old, 2 do
      if not is_set[old[i]] and (KNOWN[old[i]] or false) == is_ours and #fields < 4000 then
        fields[#fields + 1] = old[i]
        fields[#fields + 1] = old[i + 1]
      end
    end
  end
  return fields
end

-- Whether a text is a run id as wire.py has it: 1 to 128 printable characters of UTF-8.
-- An id that only one of the two accepted would be held here and never be let go.
local function is_run_id(text)
  if type(text) ~= 'string' or text == '' or #text > 512 or string.find(text, '[%c\127]') then
    return false
  end
  if string.find(text, '\194[\128-\159]') then
    return false
  end
  local characters = text
  for _, form in ipairs({
    '[\194-\223][\128-\191]',
    '\224[\160-\191][\128-\191]',
    '\237[\128-\159][\128-\191]',
    '[\225-\236\238\239][\128-\191][\128-\191]',
    '\240[\144-\191][\128-\191][\128-\191]',
    '[\241-\243][\128-\191][\128-\191][\128-\191]',
    '\244[\128-\143][\128-\191][\128-\191]',
  }) do
    characters = string.gsub(characters, form, 'x')
  end
  return #characters <= 128 and not string.find(characters, '[\128-\255]')
end

-- Run id and plugin of an entry, '' where they cannot be read. The supervisor checks them
-- once more, and strictly; here they only decide what waits and what is counted. What has
-- no run id never runs, so it counts for no plugin.
local function run_of(fields, cap)
  local payload = value_of(fields, 'payload')
  if not payload or #payload > cap then
    return '', ''
  end
  -- What cjson refuses wire.py refuses: it must not be read in another way here, or one
  -- entry would count as the run of another.
  local is_json, body = pcall(cjson.decode, payload)
  if not is_json or type(body) ~= 'table' then
    return '', ''
  end
  local run, plugin = body['plugin_run_id'], body['plugin_name']
  if not is_run_id(run) then
    return '', ''
  end
  if type(plugin) ~= 'string' or #plugin > 64 or not string.find(plugin, '^[a-z0-9][a-z0-9_-]*$') then
    plugin = ''
  end
  return run, plugin
end

-- The level of an entry that was parked; nobody but us should have written it.
local function level_of(fields)
  local level = string.match(value_of(fields, 'crewpool_level') or '', '^[0-3]$')
  return tonumber(level or 2)
end
