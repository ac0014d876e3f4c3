-- The lengths of lists and, last, of a sorted set: of each its own error, if it cannot be read. Their
-- names are arguments and not keys, or one that this user may not read would fail them all.
local lengths, last = {}, #ARGV
for i = 1, last - 1 do lengths[i] = redis.pcall('LLEN', ARGV[i]) end
lengths[last] = redis.pcall('ZCARD', ARGV[last])
return lengths
