-- Adds what a process tells, and says whether an evaluation is due and is its to make.
local state, due, workers, queues, lock = unpack(KEYS)
local msg = cjson.decode(ARGV[1])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function ms(x) return string.format('%.0f', x) end
local function keep(key, seconds)
  -- refreshed once an hour at most
  if redis.call('TTL', key) < seconds - 3600 then redis.call('EXPIRE', key, ms(seconds)) end
end
local at = redis.call('HMGET', state, 'evaluated_at', 'next_at', 'called_at', 'blocked_until',
                      'ticked_at')
-- Never evaluated, or Redis has lost its data: due now.
local evaluated, next_at = tonumber(at[1] or 0), tonumber(at[2] or now)
local called, blocked, ticked = tonumber(at[3] or 0), tonumber(at[4] or 0), tonumber(at[5] or 0)
local dirty, zero, held = false, false, {}
for pool, r in pairs(msg.pools) do
  dirty = true
  local total, counted = 0, 0
  local counted_at = tonumber(redis.call('HGET', state, pool .. '/counted_at') or 0)
  for _, s in ipairs(r.published) do
    total = total + s[2]
    if now - s[1] <= counted_at then counted = counted + s[2] end
  end
  if total > 0 then
    redis.call('HINCRBY', state, pool .. '/published', total)
    if counted > 0 then redis.call('HINCRBY', state, pool .. '/base_published', counted) end
    local known = redis.call('HMGET', state, pool .. '/quantity', pool .. '/refused_until')
    local quantity = tonumber(known[1] or 0)
    if quantity == 0 then
      zero = zero or now >= tonumber(known[2] or 0)
    elseif quantity >= r.maximum then
      held[pool] = msg.longest_hold
    else
      held[pool] = math.max(called + msg.interval - now, msg.gap)
    end
  end
  if r.finished > 0 then
    redis.call('HINCRBY', state, pool .. '/finished', r.finished)
    redis.call('HINCRBYFLOAT', state, pool .. '/runtime', r.runtime)
    redis.call('HINCRBYFLOAT', state, pool .. '/runtime_squares', r.runtime_squares)
  end
  if #r.scheduled > 0 then redis.call('HSET', state, pool .. '/scheduled_at', ms(now)) end
  for _, s in ipairs(r.scheduled) do
    local when = math.floor((now + s[1]) / 1000)
    local size = s[1] <= msg.fine_horizon * 1000 and msg.fine or msg.coarse
    local bucket = math.floor(when / size) * size
    redis.call('HINCRBY', due, pool .. '/' .. ms(bucket), s[2])
    keep(due, bucket - now / 1000 + msg.expiry)
  end
end
if dirty then
  redis.call('HINCRBY', state, 'seq', 1)
  next_at = math.min(next_at, math.max(now, evaluated + msg.gap))
end
if zero then next_at = math.min(next_at, math.max(now, blocked)) end
for _, queue in ipairs(msg.queues) do redis.call('HSET', queues, queue, ms(now)) end
if #msg.queues > 0 then keep(queues, msg.expiry) end
local met = false
if msg.id then
  if msg.presence then
    ticked = now
    redis.call('HSET', state, 'ticked_at', ms(now))
    met = redis.call('HSET', workers, msg.id, ms(now) .. ' ' .. msg.presence) == 1
    if met then next_at = math.min(next_at, now) end
    keep(workers, msg.expiry)
  elseif redis.call('HDEL', workers, msg.id) == 1 then
    next_at = math.min(next_at, now)
  end
end
local lease = false
if next_at <= now and redis.call('SET', lock, msg.token, 'NX', 'PX', msg.lock) then
  lease = true
end
redis.call('HSET', state, 'next_at', ms(next_at))
keep(state, msg.expiry)
local wait = math.max(next_at - now, redis.call('PTTL', lock), 0)
if not msg.id and (now - ticked < msg.watches or wait > msg.stand_by) then wait = msg.stand_by end
return cjson.encode({now = ms(now), lease = lease, wait = wait, held = held, met = met,
                     cordon = msg.pool and redis.call('HGET', state, msg.pool .. '/cordon') or nil})
