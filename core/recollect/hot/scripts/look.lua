-- READ. What is cached of a session, and whether it may be used.
--
-- KEYS[1]  the session's entry
-- ARGV     nonce, lifetime of a mark (ms), revalidate (ms), ttl (ms),
--          epoch and head that the reader knows (-1 -1: none), most messages to send
-- answer   { hit, generation or '', now, session, epoch, head, complete, messages newest first }
--          With the epoch the reader knows, only the messages after its head are sent.
--
-- A hit needs messages, no mark at all (alive or dead: a dead one is a writer of whom nobody
-- knows how it ended), and a recent check. A lease is given only when no mark is alive.
local nonce, lifetime, revalidate, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local epoch, head, most = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local entry = load()
if not entry then
  entry = unknown(nonce, lifetime)
  write('RPUSH', key, header_of(entry))
  redis.call('PEXPIRE', key, ttl)
  return { 0, '', now, -1, -1, -1, '0', {} }
end
redis.call('PEXPIRE', key, ttl)
if entry.epoch >= 0 and (entry.epoch < epoch or (entry.epoch == epoch and entry.head < head)) then
  forget(entry) -- the reader has seen later ones
  save(entry)
end
local messages = {}
if entry.epoch >= 0 then
  if entry.epoch == epoch and entry.head - head < most then most = entry.head - head end
  if most > 0 then messages = redis.call('LRANGE', key, 1, most) end
end
-- A reader with a shorter tail is sent less than there is.
local all = #messages == redis.call('LLEN', key) - 1
local age = now - entry.checked -- below nothing after the clock was set back
local hit = entry.epoch >= 0 and entry.marks == '' and age >= 0 and age < revalidate
local lease = not hit and not any_alive(entry)
return {
  hit and 1 or 0, lease and entry.generation or '', now, entry.session, entry.epoch,
  entry.head, all and entry.complete or '0', messages,
}
