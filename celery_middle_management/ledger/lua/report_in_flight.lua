-- Calls in flight: calls that can still take effect at the platform.
local born, sent = old.born or msg.token, old.sent
if not old.born then new.born = born end

local function calls_in_flight() return sent and cjson.decode(sent) or {} end
local function set_in_flight(calls)
  sent = cjson.encode(calls)
  new.sent = sent
end

-- ## When the ledger has lost its data
-- Every process remembers the calls in flight from its last reply, and reports them with the name of
-- the ledger that they were in. A ledger with another name has lost them: it takes them over, and
-- cordons the workers that these calls can stop, until an evaluation knows better.
local function cordon_above(pool, quantity)
  local field = pool .. '/cordon'
  local cordon = cjson.decode(new[field] or old[field] or '{}')
  if (tonumber(cordon.above) or math.huge) > quantity then
    cordon.above, cordon.at = quantity, math.max(now / 1000, (cordon.at or 0) + 0.001)
    new[field] = cjson.encode(cordon)
  end
end

-- Returns whether there was something to restore.
local function restore_calls()
  if not msg.sent or msg.born == born then return false end
  local calls = calls_in_flight()
  for name, told in pairs(msg.sent) do
    local known, ends = calls[name] or told, now / 1000 + told.left
    calls[name] = {to = math.min(told.to, known.to), done = told.done and known.done or false,
                   ['until'] = math.max(ends, known['until'] or 0)}
    new[name] = cjson.encode(calls[name])
    cordon_above(pool_of(name), told.to)
  end
  set_in_flight(calls)
  return true
end

-- ## When a newcomer comes after a long silence
-- The silence may have been a step of Redis's clock. So a call in flight keeps the time that it had
-- left before the silence, and the last call counts as recent as before. Each is moved only once: if
-- all reports come from short scripts, all are newcomers, and a call would stay in flight for ever.
local called = number('called_at')
local function extend_calls(silence)
  local calls, extended = calls_in_flight(), false
  for name, call in pairs(calls) do
    if not call.again then
      call['until'] = call['until'] + silence / 1000
      new[name] = cjson.encode(call) -- without `again`, which old releases do not know
      call.again, extended = true, true
    end
  end
  if extended then set_in_flight(calls) end
  if called > number('silent_at') then
    called = called + silence
    set('called_at', called)
    set('silent_at', math.max(now, called))
  end
end
