-- Writes what a scaler did or is about to do, unless the lock is another's by now.
local state, due, workers, queues, history, lock = unpack(KEYS)
if redis.call('GET', lock) ~= ARGV[1] then return 0 end
local msg = cjson.decode(ARGV[2])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for _, name in ipairs(msg.unset) do redis.call('HDEL', state, name) end
for name, value in pairs(msg.set) do redis.call('HSET', state, name, value) end
for name, n in pairs(msg.add) do redis.call('HINCRBY', state, name, n) end
for name, n in pairs(msg.due) do
  if redis.call('HINCRBY', due, name, n) <= 0 then redis.call('HDEL', due, name) end
end
for _, id in ipairs(msg.gone) do redis.call('HDEL', workers, id) end
for _, queue in ipairs(msg.idle_queues) do redis.call('HDEL', queues, queue) end
for _, entry in ipairs(msg.history) do redis.call('LPUSH', history, entry) end
if #msg.history > 0 then
  redis.call('LTRIM', history, 0, msg.keep - 1)
  redis.call('EXPIRE', history, msg.expiry)
end
if msg.next then
  local next_at = now + msg.next
  if (redis.call('HGET', state, 'seq') or '0') ~= msg.seq then
    next_at = math.min(next_at, now + msg.gap)
  end
  redis.call('HSET', state, 'next_at', string.format('%.0f', next_at))
end
redis.call('EXPIRE', state, msg.expiry)
if redis.call('EXISTS', due) == 1 and redis.call('TTL', due) < 0 then
  redis.call('EXPIRE', due, msg.expiry)
end
if msg.next then redis.call('DEL', lock) else redis.call('PEXPIRE', lock, msg.lock) end
return 1
