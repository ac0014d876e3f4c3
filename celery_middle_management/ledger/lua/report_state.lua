-- The fields of the app's state that a report needs. One command reads them, and one writes them.
local state, due, workers, queues, lock, samples, tens = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## Fields of the state (ms, unless stated otherwise)
local FIELDS = {
  'next_at',        -- when the next evaluation is due
  'blocked_until',  -- when the platform may be called again
  'gave_up_at',     -- when a process ended while its evaluation waited for the platform
  'owed_at',        -- when something was reported that an evaluation must see, though the caller ends
  'holds_back',     -- 1 (not ms) while tasks wait for a worker that is to be hired later
  'seq',            -- the number of reports that gave an evaluation something to do
  'kept_at',        -- when the expiries were last renewed
  'silent_at',      -- when `called_at` was last moved for a silence that may have been a step
  'comes_at',       -- when the publisher that waits for the next evaluation reports again
  'born',           -- the ledger's name for itself (text): if it differs, the data was lost
  'sent',           -- calls that can still take effect at the platform (JSON), by `<pool>/fire` or
                    -- `<pool>/hire`: {to, until (s), done}
  'minute',         -- the last minute that has a sample
}
-- CLOCK in prelude.lua adds its own: `clock`, the offset, and the times of the last report (`told_at`),
-- of the last evaluation (`evaluated_at`), of the last report of a worker that may evaluate
-- (`ticked_at`) and of the last call of the platform (`called_at`).
local POOL_FIELDS = {'counted_at', 'quantity', 'refused_until', 'published', 'base_published',
                     'started', 'waits', 'late', 'finished', 'runtime', 'runtime_squares',
                     'longest'}

local function pool_of(field) return (string.match(field, '^(.*)/')) end
local counted_at = msg.cordon and pool_of(msg.cordon) .. '/counted_at'
local cordon_why = msg.cordon and msg.cordon .. '_why'

local names = {unpack(CLOCK)}
local function need(name) names[#names + 1] = name end
for i = 1, #FIELDS do need(FIELDS[i]) end
for pool in pairs(msg.pools) do
  for i = 1, #POOL_FIELDS do need(pool .. '/' .. POOL_FIELDS[i]) end
end
if msg.cordon then need(msg.cordon) need(cordon_why) need(counted_at) end
if msg.presence then need('deaf') end
for name in pairs(msg.sent or {}) do need(pool_of(name) .. '/cordon') end

-- ## The fields' values: `old` as read, `new` as they will be written
local old, new = {}, {}
local values = redis.call('HMGET', state, unpack(names))
for i = 1, #names do old[names[i]] = values[i] end

local function number(name) return tonumber(old[name] or 0) end
local function set(name, value) new[name] = ms(value) end
local function set_float(name, value) new[name] = string.format('%.17g', value) end
local function add(name, n) if n > 0 then set(name, number(name) + n) end end
local function add_float(name, x) set_float(name, number(name) + x) end

-- ## The ledger's time
-- A newcomer (a process that has not read the ledger's time yet) cannot tell a forward step of Redis's
-- clock from a period without reports. If a worker was reporting until that period began, a step is
-- assumed, unless it would be longer than this. If that is wrong, the next process that has read the
-- time corrects it.
local LONGEST_SILENCE = 600000
local newcomer, last_report = not msg.most, number('told_at')
local function bounds_of_newcomer()
  local most
  for _, text in ipairs(redis.call('HVALS', workers)) do
    if last_report - tonumber(string.match(text, '^%d+')) < msg.watches then
      most = last_report + msg.watches
      break
    end
  end
  return {most = most, longest = LONGEST_SILENCE}
end

local now, offset = clock(values, newcomer and bounds_of_newcomer() or msg)
local stepped = offset ~= number('clock')
set('told_at', now)
if stepped then set('clock', offset) end
