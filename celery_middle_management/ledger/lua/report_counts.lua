-- Adds the counts to each pool's counters.

-- ## Published, started, finished
-- Returns how many were published.
local function add_published(pool, counts)
  local total, counted = 0, 0
  for _, slice in ipairs(counts.published) do
    local ago, tasks = unpack(slice)
    total = total + tasks
    -- After a step of the clock it is not known how long ago they were published, so a count may
    -- have missed them: it is better to count them twice than not at all.
    if not stepped and now - ago <= number(pool .. '/counted_at') then counted = counted + tasks end
  end
  add(pool .. '/published', total)
  add(pool .. '/base_published', counted)
  return total
end

local function add_started(pool, counts)
  if counts.started == 0 then return end
  add(pool .. '/started', counts.started)
  add_float(pool .. '/waits', counts.waits)
  add(pool .. '/late', counts.late)
end

local function add_finished(pool, counts)
  if counts.finished == 0 then return end
  add(pool .. '/finished', counts.finished)
  add_float(pool .. '/runtime', counts.runtime)
  add_float(pool .. '/runtime_squares', counts.runtime_squares)
  if counts.longest > number(pool .. '/longest') then set_float(pool .. '/longest', counts.longest) end
end

-- ## Scheduled, by buckets of due times: fine ones up to the horizon, coarse ones beyond
local furthest -- the latest bucket (s) that got a task
local function add_scheduled(pool, counts)
  if #counts.scheduled > 0 then set(pool .. '/scheduled_at', now) end
  for _, entry in ipairs(counts.scheduled) do
    local ahead, tasks = unpack(entry)
    local fine = ahead <= msg.fine_horizon * 1000
    local size = fine and msg.fine or msg.coarse
    -- A coarse bucket is named a second earlier, since a fine one may begin at the same time.
    local bucket = math.floor((now + ahead) / 1000 / size) * size - (fine and 0 or 1)
    redis.call('HINCRBY', due, pool .. '/' .. ms(bucket), tasks)
    furthest = math.max(furthest or 0, bucket)
  end
end

local function keep_due_times()
  if not furthest then return end
  local expiry = math.floor(furthest - now / 1000 + msg.expiry)
  if redis.call('TTL', due) < expiry - 3600 then redis.call('EXPIRE', due, expiry) end
end

-- ## How long (ms) a publisher can hold back a pool's counts: they could change nothing sooner
local function hold_of(quantity, maximum)
  -- The next evaluation knows of these tasks already: more would not make it hire sooner.
  if quantity == 0 then return msg.zero_hold end
  if quantity >= maximum then return msg.longest_hold end
  return math.max(called + msg.interval - now, msg.gap)
end
