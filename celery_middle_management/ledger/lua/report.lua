-- Adds what a process tells, and says whether an evaluation is due and is its to make.
local _, due, workers, queues, lock, samples = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- All that is needed of the state is read at once, and what changes is written at once.
local names, old, new = {unpack(CLOCK)}, {}, {}
local function need(name) names[#names + 1] = name end
for _, name in ipairs({'next_at', 'blocked_until', 'gave_up_at', 'seq', 'kept_at', 'silent_at',
                       'comes_at', 'born', 'sent', 'minute'}) do
  need(name)
end
for pool in pairs(msg.pools) do
  for _, name in ipairs({'counted_at', 'quantity', 'refused_until', 'published', 'base_published',
                         'started', 'waits', 'finished', 'runtime', 'runtime_squares',
                         'longest'}) do
    need(pool .. '/' .. name)
  end
end
local function pool_of(name) return (string.match(name, '^(.*)/')) end
local counted_at = msg.cordon and pool_of(msg.cordon) .. '/counted_at'
local why = msg.cordon and msg.cordon .. '_why'
if msg.cordon then need(msg.cordon) need(counted_at) need(why) end
if msg.presence then need('deaf') end
for name in pairs(msg.sent or {}) do need(pool_of(name) .. '/cordon') end
local read = redis.call('HMGET', state, unpack(names))
for i, name in ipairs(names) do old[name] = read[i] end
local function number(name) return tonumber(old[name] or 0) end
local function set(name, value) new[name] = ms(value) end
local function add(name, n) if n > 0 then set(name, number(name) + n) end end
local function add_float(name, x) new[name] = string.format('%.17g', number(name) + x) end

-- Who has never heard the time cannot tell a step forth from a time in which nobody told. Where
-- workers told to the last, it is rather a step, up to LONGEST_SILENCE; if not, who has heard the
-- time puts it right.
local LONGEST_SILENCE, last = 600000, number('told_at')
local function believed()
  for _, told in ipairs(redis.call('HVALS', workers)) do
    if last - tonumber(string.match(told, '^%d+')) < msg.watches then return last + msg.watches end
  end
end
local newcomer = not msg.most
if newcomer then msg.most, msg.longest = believed(), LONGEST_SILENCE end
local now, offset = clock(read, msg)
set('told_at', now)
local stepped = offset ~= number('clock')
if stepped then set('clock', offset) end
local evaluated, called, ticked = number('evaluated_at'), number('called_at'), number('ticked_at')
-- Never evaluated, or Redis has lost its data: due now.
local next_at = tonumber(old.next_at or now)
local refresh = now - number('kept_at') >= 3600000
if refresh then set('kept_at', now) end

-- History: what the counters were when a minute began, by whoever is the first to tell in it.
local minute = math.floor(now / 60000)
if minute > number('minute') then
  set('minute', minute)
  local COUNTERS, pools, all = {}, {}, redis.call('HGETALL', state)
  for i, name in ipairs(msg.counters) do COUNTERS[name] = i end
  for i = 1, #all, 2 do
    local pool, name = string.match(all[i], '^(.*)/([%l_]+)$')
    if COUNTERS[name] then
      if not pools[pool] then
        pools[pool] = {}
        for n = 1, #msg.counters do pools[pool][n] = 0 end
      end
      pools[pool][COUNTERS[name]] = math.floor(tonumber(all[i + 1]) * 10 + 0.5) / 10
    end
  end
  append(samples, cjson.encode({minute, pools}), msg.most_minutes)
  redis.call('EXPIRE', samples, msg.expiry)
end

-- What may still take effect at the platform is remembered by all who have heard of it: should Redis
-- lose its data meanwhile, they tell it anew. Whom it may stop takes no tasks, until an evaluation
-- knows better.
local born, sent, restored = old.born or msg.token, old.sent, false
if not old.born then new.born = born end
if msg.sent and msg.born ~= born then
  local all = sent and cjson.decode(sent) or {}
  for name, s in pairs(msg.sent) do
    local known, lasts = all[name] or s, now / 1000 + s.left
    all[name] = {to = math.min(s.to, known.to), done = s.done and known.done or false,
                 ['until'] = math.max(lasts, known['until'] or 0)}
    new[name] = cjson.encode(all[name])
    local entry = pool_of(name) .. '/cordon'
    local cordon = cjson.decode(new[entry] or old[entry] or '{}')
    if (tonumber(cordon.above) or math.huge) > s.to then
      cordon.above, cordon.at = s.to, math.max(now / 1000, (cordon.at or 0) + 0.001)
      new[entry] = cjson.encode(cordon)
    end
  end
  sent, restored = cjson.encode(all), true
  new.sent = sent
end

-- What a newcomer takes for a long silence may be a step all the same: what could take effect still
-- may, for as long as before it, and the last call is as long ago. Once for each of them: where
-- scripts alone come, each is a newcomer, and nothing would ever be settled.
if newcomer and last > 0 and now - last > msg.watches then
  local all, again = sent and cjson.decode(sent) or {}, false
  for name, s in pairs(all) do
    if not s.again then
      s['until'] = s['until'] + (now - last) / 1000
      new[name] = cjson.encode(s)
      s.again, again = true, true -- not there, where an old release knows no such field
    end
  end
  if again then
    sent = cjson.encode(all)
    new.sent = sent
  end
  if called > number('silent_at') then
    called = called + now - last
    set('called_at', called)
    set('silent_at', math.max(now, called))
  end
end

local blocked = number('blocked_until')
local failed = math.max(blocked, number('gave_up_at'))
local failing = failed > evaluated and failed + msg.known_to_fail > now
-- Since when it is that nobody may have looked at what the caller told, though it matters who does.
local unseen = msg.unseen and msg.unseen >= evaluated and msg.unseen or nil
if evaluated == 0 then unseen = now end

local dirty, zero, held, furthest = restored, false, {}, nil
local under_way = sent and cjson.decode(sent) or {}
for pool, r in pairs(msg.pools) do
  local function of(name) return pool .. '/' .. name end
  local total, counted = 0, 0
  for _, s in ipairs(r.published) do
    total = total + s[2]
    -- Rather reckoned twice, where it is not known how long ago anything was.
    if not stepped and now - s[1] <= number(of('counted_at')) then counted = counted + s[2] end
  end
  local quantity, refused = number(of('quantity')), now < number(of('refused_until'))
  local fire = under_way[of('fire')]
  local nobody = quantity == 0 or (fire and fire.to == 0 and not fire.done)
  if nobody and not refused and total + #r.scheduled > 0 then unseen = now end
  if total > 0 then
    add(of('published'), total)
    add(of('base_published'), counted)
    if quantity == 0 then
      zero = zero or not refused
      -- Whoever evaluates has been told by now: for more, it would do nothing sooner.
      held[pool] = msg.zero_hold
    elseif quantity >= r.maximum then
      held[pool] = msg.longest_hold
    else
      held[pool] = math.max(called + msg.interval - now, msg.gap)
    end
  end
  dirty = dirty or total + #r.scheduled + r.finished > 0
  if r.started > 0 then
    add(of('started'), r.started)
    add_float(of('waits'), r.waits)
  end
  if r.finished > 0 then
    add(of('finished'), r.finished)
    add_float(of('runtime'), r.runtime)
    add_float(of('runtime_squares'), r.runtime_squares)
    if r.longest > number(of('longest')) then new[of('longest')] = string.format('%.17g', r.longest) end
  end
  if #r.scheduled > 0 then set(of('scheduled_at'), now) end
  for _, s in ipairs(r.scheduled) do
    local fine = s[1] <= msg.fine_horizon * 1000
    local size = fine and msg.fine or msg.coarse
    local bucket = math.floor((now + s[1]) / 1000 / size) * size - (fine and 0 or 1)
    redis.call('HINCRBY', due, of(ms(bucket)), s[2])
    furthest = math.max(furthest or 0, bucket)
  end
end
if msg.look then
  dirty, unseen = true, now
  set('look_at', now)
end
if dirty then
  add('seq', 1)
  next_at = math.min(next_at, math.max(now, evaluated + msg.gap))
end
if zero then next_at = math.min(next_at, math.max(now, blocked)) end
if furthest then
  local lasts = math.floor(furthest - now / 1000 + msg.expiry)
  if redis.call('TTL', due) < lasts - 3600 then redis.call('EXPIRE', due, lasts) end
end

local function keep_most_recent(most)
  local all, list = redis.call('HGETALL', queues), {}
  for i = 1, #all, 2 do list[#list + 1] = {all[i], tonumber(all[i + 1])} end
  table.sort(list, function(a, b) return a[2] > b[2] end)
  local dropped = {}
  for i = most + 1, #list do dropped[#dropped + 1] = list[i][1] end
  hdel(queues, dropped)
end
local told = {}
for _, queue in ipairs(msg.queues) do told[queue] = ms(now) end
local more = hset(queues, told) > 0
if more or refresh then redis.call('EXPIRE', queues, msg.expiry) end
-- Some at once, for it takes a look at all.
if more and redis.call('HLEN', queues) > msg.most_queues * 1.25 then
  keep_most_recent(msg.most_queues)
  msg.queues_left_out = true
end
if msg.queues_left_out then set('queues_dropped_at', now) end

-- Workers come and go several at a time, and are looked at together.
local soon = math.max(now, evaluated + msg.gap / 2)
local met = false
if msg.id then
  if msg.presence then
    if not msg.inactive then
      ticked = now
      set('ticked_at', now)
    end
    met = redis.call('HSET', workers, msg.id, ms(now) .. ' ' .. msg.presence) == 1
    if met then next_at = math.min(next_at, soon) end
    if met or refresh then redis.call('EXPIRE', workers, msg.expiry) end
  elseif redis.call('HDEL', workers, msg.id) == 1 then
    next_at = math.min(next_at, soon)
    unseen = now
  end
end
local watched = false
if msg.leaving then
  for _, told in ipairs(redis.call('HVALS', workers)) do
    local lately = now - tonumber(string.match(told, '^%d+')) < msg.watches
    watched = watched or lately and not string.find(told, '"inactive":true', 1, true)
  end
  if unseen then next_at = math.min(next_at, math.max(now, blocked)) end
end
if msg.gave_up then set('gave_up_at', now) end

local lease = false
-- No two evaluations at one time: it tells their cordons apart.
if next_at <= now and evaluated < now and not (msg.more or msg.inactive) then
  lease = redis.call('SET', lock, msg.token, 'NX', 'PX', msg.lock) and true
  -- A lock lasts as long as Redis' clock says, and that may have stepped back.
  if not lease and redis.call('PTTL', lock) > msg.lock then redis.call('PEXPIRE', lock, msg.lock) end
end
if lease and unseen == now then unseen = now - 1 end -- what it reads, it reads after this
if msg.inactive then unseen = nil end
if ms(next_at) ~= old.next_at then set('next_at', next_at) end

-- One publisher comes when it is due, however many there are; should it end, the others stand by.
local wait = msg.stand_by
if not (msg.id or lease or msg.leaving or msg.inactive) and now - ticked >= msg.watches then
  local due_in = math.max(next_at - now, redis.call('PTTL', lock), 0)
  local comes_in = number('comes_at') - now
  if due_in < wait and not (comes_in > 0 and comes_in <= due_in + msg.gap) then
    wait = due_in
    set('comes_at', now + wait)
  end
end
local suspicion = old.deaf and cjson.decode(old.deaf)[msg.id]
hset(state, new)
if refresh then redis.call('EXPIRE', state, msg.expiry) end
return cjson.encode({now = ms(now), lease = lease, wait = wait, held = held,
                     born = born, sent = sent, unseen = unseen, watched = watched, failing = failing,
                     untaken = suspicion and suspicion.last - suspicion.since or nil,
                     counted_at = counted_at and number(counted_at) or nil,
                     cordon = msg.cordon and (new[msg.cordon] or old[msg.cordon]) or nil,
                     why = why and old[why] or nil})
