-- Writes what a scaler did or is about to do. Returns 0 and writes nothing if the scaler no longer
-- holds the lock. ARGV[1]: the scaler's token.
local state, due, workers, queues, actions, bill, lock = unpack(KEYS)
local msg = cjson.decode(ARGV[2])

-- ## CommitMessage (msg): ARGV[2], as JSON; with Bounds
--   number       count  the commits of the caller's process so far, this one included
--   set          text   fields of the state
--   unset        names  fields of the state to delete
--   add          count  fields of the state to increase, and by how much
--   due          count  tasks to add to `<pool>/<bucket>`; less than 0: to remove
--   gone         ids    workers that no longer live
--   used_queues  names  queues seen in use
--   idle_queues  names  queues to forget
--   history      JSON   entries for the history
--   bill         ms     worker time to add to `<pool>/<day>/<size>`
--   bill_days    count  the days that the bill keeps, the latest; empty unless a day has begun
--   bill_expiry  s      how long the bill is kept after it last grew
--   seq          text   the state's `seq` as the scaler read it
--   next?        ms     give up the lock; the next evaluation is due after this time
--   gap          ms     ... or after this time, if a report has changed `seq` meanwhile
--   lock         ms     how long the lock lasts from now on, if it is not given up
--   keep         count  entries that the history keeps
--   expiry       s      how long the keys are kept after the last change

-- A client that got no answer sends the commit again, and the first copy may arrive after the next commit.
local token, number = string.match(redis.call('HGET', state, 'committed') or '', '^(.*) (%d+)$')
if token == ARGV[1] and tonumber(number) >= msg.number then return 1 end
if redis.call('GET', lock) ~= ARGV[1] then return 0 end
msg.set.committed = ARGV[1] .. ' ' .. ms(msg.number)

local values = redis.call('HMGET', state, 'seq', 'sent', unpack(CLOCK))
local seq, in_flight = table.remove(values, 1) or '0', cjson.decode(table.remove(values, 1) or '{}')
local now = clock(values, msg)
hdel(state, msg.unset)

-- ## `sent`, for replies to reports: a copy of each pool's `fire` and `hire`, the calls that can
-- still take effect at the platform
local changed = false
for _, name in ipairs(msg.unset) do
  if in_flight[name] then in_flight[name], changed = nil, true end
end
for name, value in pairs(msg.set) do
  if string.match(name, '/[fh]ire$') then in_flight[name], changed = cjson.decode(value), true end
end
if changed and next(in_flight) then
  msg.set.sent = cjson.encode(in_flight)
elseif changed then
  redis.call('HDEL', state, 'sent')
end

-- ## Counts, workers, queues, history
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

-- ## The bill
if next(msg.bill) then
  for name, worked in pairs(msg.bill) do redis.call('HINCRBY', bill, name, worked) end
  redis.call('EXPIRE', bill, msg.bill_expiry)
end
-- Days are counted, not compared with today's: Redis's clock may have a wrong date for a while.
for _, most in ipairs(msg.bill_days) do
  local names, days = {}, {}
  for _, name in ipairs(redis.call('HKEYS', bill)) do
    local day = string.match(name, '/(%d+%-%d+%-%d+)/')
    if day and not names[day] then days[#days + 1], names[day] = day, {} end
    if day then table.insert(names[day], name) end
  end
  table.sort(days)
  for i = 1, #days - most do hdel(bill, names[days[i]]) end
end

-- ## The next evaluation, and the lock
if msg.next then
  local next_at = now + msg.next
  if seq ~= msg.seq then next_at = math.min(next_at, now + msg.gap) end
  msg.set.next_at = ms(next_at)
end
hset(state, msg.set)
redis.call('EXPIRE', state, msg.expiry)
if msg.next then redis.call('DEL', lock) else redis.call('PEXPIRE', lock, msg.lock) end
return 1
