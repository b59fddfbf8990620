-- LIFT. A writer has rolled back, and that is known: its mark goes.
--
-- KEYS[1]  the entry
-- ARGV     token
-- answer   1
local entry = load()
if entry and take(entry, ARGV[1]) then save(entry) end
return 1
