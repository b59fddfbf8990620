-- MARK. A writer is about to commit: until it is known how that ends, nothing here is believed.
--
-- KEYS[1]  the session's entry
-- ARGV     token, lifetime of a mark (ms), ttl (ms)
-- answer   1 marked, 2 Redis is full and the entry was deleted instead (the strongest mark)
--
-- Every mark begins a new generation: a reader that asked SQL before it fills in nothing.
local token, lifetime, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local entry = load()
local fresh = not entry
if fresh then entry = unknown(token, lifetime) end
local count, latest = 0, 0
for at in string.gmatch(entry.marks, '=(%d+);') do
  count = count + 1
  if tonumber(at) > latest then latest = tonumber(at) end
end
if count >= 8 then -- too many to keep apart: one for all, as long as the last of them
  forget(entry)
  entry.marks = '?=' .. int(latest) .. ';'
end
take(entry, token)
entry.generation = token
entry.marks = entry.marks .. token .. '=' .. int(now + lifetime) .. ';'
local done
if fresh then
  done = redis.pcall('RPUSH', key, header_of(entry))
else
  done = redis.pcall('LSET', key, 0, header_of(entry))
end
if type(done) == 'table' and done.err then
  redis.call('UNLINK', key)
  return 2
end
redis.call('PEXPIRE', key, math.max(ttl, lifetime))
return 1
