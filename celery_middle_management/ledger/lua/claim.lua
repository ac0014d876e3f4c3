-- Hands entries of the history to the one process that will send them as messages: each entry once,
-- the oldest first. The cursor moves in the same step, so if a process dies, its entries are either
-- all claimed or not at all.
local state, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## ClaimMessage (msg): ARGV[1], as JSON
--   id      text   the claim's own
--   most    count  entries to claim
--   oldest  ms     entries that are older are skipped ...
--   first   ms     ... or that are older than this, if none was ever claimed
--   expiry  s      how long the keys are kept after the last change

-- The ids of a stream's entries begin with the time (ms) by Redis's clock.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local claimed, last = unpack(redis.call('HMGET', state, 'claimed', 'last_claim'))

-- Returns the entries from an id on, without the one `before`, and the id of the last.
local function entries_from(from, before, to, most)
  local entries, last_id = {}, nil
  for _, found in ipairs(redis.call('XRANGE', actions, from, to, 'COUNT', most + 1)) do
    if found[1] ~= before and #entries < most then
      last_id, entries[#entries + 1] = found[1], found[2][2]
    end
  end
  return entries, last_id
end

-- A client that got no answer sends its claim again, and gets the same entries again.
local id, last_from, last_before = string.match(last or '', '^(%S+) (%S+) (%S*)$')
if id == msg.id then return (entries_from(last_from, last_before, claimed, msg.most)) end

local from = ms(now - (claimed and msg.oldest or msg.first)) .. '-0'
if claimed and tonumber(string.match(claimed, '^%d+')) >= now - msg.oldest then from = claimed end
local entries, last_id = entries_from(from, claimed, '+', msg.most)
if #entries > 0 or not claimed then
  local claim = table.concat({msg.id, from, claimed or ''}, ' ')
  redis.call('HSET', state, 'claimed', last_id or from, 'last_claim', claim)
  if redis.call('TTL', state) == -1 then redis.call('EXPIRE', state, msg.expiry) end
end
return entries
