-- Hands entries of the history to the one process that will send them as messages: each entry once,
-- the oldest first. The cursor moves in the same step, so if a process dies, its entries are either
-- all claimed or not at all.
local state, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## ClaimMessage (msg): ARGV[1], as JSON
--   most    count  entries to claim
--   oldest  ms     entries that are older are skipped ...
--   first   ms     ... or that are older than this, if none was ever claimed
--   expiry  s      how long the keys are kept after the last change

-- The ids of a stream's entries begin with the time (ms) by Redis's clock.
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local claimed = redis.call('HGET', state, 'claimed')
local from = ms(now - (claimed and msg.oldest or msg.first)) .. '-0'
local cursor = from
if claimed and tonumber(string.match(claimed, '^%d+')) >= now - msg.oldest then
  from, cursor = claimed, claimed
end
local entries = {}
for _, found in ipairs(redis.call('XRANGE', actions, from, '+', 'COUNT', msg.most + 1)) do
  if found[1] ~= claimed and #entries < msg.most then
    cursor, entries[#entries + 1] = found[1], found[2][2]
  end
end
if cursor ~= claimed and (#entries > 0 or not claimed) then
  redis.call('HSET', state, 'claimed', cursor)
  if redis.call('TTL', state) == -1 then redis.call('EXPIRE', state, msg.expiry) end
end
return entries
