-- PUBLISH. A writer has committed: its mark goes, and its messages are added where they fit.
--
-- KEYS[1]  the session's entry
-- ARGV     token, nonce, lifetime of a mark (ms), ttl (ms), most messages, most bytes,
--          epoch, first, last, messages oldest first (none: a rewrite, or too much to send)
-- answer   1 the entry reaches what was committed, 0 it does not
local token, nonce, lifetime, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local most, most_bytes = tonumber(ARGV[5]), tonumber(ARGV[6])
local epoch, first, last = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local entry = load()
if not entry then return 0 end
local deadline = take(entry, token)
local alive = deadline and deadline > now
if entry.epoch > epoch or (entry.epoch == epoch and entry.head >= last) then
  save(entry) -- a reader was quicker
  return 1
end
local follows = entry.session >= 0 and entry.epoch == epoch and entry.head == first - 1
if alive and #ARGV > 9 and follows then
  local messages = {}
  for i = 10, #ARGV do messages[#messages + 1] = ARGV[i] end
  entry.head = last
  -- No later than the mark was set: what others committed since is not known from here.
  if deadline - lifetime > entry.checked then entry.checked = deadline - lifetime end
  push(entry, messages, most, most_bytes)
  redis.call('PEXPIRE', key, ttl)
  return 1
end
forget(entry)
if not alive then entry.generation = nonce end -- the mark did not protect it to the end
save(entry)
return 0
