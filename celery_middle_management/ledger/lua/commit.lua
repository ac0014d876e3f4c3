-- Writes what a scaler did or is about to do, unless the lock is another's by now.
local _, due, workers, queues, actions, lock = unpack(KEYS)
if redis.call('GET', lock) ~= ARGV[1] then return 0 end
local msg = cjson.decode(ARGV[2])
local at = redis.call('HMGET', state, 'seq', 'sent', unpack(CLOCK))
local seq = table.remove(at, 1) or '0'
local sent, resent = cjson.decode(table.remove(at, 1) or '{}'), false
local now = clock(at, msg)
hdel(state, msg.unset)
for _, name in ipairs(msg.unset) do
  if sent[name] then sent[name], resent = nil, true end
end
for name, value in pairs(msg.set) do
  if string.match(name, '/[fh]ire$') then sent[name], resent = cjson.decode(value), true end
end
if resent and next(sent) then
  msg.set.sent = cjson.encode(sent)
elseif resent then
  redis.call('HDEL', state, 'sent')
end
for name, n in pairs(msg.add) do redis.call('HINCRBY', state, name, n) end
if next(msg.due) then
  for name, n in pairs(msg.due) do
    if redis.call('HINCRBY', due, name, n) <= 0 then redis.call('HDEL', due, name) end
  end
  if redis.call('TTL', due) == -1 then redis.call('EXPIRE', due, msg.expiry) end
end
hdel(workers, msg.gone)
hdel(queues, msg.idle_queues)
local used = {}
for _, queue in ipairs(msg.used_queues) do used[queue] = ms(now) end
if hset(queues, used) > 0 then redis.call('EXPIRE', queues, msg.expiry) end
if #msg.history > 0 then
  for _, entry in ipairs(msg.history) do append(actions, entry, msg.keep) end
  redis.call('EXPIRE', actions, msg.expiry)
end
if msg.next then
  local next_at = now + msg.next
  if seq ~= msg.seq then next_at = math.min(next_at, now + msg.gap) end
  msg.set.next_at = ms(next_at)
end
hset(state, msg.set)
redis.call('EXPIRE', state, msg.expiry)
if msg.next then redis.call('DEL', lock) else redis.call('PEXPIRE', lock, msg.lock) end
return 1
