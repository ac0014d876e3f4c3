-- What the scripts share. Times are the ledger's, in milliseconds.
local state = KEYS[1]
local function ms(x) return string.format('%.0f', x) end

-- The ledger's time is Redis' own, moved by `clock`: when Redis' steps (a failover, NTP), `clock`
-- takes up the step, so that whatever was written before is still as long ago, or ahead, as it was.
-- Redis' has stepped back where a time that has passed (CLOCK, and `least`, which the caller's own
-- clock vouches for) would come again, and forth where it is beyond `most` of the caller's; by more
-- than `longest`, if that is told, it was rather the caller that slept. The ledger's never goes back.
local CLOCK = {'clock', 'told_at', 'evaluated_at', 'ticked_at', 'called_at'}
local TOLERANCE = 1000
local function clock(at, bounds)
  local least, most, longest = bounds.least, bounds.most, bounds.longest or math.huge
  local t = redis.call('TIME')
  local now = t[1] * 1000 + math.floor(t[2] / 1000)
  local offset, passed = tonumber(at[1] or 0), least or 0
  for i = 2, #CLOCK do passed = math.max(passed, tonumber(at[i] or 0)) end
  local ahead = now + offset - passed
  local back = ahead < -TOLERANCE
  local forth = most and now + offset > most and ahead < longest
  -- A moment later, or nobody could evaluate again before time goes on.
  if back or forth then offset = passed + 1 - now end
  return math.max(now + offset, passed), offset
end

-- Many fields in few commands: Lua's stack holds 8,000 values.
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
local function append(stream, entry, most)
  redis.call('XADD', stream, 'MAXLEN', most, '*', 'entry', entry)
end
local function hdel(key, names)
  for i = 1, #names, 4000 do
    redis.call('HDEL', key, unpack(names, i, math.min(i + 3999, #names)))
  end
end
