-- Shared by all scripts. Times are the ledger's, in milliseconds.
local function ms(x) return string.format('%.0f', x) end

-- ## Bounds (bounds): what the caller knows about the ledger's time from its own clock
--   least?    ms     it is at least this
--   most?     ms     it is at most this, unless the caller's machine slept
--   longest?  ms     given if that clock stops while the machine sleeps: if the ledger's time has
--                    advanced by more than this, the machine slept

-- ## The ledger's clock
-- The ledger's time is that of Redis's clock plus an offset. When Redis's clock steps (a failover,
-- NTP), the offset makes up for it, so that everything written before stays as far in the past, or in
-- the future, as it was. The clock has stepped back if a time that has passed (a field of CLOCK, or
-- `least`) lies ahead, and forward if `most` lies behind. The ledger's time never goes back.
local CLOCK = {'clock', 'told_at', 'evaluated_at', 'ticked_at', 'called_at'}
local TOLERANCE = 1000
-- Returns the ledger's time and the offset; `values` are those of CLOCK's fields.
local function clock(values, bounds)
  local least, most, longest = bounds.least, bounds.most, bounds.longest or math.huge
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local offset, passed = tonumber(values[1] or 0), least or 0
  for i = 2, #CLOCK do passed = math.max(passed, tonumber(values[i] or 0)) end
  local ahead = now + offset - passed
  local back = ahead < -TOLERANCE
  local forward = most and now + offset > most and ahead < longest
  -- Add one millisecond, since no evaluation can begin until the time is after `evaluated_at`.
  if back or forward then offset = passed + 1 - now end
  return math.max(now + offset, passed), offset
end

-- ## Many fields in few commands: Lua's stack holds 8,000 values
local function hset(key, fields)
  local flat, new = {}, 0
  local function write()
    if #flat > 0 then new = new + redis.call('HSET', key, unpack(flat)) end
    flat = {}
  end
  for name, value in pairs(fields) do
    flat[#flat + 1], flat[#flat + 2] = name, value
    if #flat == 4000 then write() end
  end
  write()
  return new
end
local function hdel(key, names)
  for i = 1, #names, 4000 do
    redis.call('HDEL', key, unpack(names, i, math.min(i + 3999, #names)))
  end
end

local function append(stream, entry, most)
  redis.call('XADD', stream, 'MAXLEN', most, '*', 'entry', entry)
end
