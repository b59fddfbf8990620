-- LOOK. What is cached of a session, and whether it may be used.
--
-- KEYS[1]  the entry
-- ARGV     one text, because a client takes longer to send eight: nonce, generation ('-': the cache is
--          not known to be on), revalidate (ms), ttl (ms), epoch, head and lineage that the reader
--          holds (-1 -1 -: none), most messages to send
-- answer   { "hit settle seconds micros joins all", and the header up to its nonce;
--            messages newest first }
--          One text, because a client takes as long for each element as for a message; and what
--          is a text already, because Lua takes as long to write a number. all: 1 where these are
--          all the messages of the entry.
--          settle: 0 may be filled, 1 the session's fence has to be moved first, 2 so it has, but
--          not now. joins: 1 where only the messages after the held head are sent.
local nonce, generation, revalidate, ttl, epoch, head, lineage, most =
  string.match(ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
revalidate, epoch, head, most = tonumber(revalidate), tonumber(epoch), tonumber(head), tonumber(most)
local entry = load()
if not entry then
  entry = begin(nonce, ttl)
  local nothing = ' 0 1 ' .. run .. ' - - -1 -1 -1 - 0 0 0 0 '
  return { '0 2 ' .. time[1] .. ' ' .. time[2] .. nothing .. entry.nonce, {} }
end
stay(entry, ttl)
local later = entry.epoch > epoch or (entry.epoch == epoch and entry.head >= head)
local hit = later and believable(entry, generation, revalidate)
local settle = hit and '0' or settling(entry, generation)

local messages, joins = {}, ' 0'
if entry.epoch >= 0 then
  if entry.epoch == epoch and head >= 0 and head <= entry.head then
    local there = entry.lineage -- the lineage at the head that is held
    if head < entry.head then
      local message = head > 0 and redis.call('LINDEX', key, 1 + entry.head - head)
      there = message and string.match(message, '^(%S+) ') or ''
    end
    if there == lineage then
      joins = ' 1'
      if entry.head - head < most then most = entry.head - head end
    end
  end
  if most > 0 then messages = redis.call('LRANGE', key, 1, most) end
end
-- A reader with a shorter tail is sent less than there is.
local all = #messages == redis.call('LLEN', key) - 1
return {
  (hit and '1 ' or '0 ') .. settle .. ' ' .. time[1] .. ' ' .. time[2] .. joins
    .. (all and ' 1 ' or ' 0 ') .. entry.about .. ' ' .. entry.nonce,
  messages,
}
