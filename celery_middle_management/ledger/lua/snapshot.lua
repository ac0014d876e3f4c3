-- Reads the whole ledger at one moment, see whole.lua; ARGV[1]: Bounds, as JSON.
local state, due, workers, queues = unpack(KEYS)
return whole(cjson.decode(ARGV[1]), state, due, workers, queues)
