-- PUBLISH. A writer has committed: its mark goes, and what it wrote is added where it fits.
--
-- KEYS[1]  the entry
-- ARGV     one text, as of LOOK: token, a new nonce, ttl (ms), most messages, most bytes, how long it lives (ms, 0: for good),
--          epoch, first, head, lineage ('-': not known),
--          lease (the nonce that MARK gave), generation, fence ('-': what is brought is not all there is), session;
--          messages oldest first (none: a rewrite, what was taken away, or too much to send)
-- answer   1 the entry holds what was committed, 0 it does not
local token, nonce, ttl, most, most_bytes, lives, epoch, first, head, lineage, lease, generation, fence, session =
  string.match(ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
most, most_bytes, lives = tonumber(most), tonumber(most_bytes), tonumber(lives)
epoch, first, head, session = tonumber(epoch), tonumber(first), tonumber(head), tonumber(session)
-- One that arrives twice sets another, as one of MARK: what was given out before it is over.
nonce = nonce_of(nonce, time[1], time[2])
local entry = load()
if not entry then return 0 end
local since, marked = take(entry, token)
if marked ~= lease then since = nil end -- not its own: one that arrived twice, and late
if lineage ~= '-' and entry.epoch == epoch and entry.head == head and entry.lineage == lineage then
  save(entry) -- a reader was quicker
  return 1
end
if fence ~= '-' and since and entry.nonce == lease and entry.marks == '' then
  -- This is all there is: nobody has marked since, and nobody else is writing.
  forget(entry)
  entry.gen, entry.fence, entry.session = generation, fence, session
  entry.epoch, entry.head, entry.lineage, entry.checked = epoch, head, lineage, since
  entry.complete, entry.nonce = '1', nonce
  if lives > 0 then entry.ends = since + lives end
  push(entry, ARGV, 2, most, most_bytes)
  stay(entry, ttl)
  return 1
end
if since and #ARGV > 1 and entry.epoch == epoch and entry.head == first - 1 then
  entry.head, entry.lineage = head, lineage
  -- No later than the mark was set: what others committed since is not known from here.
  if since > entry.checked then entry.checked = since end
  push(entry, ARGV, 2, most, most_bytes)
  stay(entry, ttl)
  return 1
end
forget(entry)
-- Who marked before this one brings nothing either: that would be older. And the mark of this one
-- may not have protected it to the end.
entry.nonce = nonce
save(entry)
return 0
