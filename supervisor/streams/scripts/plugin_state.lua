-- Pause a plugin by hand, or let it go on, also out of a quarantine.
--
-- ARGV[1] -> plugin   ARGV[2] -> 'pause' or 'resume'   ARGV[3] -> by whom   ARGV[4] -> why
-- Output: the state it was in before: '', 'paused', 'quarantined' or 'probing'
local plugin = ARGV[1]
local state = state_of(plugin)
local before = state.state or ''
if ARGV[2] == 'pause' then
  keep_state(plugin, {
    state = 'paused', since_ms = now_ms(), by = ARGV[3], reason = ARGV[4], crashes = state.crashes,
  })
else
  keep_state(plugin, {})
  ring()
end
return before
