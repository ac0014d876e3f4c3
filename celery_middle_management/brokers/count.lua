-- Returns the lengths of lists and, last, of a sorted set. If one cannot be read, an error takes
-- the place of its length. Their names are arguments, not keys: one key that this user may not read
-- would make the whole call fail.
local lengths, last = {}, #ARGV
for i = 1, last - 1 do lengths[i] = redis.pcall('LLEN', ARGV[i]) end
lengths[last] = redis.pcall('ZCARD', ARGV[last])
return lengths
