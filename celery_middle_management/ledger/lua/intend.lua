-- Writes a person's request, and makes an evaluation due at once.
local state, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## IntendMessage (msg): ARGV[1], as JSON; with Bounds
--   set       text   fields of the state
--   unset     names  fields of the state to delete
--   entry     JSON   for the history
--   keep      count  entries that the history keeps
--   expiry    s      how long the keys are kept after the last change

local now = clock(redis.call('HMGET', state, unpack(CLOCK)), msg)
hdel(state, msg.unset)
msg.set.next_at = ms(now)
hset(state, msg.set)
redis.call('HINCRBY', state, 'seq', 1)
redis.call('EXPIRE', state, msg.expiry)
append(actions, msg.entry, msg.keep)
redis.call('EXPIRE', actions, msg.expiry)
return 1
