-- Everything at one moment. Three of the hashes are one text each, a line for each name and value:
-- thousands of values cost a client more than a long one.
local function lines(key) return table.concat(redis.call('HGETALL', key), '\n') end
local now, offset = clock(redis.call('HMGET', state, unpack(CLOCK)), cjson.decode(ARGV[1]))
return {now, offset, lines(state), lines(KEYS[2]), lines(KEYS[3]), redis.call('HGETALL', KEYS[4])}
