-- Changes nothing, but fails unless the user may read and write the keys. The first ARGV[1] keys are
-- hashes, the others streams.
local hashes = cjson.decode(ARGV[1])
for i, key in ipairs(KEYS) do
  if i <= hashes then redis.call('HDEL', key, '') else redis.call('XDEL', key, '0-1') end
end
return 1
