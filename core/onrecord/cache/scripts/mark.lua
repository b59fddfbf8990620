-- MARK. A writer is about to commit: until it is known how that ends, nothing here is believed.
--
-- KEYS[1]  the entry
-- ARGV     one text, as of LOOK: token, patience (ms, for manners: until then nobody settles it), ttl (ms)
-- answer   one text: "done fence nonce"; done 1 marked, 2 Redis is full and the entry was deleted
--          instead (the strongest mark); the fence or '-'
--
-- Every mark begins a new nonce, made here: a request that arrives twice makes two.
local token, patience, ttl = string.match(ARGV[1], '^(%S+) (%S+) (%S+)$')
patience = tonumber(patience)
local entry = load()
local fresh = not entry
if fresh then entry = empty('-') end
if entry.marks ~= '' then
  local _, count = string.gsub(entry.marks, ';', '')
  take(entry, token)
  if count >= 8 then -- too many to keep apart: one for all, and nobody can take it away
    if not fresh then forget(entry) end
    entry.marks = mark_of('?', patience)
  end
end
entry.nonce = nonce_of(token, time[1], time[2])
entry.marks = entry.marks .. mark_of(token, patience)
local done
if fresh then
  done = redis.pcall('RPUSH', key, header_of(entry))
else
  done = redis.pcall('LSET', key, 0, header_of(entry))
end
if type(done) == 'table' and done.err then
  redis.call('UNLINK', key)
  return '2 ' .. entry.fence .. ' ' .. entry.nonce
end
stay(entry, ttl)
return '1 ' .. entry.fence .. ' ' .. entry.nonce
