-- Reads what whole.lua returns, and the bill, at one moment; ARGV[1]: Bounds, as JSON. A script, since
-- a Redis whose memory is full refuses a transaction, even one that only reads.
local state, due, workers, queues, bill = unpack(KEYS)
local all = whole(cjson.decode(ARGV[1]), state, due, workers, queues)
all[#all + 1] = lines(bill)
return all
