-- PUBLISH. A writer has committed: its mark goes, and its messages are added where they fit.
--
-- KEYS[1]  the session's entry
-- ARGV     token, a new nonce, ttl (ms), most messages, most bytes,
--          epoch, first, head, lineage ('-': not known),
--          lease (the nonce that MARK gave), generation, fence ('-': what is brought is not all of the session), session,
--          messages oldest first (none: a rewrite, or too much to send)
-- answer   1 the entry holds what was committed, 0 it does not
local token, nonce, ttl = ARGV[1], ARGV[2], ARGV[3]
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local epoch, first, head, lineage = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9]
local lease, generation, fence, session = ARGV[10], ARGV[11], ARGV[12], tonumber(ARGV[13])
local entry = load()
if not entry then return 0 end
local since, marked = take(entry, token)
if marked ~= lease then since = nil end -- not its own: one that arrived twice, and late
if entry.epoch == epoch and entry.head == head and entry.lineage == lineage then
  save(entry) -- a reader was quicker
  return 1
end
if fence ~= '-' and since and entry.nonce == lease then
  -- The session's first write, and nobody has marked since: this is all of it.
  forget(entry)
  entry.gen, entry.fence, entry.session = generation, fence, session
  entry.epoch, entry.head, entry.lineage, entry.checked = epoch, head, lineage, since
  entry.complete, entry.marks, entry.nonce = '1', '', nonce
  push(entry, ARGV, 14, most, most_bytes)
  redis.call('PEXPIRE', key, ttl)
  return 1
end
if since and #ARGV > 13 and entry.epoch == epoch and entry.head == first - 1 then
  entry.head, entry.lineage = head, lineage
  -- No later than the mark was set: what others committed since is not known from here.
  if since > entry.checked then entry.checked = since end
  push(entry, ARGV, 14, most, most_bytes)
  redis.call('PEXPIRE', key, ttl)
  return 1
end
forget(entry)
if not since then entry.nonce = nonce end -- its mark did not protect it to the end
save(entry)
return 0
