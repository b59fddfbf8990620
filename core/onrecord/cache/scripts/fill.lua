-- FILL. A reader with a lease brings what SQL said, in the place of what is there.
--
-- KEYS[1]  the entry
-- ARGV     lease, time of the lease, ttl (ms), most messages, most bytes, how long it lives (ms, 0: for good),
--          generation, fence, session, epoch, head, lineage, complete,
--          base head and lineage (-1 -: the messages are the tail; else they follow on these),
--          messages oldest first
-- answer   1 filled in, 0 refused: somebody has marked the entry since, or it is gone
--
-- It counts as checked, and lives, from when the lease was given, not now. Marks in it are settled: its writers
-- are refused by SQL, since the fence was moved before it was read.
local lease, checked, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local most, most_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local lives = tonumber(ARGV[6])
local epoch, head = tonumber(ARGV[10]), tonumber(ARGV[11])
local base, base_lineage = tonumber(ARGV[14]), ARGV[15]
local entry = load()
if not entry or entry.nonce ~= lease then return 0 end
if base >= 0 then
  if entry.epoch ~= epoch or entry.head ~= base or entry.lineage ~= base_lineage then return 0 end
else
  forget(entry)
  entry.complete = ARGV[13]
end
entry.gen, entry.fence, entry.session = ARGV[7], ARGV[8], tonumber(ARGV[9])
entry.epoch, entry.head, entry.lineage = epoch, head, ARGV[12]
if lives > 0 then entry.ends = checked + lives end
stay(entry, ttl)
entry.checked, entry.marks, entry.asked = checked, '', 0
push(entry, ARGV, 16, most, most_bytes)
return 1
