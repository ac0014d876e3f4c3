-- Reads everything that the page shows, at one moment: what whole.lua returns, then the streams, then
-- what Redis says about its memory and its connections.
local state, due, workers, queues, samples, tens, actions = unpack(KEYS)
local msg = cjson.decode(ARGV[1])

-- ## PageMessage (msg): ARGV[1], as JSON; with Bounds
--   lengths  counts  how many entries of each stream are read, by its name
--   known    ids     the latest entry of each stream that the caller has read before

-- Returns the id of a stream's latest entry, whether the caller has the entries before those that
-- follow, and these: a line for each, the latest first. If the entry that the caller knows is gone,
-- data was lost, and all entries follow.
local function stream(key, name)
  local known, most = msg.known[name], msg.lengths[name]
  local entries = redis.call('XREVRANGE', key, '+', known or '-', 'COUNT', most)
  local goes_on = known and #entries > 0 and entries[#entries][1] == known
  if known and not goes_on then
    entries = redis.call('XREVRANGE', key, '+', '-', 'COUNT', most)
  end
  local last = entries[1] and entries[1][1] or ''
  if goes_on then entries[#entries] = nil end
  for i, entry in ipairs(entries) do entries[i] = entry[2][2] end
  return {last, goes_on and 1 or 0, table.concat(entries, '\n')}
end

-- A user who may not ask gets nothing.
local function info(section)
  local told = redis.pcall('INFO', section)
  return type(told) == 'string' and told or ''
end

local page = whole(msg, state, due, workers, queues)
page[#page + 1] = {stream(samples, 'samples'), stream(tens, 'tens'), stream(actions, 'actions')}
-- What else the page needs, such as the bill, goes here.
page[#page + 1] = info('memory') .. info('clients')
return page
