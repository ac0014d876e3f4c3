-- Reads everything that the page shows, at one moment: what whole.lua returns, then samples of single
-- minutes, samples of ten minutes, the history (a line for each entry, the latest first), and what
-- Redis says about its memory and its connections.
local state, due, workers, queues, samples, tens, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## PageMessage (msg): ARGV[1], as JSON; with Bounds
--   minutes  count  how many samples of single minutes
--   tens     count  how many samples of ten minutes
--   actions  count  how many entries of the history

local function latest(stream, most)
  local entries = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', most)
  for i, entry in ipairs(entries) do entries[i] = entry[2][2] end
  return table.concat(entries, '\n')
end

-- A user who may not ask gets nothing.
local function info(section)
  local told = redis.pcall('INFO', section)
  return type(told) == 'string' and told or ''
end

local page = whole(msg, state, due, workers, queues)
page[#page + 1] = latest(samples, msg.minutes)
page[#page + 1] = latest(tens, msg.tens)
page[#page + 1] = latest(actions, msg.actions)
-- What the page needs besides, such as the bill, goes here.
page[#page + 1] = info('memory') .. info('clients')
return page
