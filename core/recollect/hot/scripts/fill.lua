-- FILL. A reader with a lease brings what SQL said.
--
-- KEYS[1]  the session's entry
-- ARGV     generation (the lease), time of the lease, ttl (ms), most messages, most bytes,
--          session, epoch, head, complete,
--          base (the head the messages follow on, -1: they are the tail), messages oldest first
-- answer   1 filled in, 0 refused: somebody has marked the entry since, or it is gone
--
-- It counts as checked when the lease was given, not now; dead marks are settled by it.
local generation, checked, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local session, epoch, head = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local complete, base = ARGV[9], tonumber(ARGV[10])
local entry = load()
if not entry or entry.generation ~= generation then return 0 end
redis.call('PEXPIRE', key, ttl)
if entry.epoch < epoch or (entry.epoch == epoch and entry.head < head) then
  if base >= 0 then
    if entry.epoch ~= epoch or entry.head ~= base then return 0 end
  else
    forget(entry)
    entry.complete = complete
  end
  local messages = {}
  for i = 11, #ARGV do messages[#messages + 1] = ARGV[i] end
  entry.session = session
  entry.epoch = epoch
  entry.head = head
  entry.checked = checked
  entry.marks = ''
  push(entry, messages, most, most_bytes)
else
  entry.checked = checked
  entry.marks = ''
  save(entry)
end
return 1
