-- Writes a person's request, and makes an evaluation due at once. Returns 0 and writes nothing if what
-- the request rests on has changed since it was read.
local state, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## IntendMessage (msg): ARGV[1], as JSON; with Bounds
--   read      text   fields of the state that the request rests on, as they were read; empty: absent
--   set       text   fields of the state
--   unset     names  fields of the state to delete
--   id        text   the request's own; found in its entry
--   entry     JSON   for the history
--   keep      count  entries that the history keeps
--   expiry    s      how long the keys are kept after the last change

-- A client that got no answer sends the request again.
for _, item in ipairs(redis.call('XREVRANGE', actions, '+', '-', 'COUNT', 100)) do
  if string.find(item[2][2], msg.id, 1, true) then return 1 end
end
for name, value in pairs(msg.read) do
  if (redis.call('HGET', state, name) or '') ~= value then return 0 end
end
local now = clock(redis.call('HMGET', state, unpack(CLOCK)), msg)
hdel(state, msg.unset)
msg.set.next_at = ms(now)
hset(state, msg.set)
redis.call('HINCRBY', state, 'seq', 1)
redis.call('EXPIRE', state, msg.expiry)
append(actions, msg.entry, msg.keep)
redis.call('EXPIRE', actions, msg.expiry)
return 1
