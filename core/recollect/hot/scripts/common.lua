-- Begun by every script. One key a session: a LIST of a header and the newest messages,
-- newest first, so that eviction, expiry and flush take all of it or nothing.
--
-- header  "run session epoch head checked generation complete bytes marks"
--   run         the server run that wrote it: found by another run (a restart from disk, a
--               failover to an older replica) the entry is thrown away
--   session     the session's number in SQL, -1 where it has none
--   epoch head  what the messages reach to; -1 -1 where there are none
--   checked     Redis' milliseconds at which the messages were known to equal SQL
--   generation  random, new with every mark: a lease is worth nothing once it has moved
--   complete    1 where these are all the messages of the session
--   bytes       how much the messages weigh together
--   marks       "token=deadline;...": writers under way; token "?" stands for writers whose
--               marks were lost with an earlier entry
local key = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local known, server = pcall(function() return redis.call('INFO', 'server') end)
local run = known and string.match(server, 'run_id:(%x%x%x%x%x%x%x%x)') or '-'

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

local function load()
  local header = redis.pcall('LINDEX', key, 0)
  if not header then return nil end
  if type(header) == 'table' then header = '' end -- not a list: nothing of ours
  local by, session, epoch, head, checked, generation, complete, bytes, marks =
    string.match(header, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  if by ~= run then
    redis.call('UNLINK', key)
    return nil
  end
  return {
    session = tonumber(session), epoch = tonumber(epoch), head = tonumber(head), checked = tonumber(checked),
    generation = generation, complete = complete, bytes = tonumber(bytes), marks = marks,
  }
end

local function header_of(entry)
  return table.concat({
    run, int(entry.session), int(entry.epoch), int(entry.head), int(entry.checked), entry.generation,
    entry.complete, int(entry.bytes), entry.marks,
  }, ' ')
end

local function save(entry) write('LSET', key, 0, header_of(entry)) end

-- An entry without messages, marked for the writers that nobody remembers.
local function unknown(generation, lifetime)
  return {
    session = -1, epoch = -1, head = -1, checked = 0, generation = generation,
    complete = '0', bytes = 0,
    marks = '?=' .. int(now + lifetime) .. ';',
  }
end

local function forget(entry) -- the messages; the marks stay
  entry.epoch = -1
  entry.head = -1
  entry.complete = '0'
  entry.bytes = 0
  write('LTRIM', key, 0, 0)
end

-- Take a mark away. Its deadline, or nil where it is not there.
local function take(entry, token)
  local deadline
  entry.marks = string.gsub(entry.marks, '([^=;]+)=(%d+);', function(holder, at)
    if holder == token then
      deadline = tonumber(at)
      return ''
    end
  end)
  return deadline
end

local function any_alive(entry)
  for at in string.gmatch(entry.marks, '=(%d+);') do
    if tonumber(at) > now then return true end
  end
  return false
end

-- Put messages on top, oldest first, and drop from the other end what is too much.
local function push(entry, messages, most, most_bytes)
  for i = 1, #messages do
    entry.bytes = entry.bytes + #messages[i]
    if i == 1 then
      write('LSET', key, 0, messages[1]) -- in the header's place
    else
      write('LPUSH', key, messages[i])
    end
  end
  if #messages > 0 then write('LPUSH', key, '') end
  local length = redis.call('LLEN', key) - 1
  while length > 0 and (length > most or entry.bytes > most_bytes) do
    entry.bytes = entry.bytes - #write('RPOP', key)
    entry.complete = '0'
    length = length - 1
  end
  save(entry)
end
