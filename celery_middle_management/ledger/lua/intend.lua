-- Writes what a person asks for, and has it looked at at once.
local _, history = unpack(KEYS)
local msg = cjson.decode(ARGV[1])
local now = clock(redis.call('HMGET', state, unpack(CLOCK)), msg)
hdel(state, msg.unset)
msg.set.next_at = ms(now)
hset(state, msg.set)
redis.call('HINCRBY', state, 'seq', 1)
redis.call('EXPIRE', state, msg.expiry)
redis.call('LPUSH', history, msg.entry)
redis.call('LTRIM', history, 0, msg.keep - 1)
redis.call('EXPIRE', history, msg.expiry)
return 1
