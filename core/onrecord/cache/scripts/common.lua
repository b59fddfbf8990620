-- Begun by every script. One key a session: a LIST of a header and the newest messages,
-- newest first, so that eviction, expiry and flush take all of it or nothing. An item is kept
-- as a session is that has one message: in epoch 0, its version is the head.
--
-- header  "run gen fence session epoch head lineage checked complete ends bytes nonce asked marks sum"
--   run         the server run that wrote it: found by another run (a restart from disk, a
--               failover to an older replica) the entry is thrown away
--   gen         the generation of the cache that its filler knew, - where nobody has filled it
--   fence       the session's fence, as its filler read it, - where nobody has
--   session     the session's number in SQL, -1 where it is not known
--   epoch head  what the messages reach to; -1 -1 where there are none
--   lineage     what the write left that made the head; - where there are no messages
--   checked     Redis' milliseconds at which the messages were known to equal SQL
--   complete    1 where these are all the messages of the session
--   ends        Redis' milliseconds from which on it is over, of an item that expires; else 0
--   bytes       how much the messages weigh together
--   nonce       new with every mark: a lease is worth nothing once it has moved
--   asked       until when nobody else is asked to settle, by Redis' clock
--   marks       "token=seconds.microseconds,due;...": writers under way, and when they marked;
--               token "?" stands for several of them. due, in milliseconds, is for manners
--               alone: from then on a reader may settle. No mark ever dies
--   sum         of all before it: a header that is not what was written is no header
--
-- A message is "token envelope", the token of the write that brought it first.
local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Found as plain text first: a pattern is tried at each of 500 characters, for 2 of 15 µs.
local server = redis.pcall('INFO', 'server')
local at = type(server) == 'string' and string.find(server, 'run_id:', 1, true)
local run = at and string.match(server, '^%x%x%x%x%x%x%x%x', at + 7) or '-'

-- A write that Redis refuses (it is full) must not leave half of one behind. Deleting the whole
-- entry is always allowed, and is the strongest mark there is.
local function write(...)
  local done = redis.pcall(...)
  if type(done) == 'table' and done.err then
    redis.call('UNLINK', key)
    error(done.err)
  end
  return done
end

local function int(number) return string.format('%.0f', number) end

local function nonce_of(token, seconds, micros) return token .. '.' .. seconds .. '.' .. micros end

local function milliseconds(seconds, micros)
  return tonumber(seconds) * 1000 + math.floor(tonumber(micros) / 1000)
end

local function sum_of(text) return string.sub(redis.sha1hex(text), 1, 8) end

local function load()
  local header = redis.pcall('LINDEX', key, 0)
  if not header then return nil end
  if type(header) == 'table' then header = '' end -- not a list: nothing of ours
  local text, sum = string.sub(header, 1, -10), string.sub(header, -9)
  local about, by, gen, fence, session, epoch, head, lineage, checked, complete, ends, bytes
  local nonce, asked, marks
  if sum == ' ' .. sum_of(text) then
    about, by, gen, fence, session, epoch, head, lineage, checked, complete, ends, bytes, nonce, asked, marks =
      string.match(text, '^((%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)) (%S+) (%S+) (.*)$')
  end
  if by ~= run then
    redis.call('UNLINK', key)
    return nil
  end
  return {
    about = about, gen = gen, fence = fence, session = tonumber(session), epoch = tonumber(epoch),
    head = tonumber(head), lineage = lineage, checked = tonumber(checked), complete = complete,
    ends = tonumber(ends), bytes = tonumber(bytes), nonce = nonce, asked = tonumber(asked),
    marks = marks,
  }
end

-- Whoever changes what stands before the nonce takes "about" away.
local function header_of(entry)
  local about = entry.about
    or string.format(
      '%s %s %s %.0f %.0f %.0f %s %.0f %s %.0f %.0f',
      run, entry.gen, entry.fence, entry.session, entry.epoch, entry.head,
      entry.lineage, entry.checked, entry.complete, entry.ends, entry.bytes
    )
  local text = about .. ' ' .. entry.nonce .. ' ' .. int(entry.asked) .. ' ' .. entry.marks
  return text .. ' ' .. sum_of(text)
end

local function save(entry) write('LSET', key, 0, header_of(entry)) end

-- An entry without messages, of which nothing is known.
local function empty(nonce)
  return {
    gen = '-', fence = '-', session = -1, epoch = -1, head = -1, lineage = '-', checked = 0,
    complete = '0', ends = 0, bytes = 0, nonce = nonce, asked = 0, marks = '',
  }
end

-- An entry that is looked for and not there: made, so that there is something to fill. Its nonce is
-- of this moment too: processes that go on from one image of a machine throw the same dice.
local function begin(nonce, ttl)
  local entry = empty(nonce_of(nonce, time[1], time[2]))
  write('RPUSH', key, header_of(entry))
  redis.call('PEXPIRE', key, ttl)
  return entry
end

-- What a hit needs: no mark at all, a fence, the generation that the reader believes in, and a
-- recent check; and that it is not over.
local function believable(entry, generation, revalidate)
  local age = now - entry.checked -- below nothing after the clock was set back
  return entry.epoch >= 0 and entry.marks == '' and entry.fence ~= '-' and generation ~= '-'
    and entry.gen == generation and age >= 0 and age < revalidate
    and (entry.ends == 0 or now < entry.ends)
end

-- Of what is no hit: 0 it may be filled, 1 its fence has to be moved first, 2 so it has, but not now.
local function settling(entry, generation)
  if entry.marks == '' and entry.fence ~= '-' then return '0' end
  local due = entry.marks == ''
  for s, us, at in string.gmatch(entry.marks, '=(%d+)%.(%d+),(%d+);') do
    if tonumber(at) <= now or milliseconds(s, us) > now then due = true end
  end
  if not due or generation == '-' then return '2' end
  if entry.asked > now and entry.asked <= now + 1000 then return '2' end
  entry.asked = now + 1000
  save(entry)
  return '1'
end

local function forget(entry) -- the messages; the marks stay
  entry.about = nil
  entry.epoch = -1
  entry.head = -1
  entry.lineage = '-'
  entry.complete = '0'
  entry.ends = 0
  entry.bytes = 0
  write('LTRIM', key, 0, 0)
end

-- It stays for the ttl; what expires, no longer than that. Its marks may go with it: whoever finds
-- nothing settles before it fills.
local function stay(entry, ttl)
  if entry.ends > 0 then
    local left = math.max(1, math.min(tonumber(ttl), entry.ends - now))
    ttl = int(left)
  end
  redis.call('PEXPIRE', key, ttl)
end

local function mark_of(token, patience)
  return token .. '=' .. time[1] .. '.' .. time[2] .. ',' .. int(now + patience) .. ';'
end

-- Take a mark away. When it was set, and the nonce that was given with it; or nil where it is not
-- there. A request that arrives twice makes another mark of the same token.
local function take(entry, token)
  local since, nonce
  if entry.marks == '' then return nil end
  entry.marks = string.gsub(entry.marks, '([^=;]+)=(%d+)%.(%d+),%d+;', function(holder, s, us)
    if holder == token then
      since = milliseconds(s, us)
      nonce = nonce_of(token, s, us)
      return ''
    end
  end)
  return since, nonce
end

-- Put messages on top, oldest first, and drop from the other end what is too much. That goes
-- first, while the header is there: a list of which nothing is left would lose its ttl.
local function push(entry, arguments, first, most, most_bytes)
  entry.about = nil
  local count, kept = #arguments - first + 1, redis.call('LLEN', key) - 1
  for i = first, #arguments do entry.bytes = entry.bytes + #arguments[i] end
  while kept + count > 0 and (kept + count > most or entry.bytes > most_bytes) do
    entry.complete = '0'
    if kept > 0 then
      entry.bytes = entry.bytes - #write('RPOP', key)
      kept = kept - 1
    else
      entry.bytes = entry.bytes - #arguments[first]
      first, count = first + 1, count - 1
    end
  end
  if count == 0 then return save(entry) end
  write('LSET', key, 0, arguments[first]) -- in the header's place
  for i = first + 1, #arguments do write('LPUSH', key, arguments[i]) end
  write('LPUSH', key, header_of(entry))
end
