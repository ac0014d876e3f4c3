-- Notes which workers live and which queues are in use.
-- Expiries are renewed once an hour.
local refresh = now - number('kept_at') >= 3600000
if refresh then set('kept_at', now) end

-- ## The latest queues that no pool names
local function keep_most_recent(most)
  local all, list = redis.call('HGETALL', queues), {}
  for i = 1, #all, 2 do list[#list + 1] = {all[i], tonumber(all[i + 1])} end
  table.sort(list, function(a, b) return a[2] > b[2] end)
  local dropped = {}
  for i = most + 1, #list do dropped[#dropped + 1] = list[i][1] end
  hdel(queues, dropped)
end

local function add_queues()
  local used, dropped = {}, msg.queues_left_out
  for _, queue in ipairs(msg.queues) do used[queue] = ms(now) end
  local more = hset(queues, used) > 0
  if more or refresh then redis.call('EXPIRE', queues, msg.expiry) end
  -- Drop many at a time, since all must be read to find the oldest.
  if more and redis.call('HLEN', queues) > msg.most_queues * 1.25 then
    keep_most_recent(msg.most_queues)
    dropped = true
  end
  if dropped then set('queues_dropped_at', now) end
end

-- ## The worker that reports, or says goodbye
-- Returns whether it was not known before.
local function update_worker()
  local is_new = redis.call('HSET', workers, msg.id, ms(now) .. ' ' .. msg.presence) == 1
  if is_new or refresh then redis.call('EXPIRE', workers, msg.expiry) end
  return is_new
end

-- Returns whether it was known before.
local function remove_worker()
  return redis.call('HDEL', workers, msg.id) == 1
end

-- ## Whether a worker that may evaluate has reported lately
local function worker_watches()
  local watches = false
  for _, text in ipairs(redis.call('HVALS', workers)) do
    local lately = now - tonumber(string.match(text, '^%d+')) < msg.watches
    watches = watches or lately and not string.find(text, '"inactive":true', 1, true)
  end
  return watches
end

-- ## For how long (s) counts have found messages that the worker did not take
local function untaken_for()
  local suspicion = old.deaf and cjson.decode(old.deaf)[msg.id]
  return suspicion and suspicion.last - suspicion.since or nil
end
