-- Samples of every pool: its counters, and how many tasks there are. The first report of a minute
-- takes one before it adds anything, so that it says how the minute before ended.

-- ## Sampling (sampling): ARGV[2], as JSON: read only if a sample is taken
--   counters      names   the counters in a sample, in this order
--   pools         names   the pool of each queue that a pool names
--   rest?         name    the pool of all other queues
--   silent        ms      a worker that has not reported for longer is left out
--   most_minutes  count   how many samples of a minute are kept
--   most_tens     count   how many samples of ten minutes are kept

local function take_sample()
  local minute = math.floor(now / 60000)
  if minute <= number('minute') then return end
  set('minute', minute)
  local sampling = cjson.decode(ARGV[2])

  -- These functions are made here, so that other reports do not have to make them.

  -- Returns a table that has an empty table for each name, from when it is first asked for.
  local function tables()
    return setmetatable({}, {__index = function(all, name)
      all[name] = {}
      return all[name]
    end})
  end

-- ## Waiting, running and scheduled, as `mm status` reckons them without asking the broker

  -- Decodes no more of a presence than it needs, unless another release wrote it in another order.
  local function held_by(text)
    local alone, held = pcall(cjson.decode, string.match(text, '"held":(.-),"due":') or '')
    return alone and held or cjson.decode(string.match(text, ' (.*)$')).held or {}
  end

  local function running_tasks()
    local running = {}
    for _, text in ipairs(redis.call('HVALS', workers)) do
      if now - string.match(text, '^%d+') <= sampling.silent then
        for queue, held in pairs(held_by(text)) do
          local pool = sampling.pools[queue] or sampling.rest
          if pool then running[pool] = (running[pool] or 0) + (held[2] or 0) end
        end
      end
    end
    return running
  end

  local function due_tasks()
    local past, future, all = {}, {}, redis.call('HGETALL', due)
    for i = 1, #all, 2 do
      local pool, bucket = string.match(all[i], '^(.*)/(-?%d+)$')
      local tasks = bucket * 1000 <= now and past or future
      tasks[pool] = (tasks[pool] or 0) + all[i + 1]
    end
    return past, future
  end

  -- Returns the dead reckoning of a pool's outstanding tasks, without those that have fallen due.
  local COUNTED = {count = true, published = true, base_published = true, finished = true,
                   base_finished = true}
  local function reckoned(its)
    local count = cjson.decode(its.count or '{}')
    local published = (its.published or 0) - (its.base_published or 0)
    local finished = (its.finished or 0) - (its.base_finished or 0)
    return (count.waiting or 0) + (count.running or 0) + published - finished
  end

-- ## A sample of ten minutes sums up the interval in which the last one was taken: the counters at its
-- end, and the most tasks and workers that samples of its minutes tell of
  local MOST = {6, 7, 8, 9} -- `quantity`, waiting, running and scheduled in a sample
  local function sum_up(pools, last)
    if math.floor(minute / 10) <= math.floor(last / 10) then return end
    set('summed', minute)
    local most = tables()
    for _, entry in ipairs(redis.call('XREVRANGE', samples, '+', '-', 'COUNT', 11)) do
      local at, its = unpack(cjson.decode(entry[2][2]))
      if math.floor((at - 1) / 10) == math.floor(last / 10) then
        for pool, told in pairs(its) do
          for _, n in ipairs(MOST) do
            -- Older releases tell fewer numbers.
            if told[n] then most[pool][n] = math.max(most[pool][n] or 0, told[n]) end
          end
        end
      end
    end
    for pool, told in pairs(pools) do
      for n = 7, 9 do told[n] = most[pool][n] or cjson.null end
      told[10] = most[pool][6] or cjson.null
    end
    append(tens, cjson.encode({minute, pools}), sampling.most_tens)
    redis.call('EXPIRE', tens, msg.expiry)
  end

-- ## The sample itself
  local known, pools = tables(), tables()
  local all, place = redis.call('HGETALL', state), {}
  for i, counter in ipairs(sampling.counters) do place[counter] = i end
  for i = 1, #all, 2 do
    local pool, field = string.match(all[i], '^(.*)/([%l_]+)$')
    if COUNTED[field] then known[pool][field] = all[i + 1] end
    if place[field] then pools[pool][place[field]] = math.floor(all[i + 1] * 10 + 0.5) / 10 end
  end
  local running, past, future = running_tasks(), due_tasks()
  for _, tasks in ipairs({running, past, future}) do
    for pool in pairs(tasks) do local _ = pools[pool] end
  end
  for pool, told in pairs(pools) do
    for n = 1, #sampling.counters do told[n] = told[n] or 0 end
    local runs = running[pool] or 0
    told[7] = math.max(reckoned(known[pool]) + (past[pool] or 0) - runs, 0)
    told[8], told[9] = runs, future[pool] or 0
  end
  setmetatable(pools, nil)
  append(samples, cjson.encode({minute, pools}), sampling.most_minutes)
  redis.call('EXPIRE', samples, msg.expiry)
  sum_up(pools, tonumber(redis.call('HGET', state, 'summed') or 0))
end

