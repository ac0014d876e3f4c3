-- Reads the whole ledger at one moment; ARGV[1]: Bounds, as JSON.
-- Returns the time, the offset of Redis's clock, state, due times, workers, queues. Each of the first
-- three hashes is a single text, with a line for each name and each value, because a client parses one
-- long text faster than thousands of values.
local state, due, workers, queues = unpack(KEYS)
local function lines(key) return table.concat(redis.call('HGETALL', key), '\n') end
local now, offset = clock(redis.call('HMGET', state, unpack(CLOCK)), cjson.decode(ARGV[1]))
return {now, offset, lines(state), lines(due), lines(workers), redis.call('HGETALL', queues)}
