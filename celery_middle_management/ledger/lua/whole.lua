-- The whole ledger at one moment: the time, the offset of Redis's clock, state, due times, workers,
-- queues. Each of the first three hashes is a single text, with a line for each name and each value,
-- because a client parses one long text faster than thousands of values.
local function lines(key) return table.concat(redis.call('HGETALL', key), '\n') end
local function whole(bounds, state, due, workers, queues)
  local now, offset = clock(redis.call('HMGET', state, unpack(CLOCK)), bounds)
  return {now, offset, lines(state), lines(due), lines(workers), redis.call('HGETALL', queues)}
end
