-- Writes what a person asks for, and has it looked at at once.
local _, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])
local now = clock(redis.call('HMGET', state, unpack(CLOCK)), msg)
hdel(state, msg.unset)
msg.set.next_at = ms(now)
hset(state, msg.set)
redis.call('HINCRBY', state, 'seq', 1)
redis.call('EXPIRE', state, msg.expiry)
append(actions, msg.entry, msg.keep)
redis.call('EXPIRE', actions, msg.expiry)
return 1
